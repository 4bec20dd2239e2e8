"""A graph of a model version, as its manifest describes it: its files, inputs, outputs and rows."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from model_store.datatypes import DATATYPES
from model_store.strict_model import StrictModel

MAIN = "main"
"""The graph that every version has."""
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
FileName = Annotated[str, StringConstraints(pattern=f"^{FILE_NAME.pattern}$")]


class Tensor(StrictModel):
    """One input or output of a graph.

    ``shape`` includes the batch axis; a number is a fixed size, a text names a dynamic axis. ``batch_axis`` is None for
    a tensor that is the same for every row of a batch, and in a graph whose requests run one by one.
    """

    name: str
    datatype: str
    shape: tuple[int | str, ...]
    batch_axis: int | None = None
    finite: bool = False
    """True: NaN and infinities in this input are refused before they reach the model."""
    least: int | None = None
    largest: int | None = None
    """Integers outside of these are refused before they reach the model, such as an index into a table."""
    optional: bool = False
    """True: an input that a request may leave out, for the graph has a value of its own for it."""
    any_shape: bool = False
    """True: the graph declares no rank, so any shape is taken and ``shape`` is empty."""
    internal: bool = False
    """True: the server fills or keeps it for a sequence, and callers neither send nor see it."""

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
        """Whether every size of a row is known."""
        return all(isinstance(size, int) for size in self.row_shape)

    @property
    def row_shape(self) -> tuple[int | str, ...]:
        """The shape of one row: without the batch axis."""
        if self.batch_axis is None:
            return self.shape
        return self.shape[: self.batch_axis] + self.shape[self.batch_axis + 1 :]


class AxisRange(StrictModel):
    """The sizes that a dynamic axis may have; None where there is no limit."""

    least: Annotated[int, Field(ge=0)] | None = None
    largest: Annotated[int, Field(ge=0)] | None = None

    def allows(self, size: int) -> bool:
        return (self.least is None or size >= self.least) and (self.largest is None or size <= self.largest)


class RowVerdict(StrictModel):
    """Whether the rows of a batch are independent, and how that is known.

    ``proved``: by the graph itself, or by an export against the PyTorch original. ``mixing``: rows influence each
    other; the reason names the first node at which they do. ``unknown``: the reason names the first node that is not
    understood. Only proved rows share a batch.
    """

    verdict: Literal["proved", "mixing", "unknown"]
    reason: str = ""


class Graph(StrictModel):
    """One ONNX file, with the files that hold its external weights."""

    file: FileName
    external_data: tuple[FileName, ...] = ()
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    axis_ranges: Mapping[str, AxisRange] = {}
    """Of dynamic axes, by name: a request outside of them is refused."""
    proved_sizes: Mapping[str, int] = {}
    """Of dynamic axes, by name: rows are known to be independent at these sizes only; others run alone."""
    leading_rows: Annotated[int, Field(ge=0)] | None = None
    """By the model's configuration: the first axis of every tensor has up to so many rows of one request; 0: shapes of
    requests are whole. None where no configuration says."""
    rows: RowVerdict | None = None
    """None in versions that were published before rows were analysed."""

    @property
    def has_free_sizes(self) -> bool:
        """Whether requests may choose more than the number of rows."""
        return not all(tensor.has_fixed_rows and not tensor.any_shape for tensor in self.inputs)
