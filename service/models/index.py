"""What the store has, for the registry: what is to serve, what cannot and why, and the index of the repository."""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from model_store import ModelVersion, Store
from model_store.listing import Contents, Unusable
from model_store.store import read_number
from service.errors import NotReady, UnknownModel
from service.models.entry import ModelEntry, State, find_number

logger = logging.getLogger("sluice.registry")


def read_store(store: Store, only: Sequence[str]) -> dict[str, Contents]:
    """What the store has of the models that are to serve, which are all without ``only``. What cannot is logged."""
    found: dict[str, Contents] = {}
    try:
        found = store.list_all()
    except OSError as error:
        logger.error("the store cannot be read: %s", error)
    else:
        if not found:
            logger.warning("%s holds no models: expected files <name>/<version>/model.onnx in it", store.root)
    for name in sorted(set(only) - set(found)):
        logger.error("SLUICE_MODELS names %r, which is not in %s", name, store.root)
    wanted = {name: contents for name, contents in found.items() if not only or name in only}
    for contents in wanted.values():
        for each in contents.unusable:
            what = f"{each.name} version {each.version}" if each.version else each.name
            logger.error("%s is unavailable: %s", what, each.reason)
    return wanted


class IndexEntry(NamedTuple):
    """A version for the index of the repository, or with "" for its version what is none of one."""

    name: str
    version: str
    state: State
    reason: str


def make_index(
    found: Mapping[str, Contents], model_entries: Mapping[str, ModelEntry], *, lazy: bool, loaded: bool
) -> list[IndexEntry]:
    """All that is in the store, and what is in service and not there any more. ``loaded``: every model was tried."""
    numbers = {(name, number) for name, contents in found.items() for number in contents.folders}
    numbers |= {(name, number) for name, model_entry in model_entries.items() for number in model_entry.entries}
    index = {
        (name, str(number)): _list(name, number, model_entries.get(name), lazy, loaded) for name, number in numbers
    }
    for contents in found.values():
        for each in contents.unusable:
            index.setdefault(
                (each.name, each.version), IndexEntry(each.name, each.version, State.UNAVAILABLE, each.reason)
            )
    return sorted(index.values(), key=lambda listed: (listed.name, read_number(listed.version) or 0, listed.version))


def _list(name: str, number: int, model_entry: ModelEntry | None, lazy: bool, loaded: bool) -> IndexEntry:
    entry = model_entry.entries.get(number) if model_entry else None
    if entry is not None:
        return IndexEntry(name, str(number), entry.state, entry.reason)
    if model_entry is not None and not loaded:
        return IndexEntry(name, str(number), State.LOADING, "")
    if model_entry is not None and model_entry.chosen is not None and number not in model_entry.chosen:
        return IndexEntry(name, str(number), State.UNAVAILABLE, "the version_policy of config.pbtxt leaves it out")
    waits = model_entry is not None and lazy and not model_entry.entries and not model_entry.reason
    return IndexEntry(
        name, str(number), State.UNAVAILABLE, "it is loaded when asked for" if waits else "it is not loaded"
    )


def check_usable(name: str, version: str, unusable: Sequence[Unusable]) -> None:
    """Raises NotReady with the reason if the version is one of those that cannot serve."""
    for each in unusable:
        if each.version == version:
            raise NotReady(f"model {name!r} version {version} is not ready: {each.reason}")


def choose_version(
    name: str,
    version: str | None,
    versions: Sequence[ModelVersion],
    aliases: Mapping[str, int],
    unusable: Sequence[Unusable],
) -> ModelVersion:
    """Of ``versions``, oldest first, the one that a text means, or the newest. Raises UnknownModel, NotReady."""
    if version is None:
        return versions[-1]
    check_usable(name, version, unusable)
    number = find_number(name, aliases, version)
    for each in versions:
        if each.version == number:
            return each
    check_usable(name, str(number), unusable)
    have = ", ".join(str(each.version) for each in versions)
    raise UnknownModel(f"no version {version!r} of {name!r} in the store: there are {have}")
