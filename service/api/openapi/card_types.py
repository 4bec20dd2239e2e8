"""The types of the answer to ``GET /models``, for the OpenAPI document. Tests check a server's cards against them."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field

from service.api.openapi.protocol_types import Exact, PipelineFacts, TensorMetadata, exact


class VersionState(Exact):
    """A version that was loaded, that failed to load, or that cannot be loaded."""

    version: str
    state: Literal["LOADING", "READY", "UNLOADING", "UNAVAILABLE"]
    reason: NotRequired[Annotated[str, Field(description="why it does not serve")]]


class Quality(Exact):
    """What was measured on held-out data. `bar` holds the least value that each metric had to reach."""

    data: str
    rows: int
    metrics: dict[str, float]
    bar: dict[str, float]


class Batching(Exact):
    """How the requests of a model share batches."""

    batches: Annotated[bool, Field(description="whether requests share batches")]
    max_rows: int
    max_wait_s: float
    rows: Annotated[str, Field(description="whether the rows of a batch are independent: proved, mixing or unknown")]
    reason: Annotated[str, Field(description="how that is known")]
    bits: Annotated[str, Field(description="how a row's bits depend on the other rows of its batch, on this provider")]
    least_rows: Annotated[int, Field(description="smaller batches are filled up to this size")]
    threads_alone: Annotated[int | None, Field(description="threads of a batch that runs alone; null: one")]


class Trial(Exact):
    """A version that is a canary or a shadow."""

    version: str
    percent: Annotated[float, Field(description="of the requests that name no version")]
    state: Literal["on trial", "waiting", "returned"]
    reason: NotRequired[Annotated[str, Field(description="why it went back, or does not serve yet")]]


class Trials(Exact):
    """The versions that are tried beside the stable one."""

    canary: NotRequired[Trial]
    shadow: NotRequired[Trial]


class Compared(Exact):
    """Answers whose rows the other version ran too, by what came of it, since the server started."""

    same: int
    differs: int
    failed: Annotated[int, Field(description="it does not take the rows, or failed on them")]
    dropped: Annotated[int, Field(description="not compared: other requests needed the device or the memory")]


class RolloutLimits(Exact):
    """How much worse than the stable version a canary may be."""

    errors: Annotated[float, Field(description="how much larger the part of its requests that fail may be")]
    p99_ratio: Annotated[float, Field(description="how many times as long the slowest hundredth may take")]
    p99_extra_s: Annotated[float, Field(description="seconds that it may take longer in any case")]
    disagreement: Annotated[float, Field(description="part of its answers that may differ; 1: any")]
    confidence: Annotated[float, Field(description="how sure the server must be before it goes back")]


class CanaryState(Trial):
    """A canary, and what all workers have noted of it and of the stable version beside it."""

    header: Annotated[str | None, Field(description="the header that chooses; null: chance")]
    begun: str
    limits: RolloutLimits
    requests: int
    failed: int
    stable_requests: int
    stable_failed: int
    compared: Compared


class ShadowState(Trial):
    """A shadow, and what came of its copies."""

    begun: str
    compared: Compared


class RolloutState(Exact):
    """What is on trial of a model."""

    name: str
    stable: Annotated[str | None, Field(description="the version that serves unless another is asked for")]
    canary: CanaryState | None
    shadow: ShadowState | None


class Card(Exact):
    """One model. What is not required is there when a version serves, as far as it applies."""

    name: str
    ready: bool
    serving: Annotated[str | None, Field(description="the version that serves unless another is asked for")]
    on_demand: NotRequired[
        Annotated[
            bool,
            Field(description="it is not in memory, and is loaded when asked for; not ready if that is the first time"),
        ]
    ]
    aliases: dict[str, int]
    versions: list[VersionState]
    reason: NotRequired[Annotated[str, Field(description="why it does not serve")]]
    rollout: NotRequired[Trials]
    warnings: NotRequired[
        Annotated[list[str], Field(description="where it serves otherwise than the store says, and why")]
    ]
    task: NotRequired[str]
    tasks: NotRequired[Annotated[list[str], Field(description="the routes that answer for it")]]
    description: NotRequired[str]
    details: NotRequired[
        Annotated[
            dict[str, Any], Field(description="what its manifest says of inputs and answers, such as image or table")
        ]
    ]
    graphs: NotRequired[list[str]]
    labels: NotRequired[list[str]]
    inputs: NotRequired[list[TensorMetadata]]
    outputs: NotRequired[list[TensorMetadata]]
    quality: NotRequired[Quality | None]
    parity: NotRequired[Annotated[dict[str, Any] | None, Field(description="how it compares with its original")]]
    licence: NotRequired[str | None]
    provider: NotRequired[Annotated[str, Field(description="of ONNX Runtime")]]
    device: NotRequired[Annotated[str, Field(description="cpu, or cuda: and the number of the GPU")]]
    golden_error: NotRequired[Annotated[float | None, Field(description="largest difference from its golden samples")]]
    batching: NotRequired[Batching]
    pipeline: NotRequired[PipelineFacts]


Cards = exact("Cards", models=list[Card])
