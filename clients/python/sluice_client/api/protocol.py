"""Model cards, and what models take and give.

Written by ``make client-types`` from the OpenAPI document: do not edit.
"""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Batching:
    """How the requests of a model share batches."""

    batches: bool
    """Whether requests share batches."""

    max_rows: int
    max_wait_s: float
    rows: str
    """Whether the rows of a batch are independent: proved, mixing or unknown."""

    reason: str
    """How that is known."""

    bits: str
    """How a row's bits depend on the other rows of its batch, on this provider."""

    least_rows: int
    """Smaller batches are filled up to this size."""

    threads_alone: int | None
    """Threads of a batch that runs alone; null: one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineFacts:
    """Fields: steps, outputs, golden, mermaid."""

    steps: dict[str, dict[str, Any]]
    """As they were written."""

    outputs: dict[str, str]
    golden: str
    """What its golden requests have shown."""

    mermaid: str
    """A drawing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """What was measured on held-out data. `bar` holds the least value that each metric had to reach."""

    data: str
    rows: int
    metrics: dict[str, float]
    bar: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorMetadata:
    """Sizes that are not fixed, such as that of the batch, are -1."""

    name: str
    datatype: Literal[
        "BOOL",
        "UINT8",
        "UINT16",
        "UINT32",
        "UINT64",
        "INT8",
        "INT16",
        "INT32",
        "INT64",
        "FP16",
        "FP32",
        "FP64",
        "BF16",
        "BYTES",
    ]
    shape: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A version that is a canary or a shadow."""

    version: str
    percent: float
    """Of the requests that name no version."""

    state: Literal["on trial", "waiting", "returned"]
    reason: str | None = None
    """Why it went back, or does not serve yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trials:
    """The versions that are tried beside the stable one."""

    canary: Trial | None = None
    shadow: Trial | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionState:
    """A version that was loaded, that failed to load, or that cannot be loaded."""

    version: str
    state: Literal["LOADING", "READY", "UNLOADING", "UNAVAILABLE"]
    reason: str | None = None
    """Why it does not serve."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One model. What is not required is there when a version serves, as far as it applies."""

    name: str
    ready: bool
    serving: str | None
    """The version that serves unless another is asked for."""

    on_demand: bool | None = None
    """It is not in memory, and is loaded when asked for; not ready if that is the first time."""

    aliases: dict[str, int]
    versions: list[VersionState]
    reason: str | None = None
    """Why it does not serve."""

    rollout: Trials | None = None
    warnings: list[str] | None = None
    """Where it serves otherwise than the store says, and why."""

    task: str | None = None
    tasks: list[str] | None = None
    """The routes that answer for it."""

    description: str | None = None
    details: dict[str, Any] | None = None
    """What its manifest says of inputs and answers, such as image or table."""

    graphs: list[str] | None = None
    labels: list[str] | None = None
    inputs: list[TensorMetadata] | None = None
    outputs: list[TensorMetadata] | None = None
    quality: Quality | None = None
    parity: dict[str, Any] | None = None
    """How it compares with its original."""

    licence: str | None = None
    provider: str | None = None
    """Of ONNX Runtime."""

    device: str | None = None
    """Cpu, or cuda: and the number of the GPU."""

    golden_error: float | None = None
    """Largest difference from its golden samples."""

    batching: Batching | None = None
    pipeline: PipelineFacts | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cards:
    """Fields: models."""

    models: list[Card]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMetadata:
    """Fields: name, versions, platform, inputs, outputs, rows, rows_reason, bits, writing."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    rows: str
    """Whether the rows of a batch are independent: proved, mixing or unknown."""

    rows_reason: str
    """How that is known, or the node that mixes rows or is unknown."""

    bits: str
    """How a row's bits depend on the other rows of its batch, on this provider."""

    writing: str | None = None
    """Of a model that writes text: what its length costs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineMetadata:
    """A pipeline takes no tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    pipeline: PipelineFacts
