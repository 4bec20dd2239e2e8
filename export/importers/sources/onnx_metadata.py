"""The metadata of an ONNX file, read without its graph."""

from pathlib import Path
from typing import BinaryIO

from onnx import StringStringEntryProto

_METADATA_FIELD = 14
"""``metadata_props`` of ONNX's ModelProto."""
_LENGTH, _LARGEST_ENTRY = 2, 1 << 20
_WIDTHS = {1: 8, 5: 4}
"""Bytes of a field by its wire type; type 0 is a varint, type 2 has its length in front."""


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of an ONNX file; none if it is no such file. Its graph is skipped, however large it is."""
    found: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            while (key := _read_varint(file)) is not None:
                field, wire = key >> 3, key & 7
                size = _read_varint(file) if wire in (0, _LENGTH) else _WIDTHS.get(wire)
                if size is None:
                    return found
                if wire == _LENGTH and field == _METADATA_FIELD and size <= _LARGEST_ENTRY:
                    entry = StringStringEntryProto.FromString(file.read(size))
                    found[entry.key] = entry.value
                elif wire != 0:
                    file.seek(size, 1)
    except Exception:  # noqa: BLE001  # a file of another kind: protobuf raises many types
        return {}
    return found


def _read_varint(file: BinaryIO) -> int | None:
    """The next number; None at the end of the file. Raises ValueError for one that is too long."""
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("expected a number of at most 64 bits")
