"""The findings of checks."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "slow", "wrong"]
"""``note``: good to know. ``slow``: it works, but slower than it could. ``wrong``: a server or a model will fail."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``text`` says what was found, and why it matters if it is not ``ok``. ``advice`` says what to do."""

    check: str
    state: State
    text: str
    advice: str = ""


def write_bytes(size_bytes: float) -> str:
    """Memory for people, in units of 1024: ``15.3 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"
