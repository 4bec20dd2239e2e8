"""Tensors in shared memory, by the parameters of an input or an output."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from service.errors import InvalidInput

_PREFIX: Final = "shared_memory_"
_REGION, _OFFSET, _SIZE = f"{_PREFIX}region", f"{_PREFIX}offset", f"{_PREFIX}byte_size"
_MOST: Final = 1 << 63


class RegionPart(NamedTuple):
    """Where the bytes of a tensor are read or written: ``offset`` bytes after the beginning of a region."""

    region: str
    offset: int
    size_bytes: int


def read_region(parameters: Mapping[str, Any], where: str) -> RegionPart:
    """The part of a region that parameters name. Raises InvalidInput."""
    for name in parameters:
        if name.startswith(_PREFIX) and name not in (_REGION, _OFFSET, _SIZE):
            raise InvalidInput(f"{where}.parameters: unknown {name!r:.60}")
    region = parameters.get(_REGION)
    if not isinstance(region, str) or not region:
        raise InvalidInput(f"{where}.parameters.{_REGION}: expected the name of a region, got {region!r:.60}")
    offset = _read_count(_OFFSET, parameters.get(_OFFSET, 0), where)
    return RegionPart(region, offset, _read_count(_SIZE, parameters.get(_SIZE), where))


def _read_count(name: str, value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise InvalidInput(f"{where}.parameters.{name}: expected a number of bytes from 0, got {value!r:.60}")
    return value
