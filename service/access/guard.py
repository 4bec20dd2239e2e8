"""The guard of a worker: it checks keys, tokens and limits by the other modules, and writes the audit log."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from service.access.audit import Audit, write
from service.access.credentials import find_credential, hash_credential
from service.access.grants import Fields, Grant, Guard, Scope
from service.access.keys import InvalidKeys, KeyEntry, KeyRing, read_keys
from service.access.limits import Rates, Refusal
from service.access.watched_file import WatchedFiles
from service.errors import MissingScope, RateLimited, ServiceError, Unauthenticated
from service.settings import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from service.access.tokens import Tokens

logger = logging.getLogger("sluice.access")

Clock = Callable[[], float]


class KeySource:
    """The keys of the settings and of a file, which is read again when it changes.

    At the start a bad file is an error. Later a bad file is logged, and the previous keys stay valid.
    """

    def __init__(self, text: str, file: Path | None, workers: int) -> None:
        """Raises InvalidKeys."""
        self._fixed = read_keys(text)
        self._file = file
        self._watched = None if file is None else WatchedFiles([file])
        self.ring = KeyRing(self._read(), workers)

    def refresh(self, now: float) -> None:
        """Read the file again if it has changed."""
        if self._watched is None or not self._watched.have_changed(now):
            return
        try:
            self.ring.replace(self._read())
        except InvalidKeys as error:
            logger.error("%s cannot be used, the previous keys stay valid: %s", self._file, error)
            write("keys refused", file=str(self._file), reason=str(error))
        else:
            write("keys read", file=str(self._file), keys=len(self.ring))

    def _read(self) -> Mapping[str, KeyEntry]:
        if self._file is None:
            return self._fixed
        try:
            found = read_keys(self._file.read_text("utf-8"))
        except OSError as error:
            raise InvalidKeys(f"expected a file that can be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InvalidKeys("expected TOML in UTF-8") from None
        if both := self._fixed.keys() & found.keys():
            raise InvalidKeys(f"{min(both)}: expected a name that {PREFIX}API_KEYS does not have too")
        return {**self._fixed, **found}


class AccessGuard(Guard):
    """``clock`` is monotonic. ``unix_clock`` gives the time of day, for expiry dates."""

    def __init__(
        self, keys: KeySource, tokens: "Tokens | None", clock: Clock = time.monotonic, unix_clock: Clock = time.time
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._clock = clock
        self._unix_clock = unix_clock
        self._audit = Audit()

    def admit(self, scope: Scope, fields: Fields, peer: str, *, is_handshake: bool = False) -> Grant:
        now = self._clock()
        name = ""
        try:
            grant = self._identify(find_credential(fields, is_handshake=is_handshake), now)
            name = grant.name
            if scope not in grant.scopes:
                raise MissingScope(f"key {name!r}: expected one with the scope {scope}", scope)
            self._count_request(grant, now)
        except ServiceError as error:
            self._audit.refuse(error.reason, name, peer, now)
            raise
        return grant

    def admit_again(self, grant: Grant) -> Grant:
        now = self._clock()
        found = self._find_again(grant, now)
        if found is None:
            raise Unauthenticated(f"key {grant.name!r} does not count any more")
        self._count_request(found, now)
        return found

    def renew(self, grant: Grant) -> Grant | None:
        now = self._clock()
        found = self._find_again(grant, now)
        if found is not None and found.limits is not None and found.limits.take_request(now) is not None:
            return None
        return found

    def describe(self, grant: Grant) -> Sequence[tuple[bytes, bytes]]:
        return () if grant.limits is None else grant.limits.headers(self._clock())

    def charge(self, grant: Grant, rows: int, *, may_refuse: bool) -> None:
        if grant.limits is None:
            return
        now = self._clock()
        refusal = grant.limits.take_rows(rows, now, may_refuse=may_refuse)
        if refusal is not None:
            _refuse(grant, refusal, now)

    def _identify(self, credential: bytes, now: float) -> Grant:
        """What a credential grants now. Raises Unauthenticated, TryLater."""
        self._keys.refresh(now)
        unix_now = self._unix_clock()
        grant = self._keys.ring.find(hash_credential(credential))
        if grant is None:
            if self._tokens is None:
                raise Unauthenticated("the key is not known")
            return self._tokens.verify(credential, now, unix_now)
        if unix_now >= grant.expires_at:
            raise Unauthenticated(f"key {grant.name!r} has expired")
        return grant

    def _find_again(self, grant: Grant, now: float) -> Grant | None:
        unix_now = self._unix_clock()
        if grant.is_token:
            if self._tokens is None:
                return None
            self._tokens.refresh(now)
            return grant if self._tokens.holds(grant, unix_now) else None
        self._keys.refresh(now)
        found = self._keys.ring.find(grant.proof)
        if found is None or unix_now >= found.expires_at or not grant.scopes <= found.scopes:
            return None
        return found

    def _count_request(self, grant: Grant, now: float) -> None:
        refusal = None if grant.limits is None else grant.limits.take_request(now)
        if refusal is not None:
            _refuse(grant, refusal, now)


def _refuse(grant: Grant, refusal: Refusal, now: float) -> NoReturn:
    """Raises RateLimited."""
    limit, wait_s = refusal
    headers = () if grant.limits is None else grant.limits.headers(now)
    what = limit.name.partition("-")[0]
    said = f"key {grant.name!r}: expected at most {limit.quota:.10g} {what} in {limit.window_s:g} s"
    raise RateLimited(said, wait_s, headers)


def open_guard(settings: Settings) -> AccessGuard | None:
    """The guard for these settings; None if they name neither keys nor an issuer. Raises SettingsError."""
    if not settings.asks_for_keys:
        return None
    text, file = settings.api_keys.get_secret_value(), settings.api_keys_file
    where = f"{PREFIX}API_KEYS" if file is None else f"{PREFIX}API_KEYS_FILE={file}"
    try:
        keys = KeySource(text, file, settings.workers)
    except InvalidKeys as error:
        raise SettingsError(f"{where}: {error}") from None
    return AccessGuard(keys, _open_tokens(settings) if settings.oidc_issuer else None)


def _open_tokens(settings: Settings) -> "Tokens":
    try:
        from service.access.issuer import InvalidIssuer, Issuer
        from service.access.tokens import Tokens
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{PREFIX}OIDC_ISSUER={settings.oidc_issuer}: {error.name} is not installed: "
            "pip install 'sluice-serving[oidc]'"
        ) from None
    try:
        issuer = Issuer(settings.oidc_issuer, settings.oidc_jwks_file)
    except InvalidIssuer as error:
        raise SettingsError(f"{PREFIX}OIDC_JWKS_FILE={settings.oidc_jwks_file}: {error}") from None
    rates = Rates(settings.oidc_requests_per_s, settings.oidc_rows_per_s, settings.oidc_rows_per_day)
    tokens = Tokens(issuer, settings.oidc_audience, settings.oidc_scopes, rates, settings.workers)
    tokens.refresh(time.monotonic())
    return tokens
