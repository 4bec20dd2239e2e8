"""A plan while it is made."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import onnx
from pydantic import ValidationError

from export.errors import SpecError
from export.importers.changes.change import Change, apply_all
from export.importers.changes.shapes import KeepOutputs
from export.importers.facts import Ledger
from export.importers.sources.onnx_file import describe_onnx
from export.importers.sources.source import Found, OnnxModel
from model_store.graph import Tensor
from model_store.manifest import describe
from model_store.strict_model import StrictModel

FLOATS = ("FP16", "FP32", "FP64")
SIDES = {"NCHW": (2, 3), "NHWC": (1, 2)}
"""The axes of height and width, by the layout of pictures."""


@dataclass
class Draft:
    """The facts, and what follows from them so far."""

    ledger: Ledger
    found: Found
    said: frozenset[str]
    """The paths of the facts that a person gives."""
    fields: dict[str, Any] = field(default_factory=dict)
    """The fields of the description so far."""
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    """The inputs and outputs after the changes so far."""
    content: bytes = b""
    """The graph after the changes of the source; empty for a PyTorch model."""
    answers: set[str] = field(default_factory=set)
    """The names of the outputs that the task reads."""

    def __post_init__(self) -> None:
        model = self.found.model
        graph = model.graph
        if isinstance(model, OnnxModel):
            self.content = model.content
            if self.found.changes:
                self.content = apply_all(model.content, self.found.changes)
                graph = describe_onnx(self.name, self.content, model.external).graph
        self.inputs, self.outputs = list(graph.inputs), list(graph.outputs)

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """``content``, parsed once. It is never changed. For a PyTorch model it is empty."""
        return onnx.load_model_from_string(self.content)

    @cached_property
    def _makers(self) -> dict[str, onnx.NodeProto]:
        """The node that makes each tensor."""
        return {name: node for node in self.proto.graph.node for name in node.output}

    @property
    def name(self) -> str:
        return str(self.ledger.get("name"))

    def make(self, kind: Callable[..., StrictModel], field_name: str, **values: Any) -> Any:
        """A part of the manifest, made of facts; values that are None are left out. Raises SpecError."""
        try:
            return kind(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            raise SpecError(f"{self.name}: {field_name}: {describe(error)}") from None

    def find(self, name: str, path: str) -> Tensor:
        """The output of this name, which the fact ``path`` names. Raises SpecError, which says who named it."""
        found = next((tensor for tensor in self.outputs if tensor.name == name), None)
        if found is None:
            raise SpecError(
                f"{self.name}: there is no output {name!r} ({self.ledger.origin(path)}), only {show(self.outputs)}"
            )
        return found

    def change(self, change: Change, old: str, *made: Tensor) -> None:
        """Add a change that puts other outputs in the place of ``old``."""
        self.changes.append(change)
        place = next(number for number, tensor in enumerate(self.outputs) if tensor.name == old)
        self.outputs[place : place + 1] = made

    def choose_name(self, wanted: str) -> str:
        """``wanted``, or another name if the graph already has a tensor of that name, inner ones included."""
        values = (*self.found.model.graph.inputs, *self.outputs, *self.proto.graph.initializer)
        taken = {value.name for value in values} | self._makers.keys()
        while wanted in taken:
            wanted += "_made"
        return wanted

    def maker(self, output: str) -> str:
        """The operator that computes an output, such as ``Softmax``, before any identities and casts; "" if unknown."""
        node = self._makers.get(output)
        while node is not None and node.op_type in ("Identity", "Cast", "Dropout") and node.input:
            node = self._makers.get(node.input[0])
        return str(node.op_type) if node is not None else ""

    def has_operator(self, *kinds: str) -> bool:
        """Whether the main graph has one of these operators."""
        return any(node.op_type in kinds for node in self.proto.graph.node)

    def drop_outputs(self) -> None:
        """Remove the outputs that the task does not read, so that they are neither computed nor copied."""
        extra = [tensor.name for tensor in self.outputs if tensor.name not in self.answers]
        if self.answers and extra and isinstance(self.found.model, OnnxModel):
            self.changes.append(KeepOutputs([t.name for t in self.outputs if t.name in self.answers], extra))


def ask_labels(draft: Draft, what: str) -> Sequence[str] | None:
    """The labels of the model's scores or boxes; None if they must be asked for."""
    labels: Sequence[str] | None = draft.ledger.get("labels")
    if labels is None:
        draft.ledger.ask(f"the labels of its {what}, in their order: give --labels a,b,c or a file")
    return labels


def choose_output(draft: Draft, what: str, fits: Callable[[Tensor], bool]) -> Tensor | None:
    """The output that somebody names, or the only one that fits; None if it must be asked for."""
    ledger = draft.ledger
    said = ledger.get("output")
    if said is not None:
        return draft.find(said, "output")
    able = [tensor for tensor in draft.outputs if fits(tensor)]
    if len(able) == 1:
        ledger.add("output", able[0].name, f"the graph: the only output that can be {what}")
        return able[0]
    ledger.ask(f"which output has {what}: {show(draft.outputs)}: give --output")
    return None


def holds_floats(tensor: Tensor, axes: int) -> bool:
    """Whether a tensor holds floats and has this number of axes."""
    return tensor.datatype in FLOATS and len(tensor.shape) == axes


def show(tensors: Iterable[Tensor]) -> str:
    """Tensors with their shapes, for messages."""
    return "; ".join(f"{t.name!r} {t.datatype} {show_shape(t)}" for t in tensors) or "none"


def show_shape(tensor: Tensor) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]"


def resize(tensor: Tensor, name: str, shape: Sequence[int | str], datatype: str | None = None) -> Tensor:
    """A tensor of another name and shape."""
    return Tensor(name=name, datatype=datatype or tensor.datatype, shape=tuple(shape))
