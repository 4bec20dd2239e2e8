"""One graph of a model version, as the manifest describes it: files, inputs, outputs and rows."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from model_store.datatypes import DATATYPES
from model_store.strict_model import Finite, StrictModel

MAIN = "main"
"""The graph that every version has."""
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
FileName = Annotated[str, StringConstraints(pattern=f"^{FILE_NAME.pattern}$")]


class Tensor(StrictModel):
    """One input or output of a graph.

    ``shape`` includes the batch axis. A number is a fixed size; a text names a dynamic axis. ``batch_axis`` is None for
    a tensor that all rows of a batch share, and in a graph that is not batched.
    """

    name: str
    datatype: str
    """The name in the Open Inference Protocol, such as FP32."""
    shape: tuple[int | str, ...]
    batch_axis: int | None = None
    finite: bool = False
    """True: NaN and infinities in this input are refused before the model runs."""
    least: int | None = None
    """The least integer that this input accepts; see ``largest``."""
    largest: int | None = None
    """The largest integer that this input accepts. Others, such as an index outside a table, are refused before the
    model runs."""
    optional: bool = False
    """True: a request may leave this input out, because the graph has a default value."""
    any_shape: bool = False
    """True: the graph declares no rank. Any shape is accepted, and ``shape`` is empty."""
    internal: bool = False
    """True: the server fills or keeps this tensor for a sequence. Callers neither send nor see it."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.datatype not in DATATYPES:
            raise ValueError(f"datatype {self.datatype!r}: expected one of {', '.join(DATATYPES)}")
        if self.finite and self.datatype == "BYTES":
            raise ValueError("finite: expected it on numbers only, got it on BYTES")
        if (self.least, self.largest) != (None, None) and "INT" not in self.datatype:
            raise ValueError(f"least, largest: expected them on integers only, got them on {self.datatype}")
        if self.batch_axis is not None and not 0 <= self.batch_axis < len(self.shape):
            raise ValueError(f"batch_axis {self.batch_axis} lies outside the shape {self.shape}")
        return self

    @property
    def has_fixed_rows(self) -> bool:
        """Whether every size of a row is fixed."""
        return all(isinstance(size, int) for size in self.row_shape)

    @property
    def row_shape(self) -> tuple[int | str, ...]:
        """The shape of one row, without the batch axis."""
        if self.batch_axis is None:
            return self.shape
        return self.shape[: self.batch_axis] + self.shape[self.batch_axis + 1 :]


class AxisRange(StrictModel):
    """The sizes that a dynamic axis may have; None: no limit."""

    least: Annotated[int, Field(ge=0)] | None = None
    largest: Annotated[int, Field(ge=0)] | None = None
    multiple_of: Annotated[int, Field(ge=1)] = 1

    def allows(self, size: int) -> bool:
        return (
            (self.least is None or size >= self.least)
            and (self.largest is None or size <= self.largest)
            and size % self.multiple_of == 0
        )

    def __and__(self, other: "AxisRange") -> "AxisRange":
        """The sizes that both ranges allow."""
        least = [limit for limit in (self.least, other.least) if limit is not None]
        largest = [limit for limit in (self.largest, other.largest) if limit is not None]
        return AxisRange(
            least=max(least, default=None),
            largest=min(largest, default=None),
            multiple_of=math.lcm(self.multiple_of, other.multiple_of),
        )

    def __str__(self) -> str:
        parts = []
        if self.least is not None and self.largest is not None:
            parts.append(f"from {self.least} to {self.largest}")
        elif self.largest is not None:
            parts.append(f"up to {self.largest}")
        elif self.least is not None:
            parts.append(f"of {self.least} or more")
        if self.multiple_of > 1:
            parts.append(f"that is a multiple of {self.multiple_of}")
        return ", ".join(parts) or "of any number"


class RowVerdict(StrictModel):
    """Whether the rows of a batch are independent, and why.

    ``proved``: by the analysis of the graph, or by an export that was compared with the PyTorch original. ``mixing``:
    rows influence each other; the reason names the first node that mixes them. ``unknown``: the reason names the first
    node that the analysis does not understand. Only proved rows share a batch.
    """

    verdict: Literal["proved", "mixing", "unknown"]
    reason: str = ""
    """The reason, for people."""


Terms = tuple[float, float, float]
"""(a, b, c): a row of n elements takes a + b n + c n² bytes."""


class RunBytes(StrictModel):
    """The memory that a row takes while it runs: ``fixed`` + ``linear`` n + ``square`` n² bytes.

    n is the number of its elements in all inputs together. Measured on the CPU where the version was made.
    """

    fixed: Annotated[Finite, Field(ge=0)] = 0.0
    linear: Annotated[Finite, Field(ge=0)] = 0.0
    square: Annotated[Finite, Field(ge=0)] = 0.0

    @property
    def terms(self) -> Terms:
        return self.fixed, self.linear, self.square


class Graph(StrictModel):
    """One ONNX file, with the files that hold its external weights."""

    file: FileName
    """The ONNX file."""
    external_data: tuple[FileName, ...] = ()
    """Files that hold the weights."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    axis_ranges: Mapping[str, AxisRange] = {}
    """Sizes of dynamic axes, by name. A request with another size is refused."""
    proved_sizes: Mapping[str, int] = {}
    """Sizes of dynamic axes, by name, at which the rows are known to be independent. Requests of other sizes run
    alone."""
    leading_rows: Annotated[int, Field(ge=0)] | None = None
    """Set by a Triton configuration: the most rows of a request, on the first axis of every tensor; 0: requests send
    whole shapes. None: there is no configuration."""
    max_rows: Annotated[int, Field(ge=1)] | None = None
    """The most rows of a batch, if more would take too much memory, or the original accepts no more. None: as for the
    model. With 1, the rows need not be proved independent, because each is a run of its own."""
    rows: RowVerdict | None = None
    """Whether rows are independent. None in versions that were published before rows were analysed."""
    run_bytes: RunBytes | None = None
    """The memory that a row takes, if rows may have any size. None: the server estimates it from the tensors."""

    @property
    def has_free_sizes(self) -> bool:
        """Whether requests may choose sizes other than the number of rows."""
        return not all(tensor.has_fixed_rows and not tensor.any_shape for tensor in self.inputs)


def fit(points: Sequence[tuple[float, float]]) -> Terms | None:
    """The terms, none of them negative, that fit up to three points (elements, bytes); None without points."""
    if not points:
        return None
    if len(points) == 3 and len({elements for elements, _ in points}) == 3:
        (x0, y0), (x1, y1), (x2, y2) = points
        square = ((y2 - y0) / (x2 - x0) - (y1 - y0) / (x1 - x0)) / (x2 - x1)
        if square > 0:
            linear = (y1 - y0) / (x1 - x0) - square * (x1 + x0)
            return max(0.0, y0 - linear * x0 - square * x0 * x0), max(0.0, linear), square
    elements, size = points[-1]
    before, size_before = points[0]
    linear = (size - size_before) / (elements - before) if elements > before else size / max(1.0, elements)
    return max(0.0, size - linear * elements), max(0.0, linear), 0.0
