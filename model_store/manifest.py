"""The manifest: everything that is known of one model version, apart from the weights.

Strict and versioned: an unknown field or schema version is an error, never a guess. Model facts live here, facts of the
machine live in the service's settings.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from model_store.consistency import check
from model_store.errors import BadManifest
from model_store.graph import FileName, Graph
from model_store.strict_model import Finite, StrictModel
from model_store.tasks import Classes, Forecast, Generation, Image, Loop, Reconstruction, Text

MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"

Task = Literal["classify", "predict_sequence", "reconstruct", "generate", "tensors"]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Batching(StrictModel):
    """What this model wants other than the service's defaults; None leaves the default."""

    max_rows: Annotated[int, Field(ge=1)] | None = None
    """Of a batch."""
    max_wait_s: Annotated[float, Field(ge=0)] | None = None
    """For how long rows wait for others while the device is idle."""


class File(StrictModel):
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]


class Golden(StrictModel):
    """Stored samples: on the provider that serves, outputs must equal these within ``atol + rtol * |expected|``."""

    file: FileName = GOLDEN_FILE
    """NumPy's .npz: ``in.NAME`` and ``out.NAME``."""
    rows: Annotated[int, Field(ge=1)]
    atol: Annotated[Finite, Field(ge=0)]
    rtol: Annotated[Finite, Field(ge=0)]


class ParityCase(StrictModel):
    """One comparison of the exported graph with its PyTorch original; errors are the worst over all outputs."""

    rows: int
    seed: int
    inputs: str
    """Where the inputs came from: ``random`` or ``samples``, and what was done with them."""
    max_abs_error: Finite
    max_rel_error: Finite
    """By the largest magnitude of the output."""


class Parity(StrictModel):
    """Within ``atol + rtol * |expected| + scale_tol * the largest magnitude of the output``, for every element; what is
    beyond is what rounding alone does to the original."""

    atol: Finite
    rtol: Finite
    scale_tol: Finite = 0.0
    rungs: tuple[ParityCase, ...]
    """The comparisons: over batch sizes, lengths and seeds, and with the samples."""
    stretched: tuple[ParityCase, ...] = ()
    """Of inputs beyond those that the model is made for, where the original gives finite numbers for them."""


class Quality(StrictModel):
    """Measured on held-out data; ``bar`` holds the least value that was asked for, by metric."""

    data: str
    """On what it was measured."""
    rows: int
    """On how many rows."""
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
    """What made the graphs, and why where it was not the first choice."""
    opset: int | None = None
    git_commit: str | None = None
    """Of the folder in which it was exported, with ``-dirty`` if files differed."""
    data: str | None = None
    """What it was trained on."""
    seed: int | None = None
    """Of the training."""
    parameters: Mapping[str, str | int | float | bool] = {}
    """Of the training, as its author names them; ``precision`` and ``fp32_version`` in a version of lower precision."""


class Manifest(StrictModel):
    """One version of one model. The version number is the name of its folder."""

    schema_version: Literal[1] = 1
    name: ModelName
    """That of its folder."""
    task: Task
    """The route that answers for it, or ``tensors``."""
    description: str = ""
    """For people."""
    graphs: Mapping[str, Graph]
    """By name; ``main`` is there always."""
    files: Mapping[FileName, File] = {}
    """Digest and size of every file but the manifest."""
    golden: Golden | None = None
    """Of ``main``."""
    graph_golden: Mapping[str, Golden] = {}
    """Of the graphs other than ``main``."""
    labels: tuple[str, ...] = ()
    """Of the classes, in their order."""
    output_labels: Mapping[str, tuple[str, ...]] = {}
    """Of the classes that an output of ``main`` scores, where a plain repository names them."""
    classes: Classes | None = None
    """Which outputs hold the scores of the labels."""
    image: Image | None = None
    """How a picture becomes a row."""
    loop: Loop | None = None
    """How ``main`` is run step by step."""
    forecast: Forecast | None = None
    """How a series is continued."""
    text: Text | None = None
    """How a text is translated."""
    reconstruction: Reconstruction | None = None
    """What of the graph is the row anew."""
    generation: Generation | None = None
    """How rows are made from noise."""
    batching: Batching = Batching()
    """What it wants other than the server's defaults."""
    provenance: Provenance | None = None
    """Where it comes from."""
    quality: Quality | None = None
    """What was measured on held-out data."""
    parity: Parity | None = None
    """What ``main`` was compared by; None where there was no original."""
    graph_parity: Mapping[str, Parity] = {}
    """Of the graphs other than ``main``."""
    statistics: tuple[Statistics, ...] = ()
    """Of inputs and outputs over real samples."""
    licence: str | None = None
    """Of the weights."""

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
        shown = f" (got {got!r:.120})" if isinstance(got, str | int | float | bool | None) else ""
        lines.append(f"{field:.120}: {_say(item['msg'])}{shown}")
    return "; ".join(lines)


_SAID = (("Value error, ", ""), ("Input should be ", "expected "), ("Extra inputs are not permitted", "unknown field"))


def _say(message: str) -> str:
    """A complaint of pydantic in the words of all other errors."""
    for theirs, ours in _SAID:
        message = message.replace(theirs, ours)
    return message
