"""Triton's model configuration: what `/v2/models/{model}/config` answers with, as types for the OpenAPI document."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field

from service.api.openapi.protocol_types import Count, Exact

Size = Annotated[int, Field(ge=-1)]
Type = Annotated[str, Field(pattern="^TYPE_")]


class VersionPolicy(Exact):
    """One of the three fields: that of the Triton configuration, else `specific` with the version itself."""

    latest: NotRequired[dict[Literal["num_versions"], Count]]
    all: NotRequired[dict[str, Any]]
    specific: NotRequired[dict[Literal["versions"], list[int]]]


class TensorConfig(Exact):
    """Without the batch axis. `reshape` is there where the graph has another shape than `dims`."""

    name: str
    optional: NotRequired[bool]
    data_type: Type
    dims: list[Size]
    reshape: NotRequired[dict[Literal["shape"], list[int]]]
    label_filename: NotRequired[str]


class InstanceGroup(Exact):
    name: str
    kind: Literal["KIND_CPU", "KIND_GPU"]
    count: Annotated[int, Field(ge=1)]


class QueuePolicy(Exact):
    timeout_action: Literal["REJECT", "DELAY"]
    default_timeout_microseconds: Count
    allow_timeout_override: bool
    max_queue_size: Count


class DynamicBatching(Exact):
    preferred_batch_size: list[Count]
    max_queue_delay_microseconds: Count
    preserve_ordering: Literal[False]
    priority_levels: Count
    default_priority_level: Count
    default_queue_policy: QueuePolicy
    priority_queue_policy: NotRequired[dict[str, QueuePolicy]]


class DirectStrategy(Exact):
    max_queue_delay_microseconds: Count
    minimum_slot_utilization: float


class OldestStrategy(Exact):
    max_candidate_sequences: Count
    preferred_batch_size: list[Count]
    max_queue_delay_microseconds: Count
    preserve_ordering: Literal[False]


class Control(Exact):
    """Its values of false and true; for CORRID, the datatype of the sequence's id."""

    kind: Annotated[str, Field(pattern="^CONTROL_SEQUENCE_(START|END|READY|CORRID)$")]
    int32_false_true: NotRequired[list[int]]
    fp32_false_true: NotRequired[list[float]]
    bool_false_true: NotRequired[list[bool]]
    data_type: NotRequired[Type]


class ControlInput(Exact):
    name: str
    control: list[Control]


class InitialState(Exact):
    name: str
    data_type: Type
    dims: list[Count]
    zero_data: NotRequired[Literal[True]]
    data_file: NotRequired[str]


class StateConfig(Exact):
    input_name: str
    output_name: str
    data_type: Type
    dims: list[Size]
    initial_state: NotRequired[list[InitialState]]


class SequenceBatching(Exact):
    """Of models that carry state from request to request. Both strategies are served as `oldest`."""

    max_sequence_idle_microseconds: Count
    direct: NotRequired[DirectStrategy]
    oldest: NotRequired[OldestStrategy]
    control_input: list[ControlInput]
    state: list[StateConfig]


class ModelConfig(Exact):
    name: str
    platform: str
    backend: str
    version_policy: VersionPolicy
    max_batch_size: Annotated[int, Field(ge=0, description="0: the tensors have no batch axis")]
    input: list[TensorConfig]
    output: list[TensorConfig]
    instance_group: list[InstanceGroup]
    default_model_filename: str
    parameters: dict[str, dict[Literal["string_value"], str]]
    dynamic_batching: NotRequired[DynamicBatching]
    sequence_batching: NotRequired[SequenceBatching]
