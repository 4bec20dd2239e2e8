"""OIDC tokens: whether a token is valid, and what it grants. RFC 7519, RFC 8725.

To verify a signature takes a few tenths of a millisecond. It is done on the event loop, at most ``MOST_PER_S`` times a
second, so that a flood of bad tokens does not block other callers. A verified token is remembered: the next request
with it needs only a look-up.
"""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import jwt

from service.access.credentials import hash_credential
from service.access.grants import SCOPES, Grant, Scope
from service.access.issuer import Issuer
from service.access.limits import Bucket, Limits, Rates, open_limits
from service.errors import NotReady, TryLater, Unauthenticated

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Never `none`, and never HS…: its key would be the issuer's public key."""
LEEWAY_S: Final = 30.0
"""How far the clocks of the issuer and of this machine may differ."""
MOST_KEPT: Final = 4096
"""The most tokens that are remembered, and subjects whose limits are counted. The least recently used is dropped."""
MOST_PER_S: Final = 200.0
"""Signatures that a worker verifies in a second. More new tokens get 503; keys and remembered tokens do not."""
_CLAIMS: Final = ("exp", "iss", "aud", "sub")
_MOST_CHARACTERS: Final = 120
K = TypeVar("K")
V = TypeVar("V")


class Tokens:
    """``scope_names``: scope -> its name in tokens, if that differs. ``rates`` hold for each subject."""

    def __init__(
        self,
        issuer: Issuer,
        audience: str,
        scope_names: Mapping[Scope, str],
        rates: Rates = Rates(),  # noqa: B008  # it is immutable
        workers: int = 1,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._scopes: Mapping[str, Scope] = {scope_names.get(scope, scope): scope for scope in SCOPES}
        self._rates = rates
        self._workers = workers
        self._room = Bucket("tokens", MOST_PER_S)
        self._known: OrderedDict[bytes, Grant] = OrderedDict()
        self._limits: OrderedDict[str, Limits] = OrderedDict()

    def refresh(self, now: float) -> None:
        """Fetch the keys of the issuer if it is time."""
        self._issuer.refresh(now)

    def verify(self, token: bytes, now: float, unix_now: float) -> Grant:
        """What a token grants. Raises Unauthenticated, TryLater."""
        digest = hash_credential(token)
        known = self._known.get(digest)
        if known is not None and self.holds(known, unix_now):
            self._known.move_to_end(digest)
            return known
        grant = self._verify(token.decode("ascii"), now, unix_now)
        _remember(self._known, digest, grant)
        return grant

    def holds(self, grant: Grant, unix_now: float) -> bool:
        """Whether the token has not expired, and the key that signed it is still one of the issuer's."""
        return unix_now < grant.expires_at and self._issuer.holds(grant.proof)

    def _verify(self, token: str, now: float, unix_now: float) -> Grant:
        try:
            header = jwt.get_unverified_header(token)
        except Exception:  # noqa: BLE001  # with any error of the library the token is refused
            raise Unauthenticated("the key is not known, and it is no token either") from None
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise Unauthenticated(f"token: expected a signature by one of {', '.join(ALGORITHMS)}")
        key = self._issuer.find(str(header.get("kid", "")), now)
        if key is None:
            if not self._issuer.has_keys:
                raise NotReady("the keys of the issuer of tokens have not been fetched yet")
            if self._issuer.is_asking:
                raise TryLater("token: its key is not known yet: the keys of the issuer are fetched again")
            raise Unauthenticated("token: expected one that is signed by a key of the issuer")
        if self._room.wait_s(1.0, now) > 0:
            raise TryLater("token: more new ones come than this server verifies at once")
        self._room.take(1.0, now)
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer.name,
                # ``_grant`` checks the times, by the clock that was passed in.
                options={"require": list(_CLAIMS), "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except Exception as error:  # noqa: BLE001  # as above
            raise Unauthenticated(f"token: {_explain(error)}") from None
        return self._grant(claims, key.proof, unix_now)

    def _grant(self, claims: Mapping[str, Any], proof: bytes, unix_now: float) -> Grant:
        expires_at = _read_time(claims, "exp") + LEEWAY_S
        if unix_now >= expires_at:
            raise Unauthenticated("token: it has expired")
        if "nbf" in claims and unix_now < _read_time(claims, "nbf") - LEEWAY_S:
            raise Unauthenticated("token: it is not valid yet")
        name = _name_of(str(claims["sub"]))
        scopes = frozenset(self._scopes[text] for text in _scopes_of(claims) if text in self._scopes)
        return Grant(name, scopes, proof, expires_at, self._limits_of(str(claims["sub"])), is_token=True)

    def _limits_of(self, subject: str) -> Limits | None:
        known = self._limits.get(subject)
        if known is not None:
            self._limits.move_to_end(subject)
            return known
        made = open_limits(self._rates, self._workers)
        if made is not None:
            _remember(self._limits, subject, made)
        return made


def _remember(table: OrderedDict[K, V], key: K, value: V) -> None:
    table[key] = value
    if len(table) > MOST_KEPT:
        table.popitem(last=False)


def _scopes_of(claims: Mapping[str, Any]) -> list[str]:
    """``scope`` is a text with spaces (RFC 8693), ``scp`` a list or such a text."""
    found: list[str] = []
    for given in (claims.get("scope"), claims.get("scp")):
        if isinstance(given, str):
            found += given.split()
        elif isinstance(given, list):
            found += [each for each in given if isinstance(each, str)]
    return found


def _read_time(claims: Mapping[str, Any], name: str) -> float:
    given = claims[name]
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise Unauthenticated(f"token: {name}: expected a number")
    return float(given)


def _name_of(subject: str) -> str:
    """The name of a caller. It is unique for each subject, because it identifies what a caller owns.

    Of a subject that is long or not in ASCII it has a part, and a digest of the whole.
    """
    shown = subject[:_MOST_CHARACTERS].encode("ascii", "backslashreplace").decode()
    if shown == subject:
        return f"oidc:{shown}"
    digest = hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()
    return f"oidc-{digest[:32]}:{shown}"


def _explain(error: Exception) -> str:
    """What is wrong, without any content of the token."""
    told = {
        jwt.InvalidAudienceError: "expected another audience",
        jwt.InvalidIssuerError: "expected another issuer",
        jwt.MissingRequiredClaimError: f"expected the claims {', '.join(_CLAIMS)}",
        jwt.InvalidSignatureError: "its signature is wrong",
    }
    return next((text for kind, text in told.items() if isinstance(error, kind)), "it cannot be verified")
