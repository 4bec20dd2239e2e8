"""Where the keys of an issuer come from. The issuer is a small server on this machine; time is an argument."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from service.access.grants import Grant
from service.access.issuer import (
    REFRESH_S,
    STALE_S,
    UNKNOWN_S,
    InvalidIssuer,
    Issuer,
    fetch_url,
    is_safe_address,
    read_jwks,
)
from service.access.tokens import Tokens
from service.errors import NotReady, TryLater, Unauthenticated
from tests.service.access.test_tokens import AUDIENCE, EC_KEY, KEY_SET, NOW, RSA_KEY, STRANGER, claims_of, jwk_of

DISCOVERY = "/realm/.well-known/openid-configuration"


class Login:
    """An issuer. ``answers`` are path -> status, headers and body; ``asked`` the paths that were asked for."""

    def __init__(self) -> None:
        login = self
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the library's name
                login.asked.append(self.path)
                status, headers, body = login.answers.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.name = f"{self.url}/realm"
        self.publish(KEY_SET)

    def publish(self, key_set: Any, **document: Any) -> None:
        document = {"issuer": self.name, "jwks_uri": f"{self.url}/keys", **document}
        self.answers[DISCOVERY] = (200, {}, json.dumps(document).encode())
        self.answers["/keys"] = (200, {}, json.dumps(key_set).encode())


@pytest.fixture
def login() -> Iterator[Login]:
    login = Login()
    thread = threading.Thread(target=login.server.serve_forever)
    thread.start()
    yield login
    login.server.shutdown()
    login.server.server_close()
    thread.join()


@pytest.fixture
def issuer(login: Login) -> Issuer:
    return Issuer(login.name, None)


def find(issuer: Issuer, key_id: str, now: float) -> bool:
    """Whether the key is there, when what was asked for has come."""
    issuer.find(key_id, now)
    issuer.wait()
    issuer.refresh(now)
    issuer.wait()
    return issuer.find(key_id, now) is not None


def test_keys_are_those_of_the_discovery_document(login: Login, issuer: Issuer) -> None:
    """They are fetched once, and again after a quarter of an hour."""
    assert find(issuer, "ec", 0.0)
    assert login.asked == [DISCOVERY, "/keys"]
    assert find(issuer, "rsa", REFRESH_S - 1)
    assert len(login.asked) == 2
    assert find(issuer, "rsa", REFRESH_S)
    assert len(login.asked) == 4


def test_new_key_of_the_issuer_is_fetched_when_it_is_used(login: Login, issuer: Issuer) -> None:
    """But unknown ids cannot have the issuer asked more often than every half minute."""
    assert find(issuer, "ec", 0.0)
    login.publish({"keys": [jwk_of(STRANGER, "new")]})
    for number in range(50):
        assert not find(issuer, f"guess {number}", UNKNOWN_S - 1)
    assert len(login.asked) == 2
    assert find(issuer, "new", UNKNOWN_S)
    assert not find(issuer, "ec", UNKNOWN_S + 1)
    assert len(login.asked) == 4


@pytest.mark.parametrize(
    "answers",
    [
        {DISCOVERY: (500, {}, b"")},
        {DISCOVERY: (302, {"Location": "/elsewhere"}, b"")},
        {DISCOVERY: (200, {}, b"[]")},
        {DISCOVERY: (200, {}, b"no JSON")},
        {"/keys": (302, {"Location": "http://127.0.0.1:1/secret"}, b"")},
        {"/keys": (200, {}, b"{}")},
        {"/keys": (200, {}, b'{"keys": []}')},
        {"/keys": (200, {}, b'{"keys": [5]}')},
        {"/keys": (200, {}, b"x" * ((1 << 20) + 1))},
    ],
)
def test_bad_answer_keeps_the_old_keys(
    login: Login, issuer: Issuer, caplog: pytest.LogCaptureFixture, answers: dict[str, Any]
) -> None:
    """It is logged; redirects are not followed. After a day the old keys no longer count."""
    assert find(issuer, "ec", 0.0)
    login.answers.update(answers)
    assert find(issuer, "ec", REFRESH_S)
    assert f"the keys of {login.name} cannot be fetched" in caplog.text
    assert not {"/elsewhere", "/secret"} & set(login.asked)
    assert not find(issuer, "ec", STALE_S + 1)


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://other.example"},
        {"jwks_uri": "http://login.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "ftp://127.0.0.1/keys"},
        {"jwks_uri": None},
        {"jwks_uri": "https://a@127.0.0.1/keys"},
    ],
)
def test_discovery_document_cannot_lead_elsewhere(login: Login, issuer: Issuer, document: Any) -> None:
    """It must name its own issuer, and keys behind https, or on this machine."""
    login.publish(KEY_SET, **document)
    assert not find(issuer, "ec", 0.0)
    assert login.asked == [DISCOVERY]


@pytest.mark.parametrize(
    ("address", "is_safe"),
    [
        ("https://login.example/a", True),
        ("http://127.0.0.1:1/a", True),
        ("http://[::1]:1/a", True),
        ("http://localhost/a", True),
        ("http://login.example", False),
        ("http://169.254.169.254/latest", False),
        ("http://localhost.evil.example", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("https://user@login.example", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_only_safe_addresses_are_asked(address: str, is_safe: bool) -> None:
    """https, or this machine, and no name of a user."""
    assert is_safe_address(address) == is_safe
    if not is_safe:
        with pytest.raises(ValueError, match="expected https"):
            fetch_url(address)


def _rsa(bits: int) -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def test_key_set_has_public_keys_for_signatures() -> None:
    """A shared secret and a key for encryption are left out; the others stay."""
    secret = {"kty": "oct", "k": "AAAA", "kid": "ec"}
    others = [secret, jwk_of(EC_KEY, "enc", use="enc"), {"kty": "new", "kid": "n"}]
    assert set(read_jwks(json.dumps({"keys": [*others, *KEY_SET["keys"]]}).encode())) == {"rsa", "ec", "ed"}
    with pytest.raises(InvalidIssuer, match="expected a public key"):
        read_jwks(json.dumps({"keys": others}).encode())


@pytest.mark.parametrize("make", [lambda: RSA_KEY, lambda: ec.generate_private_key(ec.SECP256R1())])
def test_private_key_in_the_set_is_refused(make: Any) -> None:
    """The text does not show it."""
    key = make()
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    private = json.loads(algorithm.to_jwk(key))
    with pytest.raises(InvalidIssuer, match="expected public keys only") as caught:
        read_jwks(json.dumps({"keys": [{**private, "kid": "a"}]}).encode())
    assert private["d"] not in str(caught.value)


def test_short_rsa_key_is_refused() -> None:
    """1024 bits can be broken."""
    with pytest.raises(InvalidIssuer, match="RSA keys of 2048 bits or more, got 1024"):
        read_jwks(json.dumps({"keys": [jwk_of(_rsa(1024), "a")]}).encode())


def test_token_that_comes_before_the_keys_is_answered_later(login: Login) -> None:
    """Before the first fetch it is 503, with an unknown key while the keys are fetched too, and then it is decided."""
    issuer = Issuer(login.name, None)
    tokens = Tokens(issuer, AUDIENCE, {})

    def verify(key: Any, kid: str, now: float) -> Grant:
        token = jwt.encode(claims_of(iss=login.name), key, "ES256", headers={"kid": kid})
        return tokens.verify(token.encode(), now, NOW)

    with pytest.raises(NotReady):
        verify(EC_KEY, "ec", 0.0)
    issuer.wait()
    assert verify(EC_KEY, "ec", 0.0).name == "oidc:ann"
    login.publish({"keys": [jwk_of(STRANGER, "new"), jwk_of(EC_KEY, "ec")]})
    held = threading.Event()
    fetch = issuer._fetch
    issuer._fetch = lambda address: (held.wait(60), fetch(address))[1]
    with pytest.raises(TryLater):
        verify(STRANGER, "new", UNKNOWN_S)
    held.set()
    issuer.wait()
    assert verify(STRANGER, "new", UNKNOWN_S).name == "oidc:ann"
    with pytest.raises(Unauthenticated):
        verify(STRANGER, "guess", UNKNOWN_S)
