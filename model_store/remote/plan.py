"""What a mirror has to do: pure. What there is here and there goes in, what to fetch and to drop comes out."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from model_store.remote.contents import RemoteFile, RemoteModel
from model_store.remote.state import KeptFile, State
from model_store.remote.transfers.retries import Rests

CLOCK_STEP_S = 2.0
"""Marks of files may be times in whole seconds. A file that was read at least this long after its mark was first seen
cannot have changed since under the same mark."""


@dataclass(slots=True)
class Plan:
    bring: list[tuple[str, int]] = field(default_factory=list)
    """Versions that are not here, or of which the list says something else than when they were fetched."""
    read: list[tuple[str, str]] = field(default_factory=list)
    """Files beside versions that may have changed."""
    drop_versions: list[tuple[str, int]] = field(default_factory=list)
    drop_files: list[tuple[str, str]] = field(default_factory=list)
    drop_models: list[str] = field(default_factory=list)


def make_plan(
    found: Mapping[str, RemoteModel],
    here: Mapping[str, Collection[int]],
    state: State,
    rests: Rests,
    now_s: float,
    *,
    only: Collection[str] = (),
    drops: bool = True,
    again: bool = False,
) -> Plan:
    """``here``: the versions in the folder. ``only``: the models that ``found`` is about; empty: all.

    ``again``: look at every version, also at those that are here. ``drops``: remove what is not there any more. A model
    of the folder that the state does not know was put there by somebody else and stays.
    """
    plan = Plan()
    for name, model in sorted(found.items()):
        kept = state.versions.get(name, {})
        for number in sorted(model.versions, reverse=True):
            known = kept.get(number)
            marks = find_marks(model.versions[number])
            is_same = known is not None and number in here.get(name, ()) and known.marks == marks
            if (again or not is_same) and rests.is_due((name, number), mark_of(marks), now_s):
                plan.bring.append((name, number))
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
    """One mark of a whole version."""
    return hashlib.sha256(repr(sorted(marks.items())).encode()).hexdigest()


def _may_differ(there: RemoteFile, seen: KeptFile | None) -> bool:
    if seen is None or seen.mark != there.mark or not there.stamp:
        return True
    if there.sha256:
        return there.sha256 != seen.sha256
    return seen.read_s - seen.first_seen_s < CLOCK_STEP_S


def choose_held(aliases: Mapping[str, object], missing: Collection[int]) -> bool:
    """Whether aliases must wait, because one names a version that could not be fetched."""
    return any(isinstance(number, int) and number in missing for number in aliases.values())
