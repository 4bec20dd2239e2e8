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
    """Where the inputs came from: ``random`` or ``samples``, and what was done with them."""
    max_abs_error: Finite
    max_rel_error: Finite


class Parity(StrictModel):
    """Within ``atol + rtol * |expected| + scale_tol * the largest magnitude of the output``, for every element; what is
    beyond is what rounding alone does to the original."""

    atol: Finite
    rtol: Finite
    scale_tol: Finite = 0.0
    rungs: tuple[ParityCase, ...]
    stretched: tuple[ParityCase, ...] = ()
    """Of inputs beyond those that the model is made for, where the original gives finite numbers for them."""


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
