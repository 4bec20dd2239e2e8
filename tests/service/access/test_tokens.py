"""Tokens of OIDC: what is verified, and what a good one grants. Keys are made here; time is an argument."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.access import tokens as tokens_module
from service.access.issuer import Issuer
from service.access.limits import Bucket, Rates
from service.access.tokens import ALGORITHMS, Tokens
from service.errors import ServiceError, TryLater, Unauthenticated
from tests.service.access.asking import EXPIRES_AT, Clock, settings_with_keys
from tests.support.grpc_servers import GrpcServing
from tests.support.servers import ServerPath
from tests.support.wires import INFER, body_of

NAME, AUDIENCE = "https://login.example/realm", "sluice"
NOW = EXPIRES_AT - 1000.0
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
STRANGER = ec.generate_private_key(ec.SECP256R1())
BODY = body_of(2)


def jwk_of(key: Any, kid: str, **more: str) -> dict[str, Any]:
    kinds = {rsa.RSAPrivateKey: "RSAAlgorithm", ec.EllipticCurvePrivateKey: "ECAlgorithm"}
    name = next((name for kind, name in kinds.items() if isinstance(key, kind)), "OKPAlgorithm")
    text = getattr(jwt.algorithms, name).to_jwk(key.public_key())
    return {**json.loads(text), "kid": kid, **more}


KEY_SET = {"keys": [jwk_of(RSA_KEY, "rsa"), jwk_of(EC_KEY, "ec", use="sig", alg="ES256"), jwk_of(ED_KEY, "ed")]}


def claims_of(**changes: Any) -> dict[str, Any]:
    """``None`` leaves a claim out."""
    claims = {"iss": NAME, "aud": AUDIENCE, "sub": "ann", "exp": NOW + 100, "scope": "infer", **changes}
    return {name: value for name, value in claims.items() if value is not None}


def token_of(key: Any = EC_KEY, algorithm: str = "ES256", kid: str | None = "ec", **changes: Any) -> str:
    return jwt.encode(claims_of(**changes), key, algorithm, headers={} if kid is None else {"kid": kid})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(KEY_SET))
    return path


@pytest.fixture
def tokens(file: Path) -> Tokens:
    return Tokens(Issuer(NAME, file), AUDIENCE, {"admin": "sluice:admin"}, Rates(requests_per_s=5))


def verify(tokens: Tokens, token: str, unix_now: float = NOW) -> Any:
    return tokens.verify(token.encode(), 0.0, unix_now)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(EC_KEY, "ES256", "ec"), (RSA_KEY, "RS256", "rsa"), (RSA_KEY, "PS512", "rsa"), (ED_KEY, "EdDSA", "ed")],
)
def test_good_token_is_taken(tokens: Tokens, key: Any, algorithm: str, kid: str) -> None:
    """Its caller is the subject, until the token expires and the clocks may differ."""
    grant = verify(tokens, token_of(key, algorithm, kid))
    assert (grant.name, grant.scopes, grant.expires_at) == ("oidc:ann", {"infer"}, NOW + 130)


def encode(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def unsigned(algorithm: str, signature: str = "") -> str:
    return f"{encode({'alg': algorithm, 'kid': 'ec'})}.{encode(claims_of())}.{signature}"


def signed_with_the_public_key() -> str:
    """By HMAC, with what everybody can read of the issuer as the secret. The library would not do it."""
    import hashlib
    import hmac

    secret = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{encode({'alg': 'HS256', 'kid': 'ec'})}.{encode(claims_of())}"
    signature = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def with_other_claims() -> str:
    head, _, signature = token_of().split(".")
    return f"{head}.{encode(claims_of(scope='infer admin'))}.{signature}"


def with_key_inside() -> str:
    """Signed by a stranger, whose key is in the header, with an address for more."""
    headers = {
        "kid": "ec",
        "jwk": jwk_of(STRANGER, "ec"),
        "jku": "http://127.0.0.1:1/keys",
        "x5u": "file:///etc/passwd",
    }
    return jwt.encode(claims_of(), STRANGER, "ES256", headers=headers)


BAD: dict[str, Callable[[], str]] = {
    "alg none": lambda: unsigned("none"),
    "alg None": lambda: unsigned("None"),
    "alg NONE with a signature": lambda: unsigned("NONE", "AAAA"),
    "no signature": lambda: unsigned("ES256"),
    "HMAC with the public key": signed_with_the_public_key,
    "other claims": with_other_claims,
    "key in the header": with_key_inside,
    "key of a stranger": lambda: token_of(STRANGER),
    "unknown key": lambda: token_of(kid="another"),
    "no key id": lambda: token_of(kid=None),
    "key of another kind": lambda: token_of(EC_KEY, "ES256", "rsa"),
    "algorithm of another key": lambda: token_of(RSA_KEY, "RS256", "ec"),
    "another audience": lambda: token_of(aud="other"),
    "other audiences": lambda: token_of(aud=["a", "b"]),
    "no audience": lambda: token_of(aud=None),
    "another issuer": lambda: token_of(iss="https://login.example"),
    "issuer with a slash": lambda: token_of(iss=NAME + "/"),
    "no issuer": lambda: token_of(iss=None),
    "no subject": lambda: token_of(sub=None),
    "no end": lambda: token_of(exp=None),
    "expired": lambda: token_of(exp=NOW - 31),
    "end that is no number": lambda: token_of(exp="never"),
    "end that is a boolean": lambda: token_of(exp=True),
    "end that is infinite": lambda: token_of(exp=float("inf")),
    "not valid yet": lambda: token_of(nbf=NOW + 31),
    "no token": lambda: "a.b.c",
    "dots": lambda: "..",
    "header that nests deeply": lambda: f"{base64.urlsafe_b64encode(b'[' * 5000).decode().rstrip('=')}.e30.",
    "claims that nest deeply": lambda: jwt.api_jws.encode(b"[" * 5000, EC_KEY, "ES256", {"kid": "ec"}),
    "five parts": lambda: token_of() + ".a.b",
    "a list": lambda: f"{encode([])}.{encode([])}.",
    "claims that are a list": lambda: jwt.api_jws.encode(b"[]", EC_KEY, "ES256", {"kid": "ec"}),
    "critical extension": lambda: jwt.encode(
        claims_of(), EC_KEY, "ES256", {"kid": "ec", "crit": ["b64"], "b64": False}
    ),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_bad_token_is_refused(tokens: Tokens, make: Callable[[], str]) -> None:
    """The error tells what kind of fault it is, and repeats nothing of the token; a second time it is refused again."""
    token = make()
    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            verify(tokens, token)
        assert not any(part in str(caught.value) for part in token.split(".") if len(part) > 4)


@pytest.mark.parametrize("name", ["alg none", "alg None", "alg NONE with a signature", "HMAC with the public key"])
def test_algorithm_is_refused_before_the_library_looks_at_it(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The list of algorithms is ours, and does not depend on what the library refuses."""
    monkeypatch.setattr(tokens_module.jwt, "decode", lambda *_, **__: claims_of())
    with pytest.raises(Unauthenticated, match="expected a signature by one of RS256"):
        verify(tokens, BAD[name]())


def test_no_algorithm_with_a_shared_secret_is_allowed() -> None:
    """The list has no HS… and no none, in any case."""
    assert not any(name.lower().startswith(("hs", "none")) for name in ALGORITHMS)


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "infer metrics openid"}, {"infer", "metrics"}),
        ({"scope": None, "scp": ["infer", "sluice:admin"]}, {"infer", "admin"}),
        ({"scope": "", "scp": "metrics"}, {"metrics"}),
        ({"scope": "admin"}, set()),  # its name is another one in these settings
        ({"scope": "INFER"}, set()),
        ({"scope": ["infer"]}, {"infer"}),
        ({"scope": 5, "scp": {"infer": 1}}, set()),
        ({"scope": None}, set()),
    ],
)
def test_scopes_come_from_the_claims(tokens: Tokens, claims: Any, scopes: set[str]) -> None:
    """``scope`` and ``scp``, by the names of the settings; others grant nothing."""
    assert verify(tokens, token_of(**claims)).scopes == scopes


def test_token_is_verified_once(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request with it looks it up; the third comes after its end."""
    calls: list[int] = []
    decode = jwt.decode
    monkeypatch.setattr(tokens_module.jwt, "decode", lambda *args, **how: calls.append(1) or decode(*args, **how))
    token = token_of()
    assert verify(tokens, token) is verify(tokens, token, NOW + 129)
    assert len(calls) == 1
    with pytest.raises(Unauthenticated, match="it has expired"):
        verify(tokens, token, NOW + 131)


def test_flood_of_new_tokens_does_not_take_all_the_time(tokens: Tokens) -> None:
    """Above the rate new tokens are to be tried again later; those that are known are not affected."""
    known = token_of(jti="known")
    verify(tokens, known)
    tokens._room = Bucket("tokens", 2.0)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="its signature is wrong"):
            verify(tokens, token_of(STRANGER))
    with pytest.raises(TryLater, match="more new ones come"):
        verify(tokens, token_of(STRANGER))
    assert verify(tokens, known).name == "oidc:ann"
    with pytest.raises(Unauthenticated, match="its signature is wrong"):
        tokens.verify(token_of(STRANGER).encode(), 0.5, NOW)


def test_memory_for_tokens_and_subjects_is_bounded(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come, the least recently used are forgotten. Requests of one subject share its limits."""
    monkeypatch.setattr(tokens_module, "MOST_KEPT", 3)
    first = verify(tokens, token_of(jti="1"))
    assert first.limits is verify(tokens, token_of(jti="2")).limits
    for number in range(6):
        verify(tokens, token_of(sub=f"subject {number}"))
    assert (len(tokens._known), len(tokens._limits)) == (3, 3)


def test_key_that_the_issuer_has_withdrawn_signs_nothing_more(tokens: Tokens, file: Path) -> None:
    """A remembered token ends with the key that has signed it, also where the new key has its id."""
    token = token_of()
    grant = verify(tokens, token)
    assert tokens.holds(grant, NOW)
    file.write_text(json.dumps({"keys": [jwk_of(STRANGER, "ec")]}))
    tokens.refresh(2.0)
    assert not tokens.holds(grant, NOW)
    with pytest.raises(Unauthenticated, match="its signature is wrong"):
        verify(tokens, token)
    assert verify(tokens, token_of(STRANGER)).name == "oidc:ann"


def test_subject_cannot_forge_a_line(tokens: Tokens) -> None:
    """The name of a caller is printable ASCII, and not long."""
    name = verify(tokens, token_of(sub='a\nb"\x1b[2Jé' + "x" * 500)).name
    assert name.isascii()
    assert "\n" not in json.dumps(name)
    assert len(name) < 600


def test_each_subject_has_a_name_of_its_own(tokens: Tokens) -> None:
    """What a caller owns, such as its regions of shared memory, is known by that name. Those of Kubernetes are long."""
    account = f"system:serviceaccount:{'n' * 63}:{'a' * 62}"
    subjects = ["ann", account + "a", account + "b", "J\u00f6rg", "J\\xf6rg", "\ud800"]
    names = [verify(tokens, token_of(sub=subject)).name for subject in subjects]
    assert len(set(names)) == len(subjects)
    assert all(name.isascii() for name in names)


@pytest.fixture(scope="module")
def server(
    plain_store: Path, tmp_path_factory: pytest.TempPathFactory, server_path: ServerPath
) -> Iterator[GrpcServing]:
    """It takes keys and tokens."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "jwks.json").write_text(json.dumps(KEY_SET))
    issuer = {"oidc_issuer": NAME, "oidc_audience": AUDIENCE, "oidc_jwks_file": folder / "jwks.json"}
    settings = settings_with_keys(plain_store, folder / "keys.toml", **issuer, oidc_rows_per_day=2.0)
    with GrpcServing(settings, server_path) as serving:
        yield serving


def ask(client: httpx.Client, token: str) -> httpx.Response:
    return client.post(INFER, content=BODY, headers={"Authorization": f"Bearer {token}"})


def test_token_is_a_key_for_all_requests(client: httpx.Client, clock: Clock) -> None:
    """It opens what its scopes name, until it expires on an open connection."""
    token = token_of(sub="bob")
    assert [ask(client, token).status_code for _ in range(2)] == [200, 200]
    assert client.get("/models", headers={"X-API-Key": token}).status_code == 200
    assert client.get("/metrics", headers={"X-API-Key": token}).status_code == 403
    clock.move(131)
    assert ask(client, token).status_code == 401


def test_rows_of_a_subject_are_limited(client: httpx.Client, clock: Clock) -> None:
    """By each subject, whichever of its tokens it sends."""
    found = [ask(client, token_of(sub="eve", jti=str(number))).status_code for number in range(3)]
    assert found == [200, 200, 429]
    assert ask(client, token_of(sub="dan")).status_code == 200


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_server_refuses_a_bad_token(client: httpx.Client, clock: Clock, make: Callable[[], str]) -> None:
    """By HTTP it is 401."""
    assert ask(client, make()).status_code == 401


def test_fault_of_the_library_is_no_way_in(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a token makes the library fail in another way, it is refused."""

    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("unexpected")

    monkeypatch.setattr(tokens_module.jwt, "decode", fail)
    with pytest.raises(ServiceError, match="cannot be verified"):
        verify(tokens, token_of())
