"""An ONNX file, with its weights in other files beside it."""

import re
from collections.abc import Mapping
from pathlib import Path

from export.errors import ExportError
from export.importers.facts import Fact, Facts
from export.importers.sources.onnx_metadata import read_metadata
from export.importers.sources.source import Found, OnnxModel
from export.onnx_files.reading import read_file
from model_store.errors import StoreError
from model_store.graph import Graph
from model_store.graphs.locales import with_available_locale
from model_store.graphs.plain import mark_any_shape
from model_store.graphs.sessions import CpuSession, describe_session
from model_store.plain import is_onnx

_CHARACTERS = "character"
"""The metadata of PaddleOCR's readers: their symbols, one a line."""


class OnnxFile:
    """Any ONNX file. It describes only its tensors, except for PaddleOCR's readers, which include their symbols."""

    kind = "an ONNX file"

    def claims(self, path: Path) -> bool:
        return path.is_file() and is_onnx(path.name)

    def read(self, path: Path, said: Facts) -> Found:
        model = read_onnx(path)
        characters = read_metadata(path).get(_CHARACTERS)
        facts = {} if characters is None else facts_of_reader(characters, model.graph)
        return Found(kind=self.kind, facts={**name_of(path), **facts}, model=model)


def facts_of_reader(characters: str, graph: Graph) -> dict[str, Fact]:
    """Facts about a reader of PaddleOCR: its symbols, and the preparation of pictures that all readers share.

    The file lacks the blank, which is the first symbol, and the space, which is the last symbol of many readers.
    """
    symbols = ("", *characters.split("\n"))
    sizes = {tensor.shape[2] for tensor in graph.outputs if len(tensor.shape) == 3}
    where = f"metadata: {_CHARACTERS}, after the blank"
    if len(symbols) + 1 in sizes:
        symbols, where = (*symbols, " "), f"{where} and before the space"
    usual = "PaddleOCR: how its readers prepare pictures"
    pictures = {"scale": 1 / 255, "mean": 0.5, "std": 0.5, "order": "BGR", "multiple": 32, "narrowest": 32}
    pictures |= {"resize": "fit", "padded": "end", "padding": 127, "interpolation": "bilinear", "antialias": False}
    return {
        "task": Fact("predict_sequence", f"metadata: {_CHARACTERS}, which readers of PaddleOCR have"),
        "reading.symbols": Fact(symbols, where),
        "reading.blank": Fact(0, "PaddleOCR: the blank is the first symbol"),
        **{f"picture.{name}": Fact(value, usual) for name, value in pictures.items()},
    }


def name_of(path: Path) -> dict[str, Fact]:
    """A model's name from the name of a file or folder, if that has usable characters."""
    path = path.absolute()
    return as_name(path.stem if path.is_file() else path.name, f"the name of {path.name}")


def as_name(text: str, origin: str) -> dict[str, Fact]:
    """A model's name from a text, without characters that no name may have; empty if nothing is left."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")
    return {"name": Fact(name, origin)} if name else {}


def read_onnx(path: Path) -> OnnxModel:
    """The graph of a file. Raises ExportError."""
    content, external = read_file(path.name, path)
    return describe_onnx(path.name, content, external)


def describe_onnx(name: str, content: bytes, external: Mapping[str, bytes]) -> OnnxModel:
    """A graph with its inputs and outputs. ``name`` is for messages. Raises ExportError."""
    try:
        session = CpuSession(with_available_locale(content), external)
        graph = mark_any_shape(describe_session(session.raw, "model.onnx"), content)
    except StoreError as error:
        raise ExportError(f"{name}: {error}: `sluice check` says more") from error
    return OnnxModel(content=content, external=external, graph=graph)
