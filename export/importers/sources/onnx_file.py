"""An ONNX file, with its weights in other files beside it."""

import re
from collections.abc import Mapping
from pathlib import Path

from export.errors import ExportError
from export.importers.facts import Fact, Facts
from export.importers.sources.source import Found, OnnxModel
from export.onnx_files.reading import read_file
from model_store.errors import StoreError
from model_store.graphs.locales import with_available_locale
from model_store.graphs.plain import mark_any_shape
from model_store.graphs.sessions import CpuSession, describe_session
from model_store.plain import is_onnx


class OnnxFile:
    """Any ONNX file. It says little beyond its tensors."""

    kind = "an ONNX file"

    def claims(self, path: Path) -> bool:
        return path.is_file() and is_onnx(path.name)

    def read(self, path: Path, said: Facts) -> Found:
        return Found(kind=self.kind, facts=name_of(path), model=read_onnx(path))


def name_of(path: Path) -> dict[str, Fact]:
    """The name of a file or folder as a model's name, if it can be one."""
    path = path.absolute()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem if path.is_file() else path.name).strip("-._")
    return {"name": Fact(name, f"the name of {path.name}")} if name else {}


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
