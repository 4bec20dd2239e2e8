"""The model repository as the protocol has it: what clients send, checked, and the index."""

from collections.abc import Iterable, Mapping
from typing import Any

from service.errors import InvalidInput, NotOffered
from service.models.entry import State
from service.models.index import IndexEntry
from service.protocol.json import read_optional, type_name


def read_index(request: Mapping[str, Any]) -> bool:
    """Whether only versions that serve are asked for. Raises InvalidInput."""
    _check_fields(request, "ready")
    only_ready = request.get("ready")
    if not isinstance(only_ready, bool | None):
        raise InvalidInput(f"ready: expected true or false, got {type_name(only_ready)}")
    return bool(only_ready)


def render_index(versions: Iterable[IndexEntry], only_ready: bool) -> list[dict[str, str]]:
    index = []
    for listed in versions:
        if listed.state is State.READY or not only_ready:
            line = {"name": listed.name, "version": listed.version, "state": listed.state.value}
            line["reason"] = listed.reason
            index.append({field: text for field, text in line.items() if text})
    return index


def read_version(request: Mapping[str, Any]) -> str | None:
    """The version that a load or unload names, by number or alias. Raises InvalidInput, NotOffered."""
    _check_fields(request, "parameters")
    parameters = read_optional(request, "parameters", "parameters")
    version = parameters.get("version")
    for name, value in parameters.items():
        if name == "config" or name.startswith("file:"):
            raise NotOffered(f"parameters.{name:.60}: a model is what was published: publish a new version instead")
        if name == "unload_dependents":  # no model of ours depends on another
            if not isinstance(value, bool):
                raise InvalidInput(f"parameters.unload_dependents: expected true or false, got {type_name(value)}")
        elif name != "version":
            raise InvalidInput(f"unknown parameter {name!r:.60}: there is version")
    if version is not None and (type(version) not in (str, int) or version == ""):
        raise InvalidInput(f"parameters.version: expected a number or an alias, got {type_name(version)}")
    return None if version is None else str(version)


def _check_fields(request: Mapping[str, Any], known: str) -> None:
    for name in request:
        if name != known:
            raise InvalidInput(f"unknown field {name!r:.60}: there is {known}")
