"""The public keys of the token issuer: from its discovery document, or from a file. OpenID Connect Discovery 1.0.

The issuer's address comes from the settings only, never from a token, so no caller can make the server fetch another
address. Keys are fetched in a thread, with a limit of time and bytes, and without following redirects.

Rules
- Keys are fetched at the start, and then every ``REFRESH_S`` while tokens come.
- If a token has an unknown key, they are fetched again, at most every ``UNKNOWN_S``: the issuer may have a new key.
- If the issuer does not answer, the old keys are valid for ``STALE_S``.
"""

import hashlib
import json
import logging
import math
import threading
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import jwt

from service.access.local import is_loopback
from service.access.watched_file import WatchedFiles

logger = logging.getLogger("sluice.access")

REFRESH_S: Final = 900.0
UNKNOWN_S: Final = 30.0
STALE_S: Final = 86_400.0
_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 1 << 20
_MAX_KEYS: Final = 64
_KINDS: Final = ("RSA", "EC", "OKP")
"""The types of public keys. With a symmetric key, whoever can verify tokens could sign them too."""
_MIN_RSA_BITS: Final = 2048
_DISCOVERY: Final = "/.well-known/openid-configuration"

Fetch = Callable[[str], bytes]


class InvalidIssuer(Exception):
    """The keys of the issuer cannot be used."""


class PublicKey(NamedTuple):
    """``proof`` is a digest: equal keys have the same."""

    key: Any
    proof: bytes


Keys = Mapping[str, PublicKey]


class Issuer:
    """``name`` is the issuer's URL. Used on one thread; only the fetch has its own."""

    def __init__(self, name: str, file: Path | None, fetch: Fetch | None = None) -> None:
        """Raises InvalidIssuer for a file that cannot be used."""
        self.name = name
        self._file = file
        self._watched = None if file is None else WatchedFiles([file])
        self._fetch = fetch or fetch_url
        self._keys: Keys = {}
        self._read_at = -math.inf
        self._asked_at = -math.inf
        self._fetched: Keys | None = None  # set by the thread, until ``refresh`` takes it
        self._thread: threading.Thread | None = None
        if file is not None:
            self._keys = read_jwks(_read(file))

    @property
    def has_keys(self) -> bool:
        return bool(self._keys)

    def find(self, key_id: str, now: float) -> PublicKey | None:
        """The key with this id. If it is None and ``is_asking``, try again later."""
        self.refresh(now)
        found = self._keys.get(key_id)
        if found is None and self._file is None and now - self._asked_at >= UNKNOWN_S:
            self._ask(now)
        return found

    def holds(self, proof: bytes) -> bool:
        """Whether the key with this proof is still one of the issuer's."""
        return any(key.proof == proof for key in self._keys.values())

    @property
    def is_asking(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def refresh(self, now: float) -> None:
        """Use the keys that were fetched, and fetch again if it is time."""
        if self._watched is not None:
            if self._watched.have_changed(now):
                self._read_file()
            return
        fetched, self._fetched = self._fetched, None
        if fetched is not None:
            self._keys, self._read_at = fetched, now
        elif self._keys and now - self._read_at > STALE_S:
            logger.error("the keys of %s are older than a day and are no longer valid", self.name)
            self._keys = {}
        due_s = REFRESH_S if self._keys else UNKNOWN_S
        if now - self._asked_at >= due_s:
            self._ask(now)

    def wait(self) -> None:
        """Wait for a fetch that is under way."""
        if self._thread is not None:
            self._thread.join()

    def _read_file(self) -> None:
        assert self._file is not None  # noqa: S101  # it is watched
        try:
            self._keys = read_jwks(_read(self._file))
        except InvalidIssuer as error:
            logger.error("%s cannot be used, the previous keys stay valid: %s", self._file, error)

    def _ask(self, now: float) -> None:
        if self.is_asking:
            return
        self._asked_at = now
        self._thread = threading.Thread(target=self._fetch_keys, name="keys of the issuer", daemon=True)
        self._thread.start()

    def _fetch_keys(self) -> None:
        try:
            discovered = self._fetch(self.name.rstrip("/") + _DISCOVERY)
            self._fetched = read_jwks(self._fetch(_read_jwks_address(discovered, self.name)))
        except (OSError, ValueError, InvalidIssuer) as error:
            logger.error("the keys of %s cannot be fetched: %s", self.name, error)


def read_jwks(content: bytes) -> Keys:
    """The keys of a JSON Web Key Set by their ids. RFC 7517. Keys that are not for signatures are left out.

    Raises InvalidIssuer.
    """
    try:
        given = json.loads(content)["keys"]
        chosen = [each for each in given if each.get("kty") in _KINDS and each.get("use", "sig") == "sig"]
        keys = {str(each.get("kid", "")): _read_key(each) for each in chosen[:_MAX_KEYS]}
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise InvalidIssuer(f"expected a JSON Web Key Set: {error}") from None
    if not keys:
        raise InvalidIssuer(f"expected a public key of the kind {', '.join(_KINDS)} in the JSON Web Key Set, got none")
    return keys


def _read_key(given: Mapping[str, Any]) -> PublicKey:
    key: Any = jwt.PyJWK(dict(given)).key
    if hasattr(key, "private_bytes"):
        raise InvalidIssuer("expected public keys only, got a private one: remove it from the set, and replace it")
    if given["kty"] == "RSA" and key.key_size < _MIN_RSA_BITS:
        raise InvalidIssuer(f"expected RSA keys of {_MIN_RSA_BITS} bits or more, got {key.key_size}")
    return PublicKey(key, hashlib.sha256(json.dumps(given, sort_keys=True).encode()).digest())


def _read_jwks_address(content: bytes, issuer: str) -> str:
    """Raises InvalidIssuer for the document of another issuer."""
    document = json.loads(content)
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise InvalidIssuer(f"expected the discovery document to name the issuer {issuer}")
    address = document.get("jwks_uri")
    if not isinstance(address, str) or not is_safe_address(address):
        raise InvalidIssuer("jwks_uri: expected an address with https")
    return address


def is_safe_address(address: str) -> bool:
    """Whether nobody can change the content on its way: the address is https, or on this machine."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    is_here = host == "localhost" or is_loopback(host)
    return bool(host) and not parts.username and (parts.scheme == "https" or (parts.scheme == "http" and is_here))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Returns None, which makes a redirect an error."""


def fetch_url(address: str) -> bytes:
    """The content at an address. Raises OSError, ValueError."""
    if not is_safe_address(address):
        raise ValueError(f"{address}: expected https, or an address of this machine")
    opener = urllib.request.build_opener(_NoRedirects())
    with opener.open(address, timeout=_TIMEOUT_S) as answer:
        content: bytes = answer.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{address}: expected at most {_MAX_BYTES} bytes")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidIssuer(f"expected a file that can be read: {error.strerror}") from None
