"""What a source is, and what it returns.

To add a kind of source, write a module with a class that has ``kind``, ``claims`` and ``read``, as ``Source`` says, and
add it to ``SOURCES`` in ``kinds.py``. The rest of the import does not change:

1. ``claims(path)`` looks only at names and at the beginning of a file.
2. ``read(path, said)`` reads files and returns ``Found``. It runs code that it reads only if the person names a
   Python file or says ``trust``. ``said`` are the facts that the person gives; most sources need none of them.
3. ``Found.facts`` has all facts that the source knows, by the paths of ``options.Options``, each with its origin in
   words: ``{"labels": Fact(("cat", "dog"), "config.json: id2label")}``. A source does not guess: the plan measures,
   guesses or asks for what is missing. Facts that a person gives win.
4. ``Found.model`` is the graph: an ``OnnxModel``, or a ``TorchModel``, which the export proves against PyTorch.
5. ``Found.changes`` are changes of the graph that only this kind of source needs, such as another layout of boxes. They
   come before the changes of the plan, and the facts describe the outputs after them. Each has its own proof: see
   ``changes/change.py``.
6. ``Found.more`` has fields of the manifest that no option says, such as ``table``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from export.importers.changes.change import Arrays, Change
from export.importers.facts import Facts
from export.spec import ExportSpec
from export.spec.description import ModelDescription
from model_store.graph import Graph
from model_store.manifest import Quality


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxModel:
    """A graph from a file or from a converter."""

    content: bytes
    external: Mapping[str, bytes] = field(default_factory=dict)
    """The files with its weights, by name."""
    graph: Graph
    """Its inputs and outputs as ONNX Runtime sees them."""
    original: Callable[[Arrays], Arrays] | None = None
    """Runs the model from which the graph was converted, from inputs by name to outputs by name; the graph is proved
    against it. None: the file is the original."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """For each output, the magnitude to which its differences are relative. Absent: the largest of each row."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Publication:
    """What a ``TorchModel`` needs to make a spec."""

    description: ModelDescription
    samples: Arrays | None
    quality: Quality | Callable[..., Quality] | None
    golden_rows: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TorchModel:
    """A PyTorch model. Its export gives the outputs of ``graph``, which need no change."""

    graph: Graph
    """The inputs and outputs that the export will have."""
    make_spec: Callable[[Publication], ExportSpec]


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a source found."""

    kind: str
    """What it is, in words: ``an ONNX file``."""
    facts: Facts
    model: OnnxModel | TorchModel
    changes: tuple[Change, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """Remarks for the person, such as which of several files was read."""


class Source(Protocol):
    """One kind of source."""

    kind: str
    """What it is, in words: ``an ONNX file``."""

    def claims(self, path: Path) -> bool:
        """Whether the path looks like one."""
        ...

    def read(self, path: Path, said: Facts) -> Found:
        """Read it. Raises ExportError if it cannot be imported; the text says what to do."""
        ...
