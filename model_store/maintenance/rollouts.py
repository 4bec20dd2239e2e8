"""Begins and ends trials of versions: a canary answers a part of the requests, a shadow gets copies of requests."""

from pathlib import Path

from model_store.errors import NotInStore, StillUsed
from model_store.files.aliases import STABLE, read_aliases
from model_store.rollout import Canary, Limits, Rollout, Shadow, read_rollout, write_rollout
from model_store.store import Store


def begin_canary(
    store: Store, name: str, version: str, percent: float, header: str | None, limits: Limits, now: str
) -> Canary:
    """Let a version answer ``percent`` of the requests that name none. ``now`` is ISO 8601.

    If only the percentage of a running canary changes, its trial continues. Raises NotInStore, BadName, NotWritable;
    StillUsed for a version that is stable or the shadow.
    """
    with store.changing(name) as folder:
        number = _find(store, folder, version)
        rollout = read_rollout(folder)
        if rollout.shadow is not None and rollout.shadow.version == number:
            raise StillUsed(
                f"version {version} of {name!r} is in the shadow: `sluice models shadow {name} --end` first"
            )
        old = rollout.canary
        new = Canary(version=number, percent=percent, header=header, limits=limits, begun=now)
        if old is not None and not old.returned:
            same = new.model_copy(update={"begun": old.begun, "percent": old.percent})
            if same == old:
                new = new.model_copy(update={"begun": old.begun})
        write_rollout(folder, rollout.model_copy(update={"canary": new}))
    return new


def begin_shadow(store: Store, name: str, version: str, percent: float, now: str) -> Shadow:
    """Send a version copies of ``percent`` of the requests that name none. Raises as ``begin_canary``."""
    with store.changing(name) as folder:
        number = _find(store, folder, version)
        rollout = read_rollout(folder)
        if rollout.canary is not None and rollout.canary.version == number:
            raise StillUsed(f"version {version} of {name!r} is a canary: `sluice models canary {name} --end` first")
        new = Shadow(version=number, percent=percent, begun=now)
        write_rollout(folder, rollout.model_copy(update={"shadow": new}))
    return new


def end_role(store: Store, name: str, role: str) -> int:
    """End the ``canary`` or the ``shadow`` of a model. Returns its version. Raises NotInStore, NotWritable."""
    with store.changing(name) as folder:
        rollout = read_rollout(folder)
        facts = rollout.canary if role == "canary" else rollout.shadow
        if facts is None:
            raise NotInStore(f"{name!r} has no {role}")
        write_rollout(folder, rollout.model_copy(update={role: None}))
    return facts.version


def choose_promoted(store: Store, name: str) -> int | None:
    """The version that a promotion without a version means: that of the canary; None: the newest.

    Raises StillUsed for a canary that was rolled back.
    """
    canary = read_rollout(store.folder(name)).canary
    if canary is not None and canary.returned:
        raise StillUsed(
            f"the canary of {name!r}, version {canary.version}, went back: {canary.returned}. Name the version to "
            f"promote, or end the trial by `sluice models canary {name} --end`"
        )
    return None if canary is None else canary.version


def without(rollout: Rollout, version: int) -> Rollout:
    """The rollout without the trial of a version."""
    roles = {"canary": rollout.canary, "shadow": rollout.shadow}
    gone = {role: None for role, facts in roles.items() if facts is not None and facts.version == version}
    return rollout.model_copy(update=gone)


def _find(store: Store, folder: Path, version: str) -> int:
    """The number of a version for a trial. Raises NotInStore; StillUsed for the stable version."""
    name = folder.name
    number = store.find(name, version).version
    if len(store.versions(name)) < 2:
        raise NotInStore(f"{name!r} has no other version than {number}, with which it could be compared")
    if number == read_aliases(folder).get(STABLE):
        raise StillUsed(f"version {number} of {name!r} is {STABLE}: it answers all requests already")
    return number
