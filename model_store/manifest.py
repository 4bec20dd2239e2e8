"""The manifest: everything that is known about one version, except the weights.

It is strict and versioned: an unknown field is an error; an older schema is read, a newer one is refused
(``schema.py``). Facts about the model are here; facts about the machine are in the settings of the service.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from model_store.checks.manifest import check
from model_store.checks.pipeline import check_pipeline
from model_store.errors import BadManifest, escape
from model_store.graph import MAIN, FileName, Graph
from model_store.schema import tell_writer, upgrade
from model_store.strict_model import Finite, StrictModel
from model_store.tasks import (
    Classes,
    Detection,
    Embedding,
    Forecast,
    Generation,
    Image,
    Loop,
    Pipeline,
    Reading,
    Reconstruction,
    Regression,
    Segmentation,
    Sound,
    Table,
    Tags,
    Text,
    Tokens,
    Writing,
)

MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"

Task = Literal[
    "classify",
    "detect",
    "segment",
    "embed",
    "regress",
    "predict_sequence",
    "reconstruct",
    "generate",
    "pipeline",
    "tensors",
]
_NAME = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
ModelName = Annotated[str, StringConstraints(pattern=_NAME, max_length=100)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Batching(StrictModel):
    """The batching that this model needs; None: the service's default."""

    max_rows: Annotated[int, Field(ge=1)] | None = None
    """The most rows of a batch."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The most tokens of a batch of texts, with padding. None: those of the batch that was measured as efficient."""
    max_wait_s: Annotated[float, Field(ge=0)] | None = None
    """How long rows wait for others while the device is idle."""


class File(StrictModel):
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]


class Golden(StrictModel):
    """Stored samples. On the provider that serves, outputs must equal these within ``atol + rtol * |expected|``."""

    file: FileName = GOLDEN_FILE
    """A file of NumPy's .npz format with arrays ``in.NAME`` and ``out.NAME``."""
    rows: Annotated[int, Field(ge=1)]
    atol: Annotated[Finite, Field(ge=0)]
    rtol: Annotated[Finite, Field(ge=0)]


class ParityCase(StrictModel):
    """One comparison of the exported graph with its PyTorch original. Errors are the worst over all outputs."""

    rows: int
    seed: int
    inputs: str
    """The origin of the inputs, ``random`` or ``samples``, and how they were changed."""
    max_abs_error: Finite
    max_rel_error: Finite
    """Relative to the largest magnitude of the output."""


class Parity(StrictModel):
    """The comparison of a graph with its original.

    Every element is within ``atol + rtol * |expected| + scale_tol * the largest magnitude of the output``, plus what
    rounding alone does to the original.
    """

    atol: Finite
    rtol: Finite
    scale_tol: Finite = 0.0
    rungs: tuple[ParityCase, ...]
    """The comparisons, over batch sizes, lengths and seeds, and with the samples."""
    stretched: tuple[ParityCase, ...] = ()
    """Comparisons on inputs beyond the samples for which the original gives finite numbers."""


class Quality(StrictModel):
    """What was measured on held-out data. ``bar`` holds the least value that each metric had to reach."""

    data: str
    """The data on which it was measured."""
    rows: int
    """The number of rows on which it was measured."""
    metrics: Mapping[str, Finite]
    bar: Mapping[str, Finite] = {}


class Statistics(StrictModel):
    """The reference distribution of one tensor over ``rows`` real samples, for detecting drift."""

    tensor: str
    rows: int
    mean: Finite
    std: Finite
    minimum: Finite
    maximum: Finite
    histogram_edges: tuple[Finite, ...]
    histogram_counts: tuple[int, ...]


class Provenance(StrictModel):
    """The origin of the version. ``created`` is ISO 8601 in UTC."""

    created: str
    torch: str | None = None
    onnx: str | None = None
    onnxruntime: str | None = None
    exporter: str | None = None
    """The exporter of the graphs, and why it was chosen if it was not the first choice."""
    opset: int | None = None
    git_commit: str | None = None
    """The commit of the folder from which it was exported, with ``-dirty`` if files had changed."""
    data: str | None = None
    """The training data."""
    seed: int | None = None
    """The seed of the training."""
    parameters: Mapping[str, str | int | float | bool] = {}
    """Parameters of the training, as its author names them. A version of lower precision also has ``precision`` and
    ``fp32_version``."""


class Manifest(StrictModel):
    """One version of one model. The name of its folder is the version number."""

    schema_version: Literal[2] = 2
    """The form of the manifest itself. Older ones are read for ever."""
    sluice: Annotated[str, StringConstraints(max_length=40)] = ""
    """The release of Sluice that wrote it. An older one that cannot read it names the release."""
    name: ModelName
    """The name of the model's folder."""
    task: Task
    """The task route that the model answers, or ``tensors``."""
    description: str = ""
    """A description for people."""
    graphs: Mapping[str, Graph] = {}
    """The graphs by name. ``main`` is always present, except in a pipeline, which has no graphs."""
    files: Mapping[FileName, File] = {}
    """Digest and size of every file except the manifest."""
    golden: Golden | None = None
    """Golden samples of ``main``."""
    graph_golden: Mapping[str, Golden] = {}
    """Golden samples of the other graphs."""
    labels: tuple[str, ...] = ()
    """The names of the classes, in order."""
    output_labels: Mapping[str, tuple[str, ...]] = {}
    """The class names of an output of ``main``, if a plain repository gives them."""
    classes: Classes | None = None
    """The outputs that hold the scores of the labels."""
    image: Image | None = None
    """How a picture becomes a row."""
    table: Table | None = None
    """How named columns become a row."""
    tokens: Tokens | None = None
    """How a text becomes a row of token ids."""
    sound: Sound | None = None
    """How a sound becomes a row."""
    detection: Detection | None = None
    """How boxes are read from the outputs."""
    segmentation: Segmentation | None = None
    """The output with a label for each pixel."""
    embedding: Embedding | None = None
    """The output that is a vector."""
    regression: Regression | None = None
    """The output with numbers."""
    loop: Loop | None = None
    """How ``main`` runs step by step."""
    forecast: Forecast | None = None
    """How a series is forecast."""
    text: Text | None = None
    """How a text is translated."""
    tags: Tags | None = None
    """The output with a label for each token."""
    writing: Writing | None = None
    """How the loop writes text, token by token."""
    reading: Reading | None = None
    """How a text is read from a picture or a sound."""
    reconstruction: Reconstruction | None = None
    """The output that is the reconstruction, its error and its anomalies."""
    generation: Generation | None = None
    """How rows are generated from noise."""
    pipeline: Pipeline | None = None
    """The steps of a pipeline, in place of graphs."""
    batching: Batching = Batching()
    """The batching that the model needs, if not the server's defaults."""
    provenance: Provenance | None = None
    """The origin of the version."""
    quality: Quality | None = None
    """What was measured on held-out data."""
    parity: Parity | None = None
    """How ``main`` was compared with its original. None if there was none."""
    graph_parity: Mapping[str, Parity] = {}
    """The same for the other graphs."""
    statistics: tuple[Statistics, ...] = ()
    """Statistics of inputs and outputs over real samples."""
    licence: str | None = None
    """The licence of the weights."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.task == "pipeline" or self.pipeline is not None:
            self._check_pipeline()
        else:
            check(self)
        return self

    def _check_pipeline(self) -> None:
        if self.task != "pipeline" or self.pipeline is None:
            raise ValueError(f"pipeline: expected it with the task pipeline, and only there, got the task {self.task}")
        if self.graphs:
            raise ValueError(f"graphs: expected none, because a pipeline has steps, got {', '.join(self.graphs)}")
        check_pipeline(self.pipeline)

    @property
    def tasks(self) -> frozenset[str]:
        """The task routes that the version answers: its own task, and others that its description supports."""
        also = {
            "classify": self.labels and self.classes,
            "detect": self.detection,
            "segment": self.segmentation,
            "embed": self.embedding,
            "regress": self.regression,
            "reconstruct": self.reconstruction,
            "generate": self.generation,
        }
        return frozenset({self.task, *(task for task, facts in also.items() if facts)})

    def golden_of(self, graph: str) -> Golden | None:
        """The golden samples of a graph."""
        return self.golden if graph == MAIN else self.graph_golden.get(graph)

    def parity_of(self, graph: str) -> Parity | None:
        """How a graph was compared with its original; None if there was none."""
        return self.parity if graph == MAIN else self.graph_parity.get(graph)

    @property
    def tokenizer_files(self) -> frozenset[str]:
        """The files with tokenizers, in the format of the library ``tokenizers``."""
        named = (self.tokens and self.tokens.file, self.writing and self.writing.file)
        return frozenset(name for name in named if name)

    @property
    def further_files(self) -> frozenset[str]:
        """Files of the version other than graphs, weights and golden samples: tokenizers, symbols, golden requests."""
        symbols = self.reading and self.reading.file
        golden = self.pipeline.golden if self.pipeline else ()
        named = (symbols, *(file for one in golden for file in (one.request, one.answer)))
        return self.tokenizer_files.union(name for name in named if name)

    def to_json(self) -> bytes:
        return self.model_dump_json(indent=1, exclude_defaults=False).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes, where: str) -> "Manifest":
        """Read a manifest of any schema so far. Raises BadManifest, which names ``where``, the field, what was expected
        and what came."""
        try:
            return cls.model_validate_json(upgrade(text, where))
        except ValidationError as error:
            unknown = any(item["type"] == "extra_forbidden" for item in error.errors())
            raise BadManifest(f"{where}: {describe(error)}{tell_writer(text) if unknown else ''}") from None


def describe(error: ValidationError) -> str:
    """The first errors of a validation, as ``field: what is wrong (got value)``."""
    lines = []
    for item in error.errors()[:3]:
        field = ".".join(str(part) for part in item["loc"]) or "the whole"
        got: Any = item.get("input")
        shown = f" (got {got!r:.120})" if isinstance(got, str | int | float | bool | None) else ""
        lines.append(f"{field:.120}: {reword(item['msg'])}{shown}")
    return escape("; ".join(lines))  # the names of fields come from the file


_REWORDED = (
    ("Value error, ", ""),
    ("Input should be ", "expected "),
    ("Extra inputs are not permitted", "unknown field"),
    ("Field required", "expected a value, got none"),
    (
        f"String should match pattern '{_NAME}'",
        "expected letters, digits, '.', '_' and '-', the first a letter or digit",
    ),
    ("String should match pattern", "expected a text that matches"),
    ("expected a valid tuple", "expected a list"),
)
_OBJECT = re.compile(r"expected a valid dictionary(?: or instance of \w+)?")
_COUNTS = re.compile(r"\b\w+ should have at (least|most) (\d+) (items?|characters?)(?: after validation, not (\d+))?")


def reword(message: str) -> str:
    """A message of pydantic, in the words of our other errors."""
    for theirs, ours in _REWORDED:
        message = message.replace(theirs, ours)
    return _COUNTS.sub(_reword_count, _OBJECT.sub("expected an object", message))


def _reword_count(found: re.Match[str]) -> str:
    limit, count, things, got = found.groups()
    return f"expected at {limit} {count} {things}" + (f", got {got}" if got is not None else "")
