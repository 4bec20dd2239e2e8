"""The aliases of a model, and the history of ``stable``: two small files beside the versions.

Rules
- Both are written under the lock of the model's folder, and replaced as a whole.
- When ``stable`` moves forward, the history is written before the aliases; when it moves back, after them. A process
  that dies between the two leaves a history whose last entry is the version that ``stable`` names. Such an entry is
  skipped.
- The history also keeps the largest number of a removed version, so that the number is never used again.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from model_store.errors import IntegrityError, NotInStore
from model_store.files.links import tell_why
from model_store.files.reading import MOST_CONFIG_BYTES, is_there, read_regular
from model_store.files.writing import replace_synced
from model_store.strict_model import StrictModel

ALIASES_FILE = "aliases.json"
HISTORY_FILE = "history.json"
ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}")
STABLE = "stable"
"""The alias of the version that answers requests that name none."""
_MOST_ENTRIES = 100


class History(StrictModel):
    """The past of a model that its folder does not show."""

    stable: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """The versions that ``stable`` named before the present one, oldest first."""
    largest: Annotated[int, Field(ge=0)] = 0
    """The largest number of a version that was removed."""


def read_aliases(folder: Path) -> dict[str, int]:
    """Versions by alias, sorted; empty if there is no file. Raises IntegrityError if the file holds no aliases."""
    content = _read(folder / ALIASES_FILE)
    try:
        aliases = {} if content is None else json.loads(content)
    except (ValueError, RecursionError):
        got = "what is not JSON" if content else "an empty file"
    else:
        if not isinstance(aliases, dict):
            got = f"{json.dumps(aliases):.60}"
        elif (wrong := _find_wrong(aliases)) is None:
            return dict(sorted(aliases.items()))
        else:
            got = wrong
    raise IntegrityError(
        f'{folder.name}/{ALIASES_FILE}: expected a JSON object such as {{"stable": 1}}, got {got}; fix or remove it'
    )


def _find_wrong(aliases: Mapping[str, object]) -> str | None:
    """The first entry that is no alias of a version, and why."""
    for alias, number in aliases.items():
        if not ALIAS.fullmatch(alias):
            return f"the alias {alias!r:.60}, which does not begin with a letter, or has more than letters, digits, ._-"
        if type(number) is not int or number < 1:
            return f"{number!r:.60} for {alias!r:.60}, which is not the whole number of a version"
    return None


def find_alias(name: str, aliases: Mapping[str, int], alias: str) -> int:
    """The version that an alias of the model ``name`` names. Raises NotInStore."""
    if alias not in aliases:
        raise NotInStore(f"no alias {alias!r} of {name!r}: there are {', '.join(aliases) or 'none'}")
    return aliases[alias]


def write_aliases(folder: Path, aliases: Mapping[str, int]) -> None:
    """Replace the aliases. The caller holds the lock of the folder. Raises OSError."""
    replace_synced(folder / ALIASES_FILE, json.dumps(aliases, sort_keys=True).encode())


def read_history(folder: Path) -> History:
    """The history; empty if there is no file. Raises IntegrityError if the file holds no history."""
    content = _read(folder / HISTORY_FILE)
    try:
        return History() if content is None else History.model_validate_json(content)
    except ValidationError:
        raise IntegrityError(
            f'{folder.name}/{HISTORY_FILE}: expected a JSON object such as {{"stable": [1], "largest": 0}}; fix or '
            "remove it; without it a rollback goes to the next older version"
        ) from None


def write_history(folder: Path, history: History) -> None:
    """Replace the history. The caller holds the lock of the folder. Raises OSError."""
    short = history.model_copy(update={"stable": history.stable[-_MOST_ENTRIES:]})
    replace_synced(folder / HISTORY_FILE, short.model_dump_json().encode())


def record_move(history: Sequence[int], before: int | None, after: int) -> tuple[int, ...]:
    """The history after ``stable`` has moved forward from ``before`` to ``after``."""
    return tuple(history) if before is None or before == after else (*history, before)


def find_rollback(history: Sequence[int], current: int, usable: Collection[int]) -> tuple[int | None, tuple[int, ...]]:
    """The version to which a rollback from ``current`` goes, and the history after it.

    It is the last version of the history that still exists; without a history, the next older version; else None.
    """
    rest = list(history)
    while rest:
        last = rest.pop()
        if last != current and last in usable:
            return last, tuple(rest)
    return max((number for number in usable if number < current), default=None), ()


def cut_history(history: Sequence[int], target: int) -> tuple[int, ...]:
    """The history after a rollback to a chosen version: what was before it; nothing if it never was stable."""
    positions = [position for position, number in enumerate(history) if number == target]
    return tuple(history[: positions[-1]]) if positions else ()


def _read(path: Path) -> bytes | None:
    try:
        return read_regular(path, MOST_CONFIG_BYTES) if is_there(path) else None
    except OSError as error:
        raise IntegrityError(
            f"{path.parent.name}/{path.name} cannot be read: {tell_why(error)}; fix or remove it"
        ) from None
