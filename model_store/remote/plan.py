"""Plans a refresh of a mirror: from the contents of both sides, what to fetch and what to drop. Pure."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from model_store.remote.contents import RemoteFile, RemoteModel
from model_store.remote.state import KeptFile, State
from model_store.remote.transfers.retries import Backoff

CLOCK_STEP_S = 2.0
"""Marks may be times in whole seconds, so a file may change within a second and keep its mark. A file that was read at
least this long after its mark was first seen cannot have changed since under the same mark."""


@dataclass(slots=True)
class Plan:
    fetch: list[tuple[str, int]] = field(default_factory=list)
    """Versions that are not in the folder, or whose list of files has changed since they were fetched."""
    read: list[tuple[str, str]] = field(default_factory=list)
    """Files beside versions that may have changed."""
    drop_versions: list[tuple[str, int]] = field(default_factory=list)
    drop_files: list[tuple[str, str]] = field(default_factory=list)
    drop_models: list[str] = field(default_factory=list)


def make_plan(
    found: Mapping[str, RemoteModel],
    here: Mapping[str, Collection[int]],
    state: State,
    backoff: Backoff,
    now_s: float,
    *,
    only: Collection[str] = (),
    drops: bool = True,
    again: bool = False,
) -> Plan:
    """``found``: the remote store. ``here``: the versions in the folder. ``only``: the models to mirror; empty: all.

    ``again``: also fetch versions that are in the folder. ``drops``: remove what the remote store no longer has. A
    model of the folder that the state does not know was put there by others and stays.
    """
    plan = Plan()
    for name, model in sorted(found.items()):
        kept = state.versions.get(name, {})
        for number in sorted(model.versions, reverse=True):
            known = kept.get(number)
            marks = find_marks(model.versions[number])
            is_same = known is not None and number in here.get(name, ()) and known.marks == marks
            if (again or not is_same) and backoff.is_due((name, number), mark_of(marks), now_s):
                plan.fetch.append((name, number))
        seen = state.beside.get(name, {})
        plan.read += [
            (name, file) for file, there in model.beside.items() if again or _may_differ(there, seen.get(file))
        ]
        if drops:
            plan.drop_files += [(name, file) for file in seen if file not in model.beside]
            plan.drop_versions += [(name, number) for number in kept if number not in model.versions]
    if drops:
        known_models = sorted({*state.versions, *state.beside})
        plan.drop_models = [name for name in known_models if name not in found and (not only or name in only)]
    return plan


def find_marks(files: Mapping[str, RemoteFile]) -> dict[str, str]:
    return {path: file.mark for path, file in sorted(files.items())}


def mark_of(marks: Mapping[str, str]) -> str:
    """One mark for a whole version, from those of its files."""
    return hashlib.sha256(repr(sorted(marks.items())).encode()).hexdigest()


def _may_differ(there: RemoteFile, seen: KeptFile | None) -> bool:
    if seen is None or seen.mark != there.mark or not there.stamp:
        return True
    if there.sha256:
        return there.sha256 != seen.sha256
    return seen.read_s - seen.first_seen_s < CLOCK_STEP_S
