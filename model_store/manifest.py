"""The manifest: everything that is known of one model version, apart from the weights.

Strict and versioned: an unknown field or schema version is an error, never a guess. Model facts live here, facts of the
machine live in the service's settings.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from model_store.consistency import check
from model_store.datatypes import DATATYPES
from model_store.errors import BadManifest
from model_store.strict_model import Finite, StrictModel
from model_store.tasks import Classes, Forecast, Generation, Image, Loop, Reconstruction, Text

MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"

Task = Literal["classify", "predict_sequence", "reconstruct", "generate", "tensors"]
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
FileName = Annotated[str, StringConstraints(pattern=f"^{FILE_NAME.pattern}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


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


class Rows(StrictModel):
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
    rows: Rows | None = None
    """None in versions that were published before rows were analysed."""


class Batching(StrictModel):
    """What this model wants other than the service's defaults; None leaves the default."""

    max_rows: Annotated[int, Field(ge=1)] | None = None
    max_wait_s: Annotated[float, Field(ge=0)] | None = None


class File(StrictModel):
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]


class Golden(StrictModel):
    """Stored samples: on the provider that serves, outputs must equal these within ``atol + rtol * |expected|``."""

    file: FileName = GOLDEN_FILE
    rows: Annotated[int, Field(ge=1)]
    atol: Annotated[Finite, Field(ge=0)]
    rtol: Annotated[Finite, Field(ge=0)]


class ParityCase(StrictModel):
    """One comparison of the exported graph with its PyTorch original; errors are the worst over all outputs."""

    rows: int
    seed: int
    inputs: str
    """Where the inputs came from: ``random`` or ``samples``."""
    max_abs_error: Finite
    max_rel_error: Finite


class Parity(StrictModel):
    """Within ``atol + rtol * |expected| + scale_tol * the largest magnitude of the output``, for every element."""

    atol: Finite
    rtol: Finite
    scale_tol: Finite = 0.0
    rungs: tuple[ParityCase, ...]


class Quality(StrictModel):
    """Measured on held-out data; ``bar`` holds the least value that was asked for, by metric."""

    data: str
    rows: int
    metrics: Mapping[str, Finite]
    bar: Mapping[str, Finite] = {}


class Statistics(StrictModel):
    """Reference distribution of one tensor, over ``rows`` real samples, for drift."""

    tensor: str
    rows: int
    mean: Finite
    std: Finite
    minimum: Finite
    maximum: Finite
    histogram_edges: tuple[Finite, ...]
    histogram_counts: tuple[int, ...]


class Provenance(StrictModel):
    """Where the version comes from. ``created`` is ISO 8601 in UTC."""

    created: str
    torch: str | None = None
    onnx: str | None = None
    onnxruntime: str | None = None
    exporter: str | None = None
    opset: int | None = None
    git_commit: str | None = None
    data: str | None = None
    seed: int | None = None
    parameters: Mapping[str, str | int | float | bool] = {}


class Manifest(StrictModel):
    """One version of one model. The version number is the name of its folder."""

    schema_version: Literal[1] = 1
    name: ModelName
    task: Task
    description: str = ""
    graphs: Mapping[str, Graph]
    files: Mapping[FileName, File] = {}
    golden: Golden | None = None
    graph_golden: Mapping[str, Golden] = {}
    """Of the graphs other than ``main``."""
    labels: tuple[str, ...] = ()
    output_labels: Mapping[str, tuple[str, ...]] = {}
    """Of the classes that an output of ``main`` scores, where a plain repository names them."""
    classes: Classes | None = None
    image: Image | None = None
    loop: Loop | None = None
    forecast: Forecast | None = None
    text: Text | None = None
    reconstruction: Reconstruction | None = None
    generation: Generation | None = None
    batching: Batching = Batching()
    provenance: Provenance | None = None
    quality: Quality | None = None
    parity: Parity | None = None
    graph_parity: Mapping[str, Parity] = {}
    """Of the graphs other than ``main``."""
    statistics: tuple[Statistics, ...] = ()
    licence: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check(self)
        return self

    @property
    def tasks(self) -> frozenset[str]:
        """The task routes that the version answers: that of its task, and others that it is described for."""
        also = {"reconstruct": self.reconstruction, "generate": self.generation}
        return frozenset({self.task, *(task for task, facts in also.items() if facts is not None)})

    def to_json(self) -> bytes:
        return self.model_dump_json(indent=1, exclude_defaults=False).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes, where: str) -> "Manifest":
        """Read a manifest; raises BadManifest, which names ``where``, the field, what was expected and what came."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise BadManifest(f"{where}: {describe(error)}") from None


def describe(error: ValidationError) -> str:
    """The first complaints of a validation, as ``field: what is wrong (got value)``."""
    lines = []
    for item in error.errors()[:3]:
        field = ".".join(str(part) for part in item["loc"]) or "the whole"
        got: Any = item.get("input")
        shown = f" (got {got!r})" if isinstance(got, str | int | float | bool | None) else ""
        lines.append(f"{field}: {item['msg']}{shown}")
    return "; ".join(lines)
