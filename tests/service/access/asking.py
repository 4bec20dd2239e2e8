"""Keys of the tests, and a server that asks for them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.access.guard import AccessGuard
from service.access.keys import PREFIX, render_entry
from service.settings import Settings
from tests.support.servers import Serving, settings_for

NAMES = ("infer", "admin", "metrics", "limited", "other", "expiring")
KEYS: Mapping[str, str] = {name: PREFIX + hashlib.sha256(name.encode()).hexdigest()[:43] for name in NAMES}
"""Name -> secret. Those called like a scope have that scope only, ``other`` and ``limited`` have ``infer``.

They are always the same, because names of tests contain them."""
EXPIRES = "2030-01-01T00:00:00+00:00"
EXPIRES_AT = 1_893_456_000.0
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "limited": {"requests_per_s": 2.0, "rows_per_day": 5.0},
    "expiring": {"scopes": ["infer", "metrics"]},
}


def render_keys(*names: str, **more: Mapping[str, Any]) -> str:
    """A file with these keys, or all."""
    entries = []
    for name in names or KEYS:
        scopes = [name] if name in ("infer", "admin", "metrics") else ["infer"]
        entry = render_entry(name, KEYS[name], {"scopes": scopes, **_FIELDS.get(name, {}), **more.get(name, {})})
        entries.append(entry + (f"\nexpires = {EXPIRES}" if name == "expiring" else ""))
    return "\n\n".join(entries)


def settings_with_keys(store: Path, file: Path, **changes: Any) -> Settings:
    file.write_text(render_keys())
    return settings_for(store, api_keys_file=file, max_rows=8, provider="cpu", control=True, **changes)


def header_of(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


class Clock:
    """Stands still until a test moves it."""

    def __init__(self, guard: AccessGuard) -> None:
        self.now = 1000.0
        self.unix_now = EXPIRES_AT - 1000.0
        guard._clock = lambda: self.now
        guard._unix_clock = lambda: self.unix_now

    def move(self, seconds: float) -> None:
        self.now += seconds
        self.unix_now += seconds


def guard_of(server: Serving) -> AccessGuard:
    guard = server.worker.handler.guard
    assert isinstance(guard, AccessGuard)
    return guard
