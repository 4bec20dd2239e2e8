"""Triton's model configuration, as what the route of a model's configuration gives: see ``protocol_types.py``."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # that of typing suffices for pydantic from Python 3.12 on

_exact = with_config(ConfigDict(extra="forbid"))

Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=-1)]
Type = Annotated[str, Field(pattern="^TYPE_")]


@_exact
class VersionPolicy(TypedDict):
    """One of the three: what a Triton configuration says, else the version itself."""

    latest: NotRequired[dict[Literal["num_versions"], Count]]
    all: NotRequired[dict[str, Any]]
    specific: NotRequired[dict[Literal["versions"], list[int]]]


@_exact
class TensorConfig(TypedDict):
    """Without the batch. `reshape` is the shape that the graph has, where it is another one."""

    name: str
    optional: NotRequired[bool]
    data_type: Type
    dims: list[Size]
    reshape: NotRequired[dict[Literal["shape"], list[int]]]
    label_filename: NotRequired[str]


@_exact
class InstanceGroup(TypedDict):
    name: str
    kind: Literal["KIND_CPU", "KIND_GPU"]
    count: Annotated[int, Field(ge=1)]


@_exact
class QueuePolicy(TypedDict):
    timeout_action: Literal["REJECT", "DELAY"]
    default_timeout_microseconds: Count
    allow_timeout_override: bool
    max_queue_size: Count


@_exact
class DynamicBatching(TypedDict):
    preferred_batch_size: list[Count]
    max_queue_delay_microseconds: Count
    preserve_ordering: Literal[False]
    priority_levels: Count
    default_priority_level: Count
    default_queue_policy: QueuePolicy
    priority_queue_policy: NotRequired[dict[str, QueuePolicy]]


@_exact
class DirectStrategy(TypedDict):
    max_queue_delay_microseconds: Count
    minimum_slot_utilization: float


@_exact
class OldestStrategy(TypedDict):
    max_candidate_sequences: Count
    preferred_batch_size: list[Count]
    max_queue_delay_microseconds: Count
    preserve_ordering: Literal[False]


@_exact
class Control(TypedDict):
    """Its values of false and true, or the datatype of the id of a sequence."""

    kind: Annotated[str, Field(pattern="^CONTROL_SEQUENCE_(START|END|READY|CORRID)$")]
    int32_false_true: NotRequired[list[int]]
    fp32_false_true: NotRequired[list[float]]
    bool_false_true: NotRequired[list[bool]]
    data_type: NotRequired[Type]


@_exact
class ControlInput(TypedDict):
    name: str
    control: list[Control]


@_exact
class InitialState(TypedDict):
    name: str
    data_type: Type
    dims: list[Count]
    zero_data: NotRequired[Literal[True]]
    data_file: NotRequired[str]


@_exact
class StateConfig(TypedDict):
    input_name: str
    output_name: str
    data_type: Type
    dims: list[Size]
    initial_state: NotRequired[list[InitialState]]


@_exact
class SequenceBatching(TypedDict):
    """Of models that carry state from request to request. Both strategies are served alike: `oldest`."""

    max_sequence_idle_microseconds: Count
    direct: NotRequired[DirectStrategy]
    oldest: NotRequired[OldestStrategy]
    control_input: list[ControlInput]
    state: list[StateConfig]


@_exact
class ModelConfig(TypedDict):
    name: str
    platform: str
    backend: str
    version_policy: VersionPolicy
    max_batch_size: Annotated[int, Field(ge=0, description="0: its tensors have no batch")]
    input: list[TensorConfig]
    output: list[TensorConfig]
    instance_group: list[InstanceGroup]
    default_model_filename: str
    parameters: dict[str, dict[Literal["string_value"], str]]
    dynamic_batching: NotRequired[DynamicBatching]
    sequence_batching: NotRequired[SequenceBatching]
