"""One node with the facts of its inputs: what rules receive, and how they return facts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from model_store.rows.facts import (
    FIXED,
    Counted,
    Fact,
    Fixed,
    Mixing,
    Places,
    Rows,
    Selectors,
    Shape,
    Sized,
    Source,
    State,
    Unknown,
)
from model_store.rows.graph.nodes import Node
from model_store.rows.measures import Measures
from model_store.rows.sizes import Size

_COMPUTED = (
    "Slice Range Expand Tile ConstantOfShape Reshape Pad Resize Upsample NonZero Compress Unique Split SplitToSequence "
    "OneHot TopK CenterCropPad NonMaxSuppression Conv ConvTranspose ConvInteger QLinearConv DeformConv MaxPool LpPool "
    "AveragePool Col2Im DepthToSpace SpaceToDepth STFT DFT Concat Flatten Size Shape MaxUnpool Einsum "
    "FusedConv NhwcConv NhwcMaxPool QLinearAveragePool MaxpoolWithMask UnfoldTensor Tokenizer StringSplit "
    "TfIdfVectorizer ConcatFromSequence CropAndResize If Loop Scan SequenceMap BlackmanWindow HannWindow HammingWindow "
    "MelWeightMatrix ImageDecoder AffineGrid RoiAlign ArrayFeatureExtractor FeatureVectorizer NhwcFusedConv Rfft Irfft "
    "DynamicTimeWarping ConvTransposeWithDynamicPads QLinearConcat QLinearReduceMean"
)
COMPUTED = frozenset(_COMPUTED.split())
"""Operators that compute lengths. One that was measured like an operand's length may differ at other sizes."""
_BY_PARAMETERS = "Slice Expand Tile Reshape Pad Resize Upsample Split OneHot TopK CenterCropPad CropAndResize"
_BY_ALL = (
    "Range ConstantOfShape NonZero Compress Unique NonMaxSuppression Tokenizer StringSplit SplitToSequence If Loop "
    "Scan SequenceMap"
)
BY_VALUES = {**dict.fromkeys(_BY_PARAMETERS.split(), 1), **dict.fromkeys(_BY_ALL.split(), 0)}
"""Operators whose lengths depend on the values of the inputs from this position on."""


@dataclass(frozen=True, slots=True)
class Step:
    """One node for a rule.

    ``opset`` is the version of the node's operator set, ``bounds`` finds the least and largest number in a tensor
    (``bounds.py``), ``trace`` the node that made a tensor and its fact. ``source`` is that of the outputs.

    ``read`` collects the inputs that a rule has looked at. If an input depends on the rows and no rule has looked at
    it, the node is unknown, so a rule cannot forget an input.
    """

    node: Node
    facts: tuple[Fact | None, ...]
    measures: Measures
    opset: int
    bounds: Callable[[str], tuple[Size, Size]]
    trace: Callable[[str], tuple[Node | None, Fact | None]]
    source: Source
    read: set[int] = field(default_factory=set)

    def fact(self, at: int) -> Fact:
        """An input that must be present. Raises Unknown."""
        found = self.facts[at] if at < len(self.facts) else None
        if found is None:
            raise Unknown(f"input {at} is missing")
        return found

    def has(self, at: int) -> bool:
        return at < len(self.facts) and self.facts[at] is not None

    def named(self, name: str) -> Fact:
        """An input by name, for rules that consider how it depends on the rows."""
        return self.look(self.node.inputs.index(name))

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attributes.get(name, default)

    def text(self, name: str, default: str = "") -> str:
        value = self.node.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def axis(self, rank: int, default: int | None = None, name: str = "axis") -> int:
        """An attribute as an axis from 0. Raises Unknown if it is missing or out of range."""
        return norm(self.attribute(name, default), rank)

    def numbers(self, at: int) -> list[int] | None:
        """The integers of an input if they are constants of the file: axes, strides, counts."""
        fact = self.facts[at] if at < len(self.facts) else None
        if fact is None or fact.values is None or fact.source != Source.FILE:
            return None
        found = [v.constant if isinstance(v, Size) else None for v in fact.values.reshape(-1)]
        return None if None in found else found  # type: ignore[return-value]

    def sizes(self, at: int) -> list[Size] | None:
        """The elements of an input as sizes; None if one of them is not known."""
        fact = self.look(at)
        if fact.values is None:
            return None
        found = list(fact.values.reshape(-1))
        return found if all(isinstance(size, Size) for size in found) else None

    def look(self, at: int) -> Fact:
        """An input, for rules that consider how it depends on the rows. Raises Unknown if it is missing."""
        self.read.add(at)
        return self.fact(at)

    def rows(self, at: int) -> Rows | None:
        """The rows of an input; None if it is the same for every row.

        Raises Unknown if it is neither.
        """
        state = self.look(at).state
        if isinstance(state, Rows):
            return state
        if isinstance(state, Fixed):
            return None
        raise Unknown(explain(state))

    def expect_fixed(self, *places: int) -> None:
        """Raise Unknown if one of these inputs depends on the rows or on their number."""
        for at in places:
            if self.has(at) and self.rows(at) is not None:
                raise Unknown(f"input {at} ({self.node.inputs[at]!r}) depends on the rows")

    def expect_fixed_after(self, at: int) -> None:
        self.expect_fixed(*range(at + 1, len(self.facts)))

    def give(self, state: State, shape: Shape | None = None, output: int = 0) -> Fact:
        """The fact of an output, with the given shape or the measured one."""
        if shape is None:
            shape = self.measure(self.node.outputs[output], state)
        return Fact(state, shape, source=self.source)

    def give_all(self, state: State) -> list[Fact | None]:
        """The facts of all outputs, with the same state."""
        return [self.give(state, output=i) if name else None for i, name in enumerate(self.node.outputs)]

    def measure(self, name: str, state: State) -> Shape:
        """The measured shape of an output. The length of the axis of the rows comes from its state."""
        measured = self.measures.shapes(name)
        if measured is None:
            raise Unknown(f"{name!r} is no tensor")
        if len({len(shape) for shape in measured}) > 1:
            raise Mixing("the rank of its output depends on the number of rows or on a size")
        axis = state.axis if isinstance(state, Rows | Places | Selectors) else None
        first = BY_VALUES.get(self.node.op, len(self.facts))
        free = any(fact is not None and fact.source != Source.FILE for fact in self.facts[first:])
        shape = []
        for at, lengths in enumerate(zip(*measured, strict=True)):
            if at == axis and isinstance(state, Rows | Places | Selectors):
                shape.append(state.outer * self.measures.rows * state.inner)
            else:
                shape.append(self._find_length(lengths, at, len(measured[0]), free=free))
        return tuple(shape)

    def _find_length(self, lengths: tuple[int, ...], at: int, rank: int, *, free: bool) -> Size:
        """A measured length as a size: that of an operand, preferably on the same axis, or a new one."""
        kept = self.node.op not in COMPUTED
        shapes = [fact.shape for fact in self.facts if fact is not None and fact.shape is not None]
        from_end = [shape[at - rank] for shape in shapes if len(shape) >= rank - at]
        from_start = [shape[at] for shape in shapes if len(shape) > at]
        for candidates in (from_end, from_start, [size for shape in shapes for size in shape]):
            known = [size for size in candidates if kept or size.constant is not None]
            found = self.measures.choose(lengths, known)
            if found is not None:
                return found
        return self.measures.length(lengths, free=free)

    def measure_axis(self, axis: int, *, free: bool, of: int = 0) -> Size:
        """The measured length of an axis of an output. ``free``: it may differ at other sizes."""
        measured = self.measures.shapes(self.node.outputs[of])
        if measured is None or any(len(shape) <= axis for shape in measured):
            raise Unknown(f"{self.node.outputs[of]!r} is no tensor of this rank")
        return self.measures.length(tuple(shape[axis] for shape in measured), free=free)


Rule = Callable[[Step], Sequence[Fact | None]]


def norm(axis: Any, rank: int) -> int:
    """An axis counted from 0. Raises Unknown if it is out of range."""
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise Unknown(f"axis {axis} of a tensor with {rank} axes")
    return axis % rank


def explain(state: State) -> str:
    if isinstance(state, Sized):
        return "a number that depends on the number of rows enters the data"
    if isinstance(state, Places | Selectors):
        return "the position of a row in its batch enters the data"
    if isinstance(state, Counted):
        return "positions counted over the whole batch enter the data"
    return "rows are not understood"


def fixed(step: Step) -> list[Fact | None]:
    """Every output is the same in every batch."""
    return step.give_all(FIXED)
