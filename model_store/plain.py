"""Files of a version without a manifest: the ONNX file, and the files that hold its weights.

The model is ``model.onnx``, or the only ``*.onnx`` file. It may be a folder of that name, which holds the ONNX file
with its external data, as in Triton. Other files are read only if the ONNX file names them.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_store.errors import BadLayout, escape
from model_store.files.integrity import describe_bytes
from model_store.files.links import Boundary, tell_why
from model_store.graph import FILE_NAME
from model_store.manifest import File

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

PLAIN_FILE = "model.onnx"
_SUFFIX = ".onnx"
_NAMES_SHOWN = 5
_KEY = b"\x0a\x08location"
"""The key of a file name in every ONNX file with external data."""
_LARGEST = (1 << 31) - 1
"""The most bytes of a protocol buffers message."""


@dataclass(frozen=True, slots=True)
class PlainModel:
    """The files of a plain version. ``content`` is the ONNX file for ONNX Runtime, ``external`` the files that it
    names."""

    file: str
    """The name of the ONNX file if a manifest can hold it, else ``model.onnx``."""
    content: bytes
    external: Mapping[str, bytes]
    digest: File
    """Digest and size of the ONNX file as stored."""


def is_onnx(name: str) -> bool:
    return name.lower().endswith(_SUFFIX)


def find_onnx(folder: Path, boundary: Boundary, default_filename: str | None = None) -> Path:
    """The ONNX file of a version. Raises BadLayout, which says what is there and what was expected.

    ``default_filename`` is the name that a configuration gives it, if any.
    """
    if default_filename:
        path = Path(os.path.normpath(folder / default_filename))
        if "\0" in default_filename or not path.is_relative_to(folder):
            raise BadLayout(
                f"default_model_filename: expected a file in {boundary.where(folder)}, got {default_filename!r:.200}"
            )
        boundary.resolve(path)
    else:
        path = Path(choose_onnx(folder, list_entries(folder, boundary), boundary).path)
    if not path.is_dir():
        return path
    inside = choose_onnx(path, list_entries(path, boundary), boundary)
    if inside.is_dir():
        raise BadLayout(f"{boundary.where(Path(inside.path))} is a folder: expected an ONNX file of this name")
    return Path(inside.path)


def list_entries(folder: Path | str, boundary: Boundary) -> list[os.DirEntry[str]]:
    """The entries of a folder by name, without hidden ones. Raises BadLayout if the folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        where = boundary.where(Path(folder))
        raise BadLayout(f"{where} cannot be read: {tell_why(error)}: let the user of the server read it") from None


def choose_onnx(folder: Path | str, entries: Iterable[os.DirEntry[str]], boundary: Boundary) -> os.DirEntry[str]:
    """The entry of ``folder`` that is the ONNX file, or the folder around it. Raises BadLayout."""
    found = {entry.name: entry for entry in entries}
    models = [entry for name, entry in found.items() if is_onnx(name)]
    if PLAIN_FILE in found:
        models = [found[PLAIN_FILE]]
    if len(models) == 1:
        if models[0].is_symlink():
            boundary.resolve(Path(models[0].path))
        return models[0]
    where = boundary.where(Path(folder))
    if models:
        raise BadLayout(
            f"{where} holds {show_names(e.name for e in models)} but no {PLAIN_FILE}: rename the one to serve to "
            f"{PLAIN_FILE}"
        )
    if found:
        raise BadLayout(f"{where} holds {show_names(found)} but no ONNX file: expected {PLAIN_FILE}: export it to ONNX")
    raise BadLayout(f"{where} is empty: expected {PLAIN_FILE}: copy it there, or remove the folder")


def show_names(names: Iterable[str]) -> str:
    """The first of some names, for messages."""
    listed = [escape(name) for name in names]
    further = len(listed) - _NAMES_SHOWN
    return ", ".join(listed[:_NAMES_SHOWN]) + (f" and {further} more" if further > 0 else "")


def read_plain(folder: Path, boundary: Boundary, default_filename: str | None = None) -> PlainModel:
    """The ONNX file of a version, and the files that hold its weights. Raises BadLayout."""
    path = find_onnx(folder, boundary, default_filename)
    content = boundary.read(path, _LARGEST)
    digest = describe_bytes(content)
    external: Mapping[str, bytes] = {}
    if _KEY in content:  # a large file without external data need not be parsed
        content, external = _read_external(path, content, boundary)
    file = path.name if FILE_NAME.fullmatch(path.name) else PLAIN_FILE
    return PlainModel(file, content, external, digest)


def _read_external(path: Path, content: bytes, boundary: Boundary) -> tuple[bytes, Mapping[str, bytes]]:
    """The model for ONNX Runtime, and the content of each file that it names."""
    import onnx  # imported late: most models have no external data, and importing takes longer than loading them
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        return content, {}  # ONNX Runtime reports the fault, or knows the format
    files = _ExternalFiles(path, boundary)
    initializers, others = _list_tensors(model)
    for tensor in initializers:
        files.take(tensor)
    named = dict(files.contents)
    parts = [files.take(tensor) for tensor in others]
    if parts:
        # ONNX Runtime takes initializers of the main graph from memory, but would open the files of all other tensors.
        if len(content) + sum(map(len, parts)) > _LARGEST:
            raise BadLayout(f"{boundary.where(path)}: expected at most 2 GB of weights inside its nodes, got more")
        for tensor, part in zip(others, parts, strict=True):
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = bytes(part)
        content = model.SerializeToString()
    return content, named


def _list_tensors(model: "ModelProto") -> tuple[list["TensorProto"], list["TensorProto"]]:
    """The external tensors of a model: initializers of its main graph, and all others (subgraphs, attributes,
    functions)."""
    initializers = [tensor for tensor in model.graph.initializer if _is_external(tensor)]
    others: list[TensorProto] = []
    sparse = list(model.graph.sparse_initializer)
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while nodes:
        for attribute in nodes.pop().attribute:
            others += [attribute.t, *attribute.tensors]
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
            for graph in (attribute.g, *attribute.graphs):
                others += graph.initializer
                sparse += graph.sparse_initializer
                nodes += graph.node
    others += [part for tensor in sparse for part in (tensor.values, tensor.indices)]
    return initializers, [tensor for tensor in others if _is_external(tensor)]


def _is_external(tensor: "TensorProto") -> bool:
    return bool(tensor.data_location == tensor.EXTERNAL)


class _ExternalFiles:
    """The files that an ONNX file names, each read once."""

    def __init__(self, path: Path, boundary: Boundary) -> None:
        self.contents: dict[str, bytes] = {}
        self._path = path
        self._boundary = boundary
        self._read: dict[Path, bytes] = {}

    def take(self, tensor: "TensorProto") -> memoryview:
        """The bytes of a tensor. Raises BadLayout, which names the file, if they cannot be read."""
        place = {entry.key: entry.value for entry in tensor.external_data}
        location = place.get("location", "")
        if location not in self.contents:
            self.contents[location] = self._open(location)
        content = self.contents[location]
        try:
            begin = int(place.get("offset") or 0)
            end = begin + int(place["length"]) if place.get("length") else len(content)
        except ValueError:
            raise self._refuse(location, f"expected numbers as offset and length of {tensor.name!r:.120}") from None
        if not 0 <= begin <= end <= len(content):
            raise self._refuse(location, f"expected at least {end} bytes, got {len(content)}: copy it there again")
        return memoryview(content)[begin:end]

    def _open(self, location: str) -> bytes:
        folder = self._path.parent
        path = Path(os.path.normpath(folder / location))
        if not location or "\0" in location or os.path.isabs(location) or not path.is_relative_to(folder):
            raise self._refuse(location, f"expected a file below the folder of {self._path.name}")
        try:
            real = self._boundary.resolve(path)
            if real not in self._read:
                self._read[real] = self._boundary.read(path)
        except BadLayout as error:
            raise self._refuse(location, str(error)) from None
        return self._read[real]

    def _refuse(self, location: str, why: str) -> BadLayout:
        where = self._boundary.where(self._path)
        return BadLayout(f"{where} has weights in the file {location!r:.200}: {why}")
