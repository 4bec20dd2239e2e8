"""API keys: reads files of keys, and finds the key of a request. Pure.

The file is TOML with a table for each key. It holds no secret, only the SHA-256 of each key.

    [ci]
    sha256 = "9f86d0…"             # or a list, while a key is replaced by a new one
    scopes = ["infer"]             # infer, admin, metrics
    expires = 2027-01-01T00:00:00Z
    requests_per_s = 50
    rows_per_s = 1000
    rows_per_day = 1_000_000
"""

import datetime
import hmac
import math
import re
import secrets
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from model_store.manifest import reword
from model_store.strict_model import Finite, StrictModel
from service.access.credentials import hash_credential
from service.access.grants import Grant, Scope
from service.access.limits import Limits, Rates, open_limits

PREFIX: Final = "sluice_"
"""Every key that is made here begins so, and secret scanners can find it."""
_BYTES: Final = 32
_NOBODY: Final = bytes(32)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_MAX_KEYS: Final = 10_000

_Rate = Annotated[Finite, Field(gt=0)]


class InvalidKeys(Exception):
    """A file of keys cannot be used. The text names the key and the field, but never shows a value."""


class KeyEntry(StrictModel):
    """A key in the file. ``sha256`` may be a list, so that several secrets share one name and one quota."""

    sha256: Annotated[list[str], Field(min_length=1, max_length=4)] | str
    scopes: Annotated[list[Scope], Field(min_length=1)]
    expires: datetime.datetime | datetime.date | None = None
    requests_per_s: _Rate | None = None
    rows_per_s: _Rate | None = None
    rows_per_day: _Rate | None = None

    @field_validator("sha256")
    @classmethod
    def _check_hashes(cls, given: list[str] | str) -> list[str] | str:
        if not all(_HASH.fullmatch(each) for each in ([given] if isinstance(given, str) else given)):
            raise ValueError("expected 64 hexadecimal digits in lower case: `sluice keys new` prints them")
        return given

    @property
    def digests(self) -> list[bytes]:
        return [bytes.fromhex(each) for each in ([self.sha256] if isinstance(self.sha256, str) else self.sha256)]

    @property
    def expires_at(self) -> float:
        """Seconds since 1970. A date, or a time without a zone, is in UTC."""
        given = self.expires
        if given is None:
            return math.inf
        if not isinstance(given, datetime.datetime):
            given = datetime.datetime.combine(given, datetime.time())
        return (given if given.tzinfo else given.replace(tzinfo=datetime.UTC)).timestamp()

    @property
    def rates(self) -> Rates:
        return Rates(self.requests_per_s or 0.0, self.rows_per_s or 0.0, self.rows_per_day or 0.0)


_ENTRIES = TypeAdapter(dict[str, KeyEntry])


def read_keys(text: str) -> Mapping[str, KeyEntry]:
    """The keys of a file by their names. Raises InvalidKeys."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidKeys(f"expected TOML, each name once: {_without_values(str(error))}") from None
    for name in content:
        _check_name(name)
    if len(content) > _MAX_KEYS:
        raise InvalidKeys(f"expected at most {_MAX_KEYS} keys, got {len(content)}")
    try:
        entries = _ENTRIES.validate_python(content)
    except ValidationError as error:
        raise InvalidKeys(_describe(error)) from None
    _check_hashes_differ(entries)
    return entries


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidKeys(f"{name!a:.70}: expected a name of up to 64 letters, digits, '.', '_' and '-'")


def _check_hashes_differ(entries: Mapping[str, KeyEntry]) -> None:
    owners: dict[bytes, str] = {}
    for name, entry in entries.items():
        for digest in entry.digests:
            other = owners.setdefault(digest, name)
            if other != name:
                raise InvalidKeys(f"{name}.sha256: expected a hash of its own, got that of {other}")


def _without_values(text: str) -> str:
    """The parser's message without the text at fault, which may be a secret."""
    found = re.search(r"\(at .*\)$", text)
    return f"it cannot be read {found[0]}" if found else "it cannot be read"


def _describe(error: ValidationError) -> str:
    """The faults without values, because somebody may have put a key where its hash belongs."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'][:2]))}: {reword(each['msg'])}" for each in faults[:3])


class KeyRing:
    """The valid keys.

    The key of a request is looked up by its hash. A dictionary is safe for that: an attacker cannot choose a hash, and
    Python's own hash of it differs in each process. The final comparison takes constant time.
    """

    def __init__(self, entries: Mapping[str, KeyEntry] | None = None, workers: int = 1) -> None:
        self._grants: dict[bytes, Grant] = {}
        self._limits: dict[str, Limits | None] = {}
        self._workers = workers
        self.replace(entries or {})

    def __len__(self) -> int:
        return len(self._grants)

    def replace(self, entries: Mapping[str, KeyEntry]) -> None:
        """Replace all keys. A key whose limits have not changed keeps its usage."""
        limits: dict[str, Limits | None] = {}
        grants: dict[bytes, Grant] = {}
        for name, entry in entries.items():
            limits[name] = self._keep(name, entry.rates)
            for digest in entry.digests:
                grants[digest] = Grant(name, frozenset(entry.scopes), digest, entry.expires_at, limits[name])
        self._limits, self._grants = limits, grants

    def find(self, digest: bytes) -> Grant | None:
        """What the key with this hash grants, expired or not; None if there is no such key."""
        grant = self._grants.get(digest)
        is_same = hmac.compare_digest(_NOBODY if grant is None else grant.proof, digest)
        return grant if is_same else None

    def _keep(self, name: str, rates: Rates) -> Limits | None:
        made = open_limits(rates, self._workers)
        old = self._limits.get(name)
        return old if made is not None and old is not None and old.rates == made.rates else made


def make_key() -> str:
    """A new key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def render_entry(name: str, key: str, fields: Mapping[str, Any]) -> str:
    """The lines for the file of keys. Raises InvalidKeys for a bad name or field."""
    _check_name(name)
    lines = [f"[{name}]", f'sha256 = "{hash_credential(key.encode()).hex()}"']
    lines += [f"{field} = {_as_toml(value)}" for field, value in fields.items() if value is not None]
    text = "\n".join(lines)
    quoted = text.replace(f"[{name}]", f'["{name}"]', 1)
    read_keys(quoted)
    return quoted if "." in name else text


def _as_toml(value: Any) -> str:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + ", ".join(f'"{each}"' for each in value) + "]"
    return value.isoformat() if isinstance(value, datetime.date) else f"{value}"
