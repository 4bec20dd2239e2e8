"""A checked ``ModelConfig`` in our own words and units."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, cast

from model_store.triton.checks import BOOLEAN_VALUES, CONTROL_KINDS, DATATYPES
from model_store.triton.config import (
    ControlKind,
    DynamicBatching,
    InitialState,
    QueuePolicy,
    SequenceConfig,
    SequenceControl,
    SequenceState,
    TensorConfig,
    TritonConfig,
    VersionPolicy,
    Warmup,
    WarmupData,
    WarmupInput,
)

_VALUE_DATATYPES = dict(zip(BOOLEAN_VALUES, ("INT32", "FP32", "BOOL"), strict=True))
_WARMUP_DATA: dict[str, WarmupData] = {"zero_data": "zero", "random_data": "random", "input_data_file": "file"}

# Fields by their paths. Those of the first list change only how fast the model answers, or in which order.
_SPEED_ONLY = (
    "instance_group",
    "instance_group.rate_limiter",
    "optimization.graph",
    "optimization.priority",
    "optimization.cuda",
    "optimization.execution_accelerators",
    "optimization.input_pinned_memory",
    "optimization.output_pinned_memory",
    "optimization.gather_kernel_buffer_threshold",
    "optimization.eager_batching",
    "parameters",
    "response_cache.enable",
    "dynamic_batching.preferred_batch_size",
    "dynamic_batching.preserve_ordering",
    "sequence_batching.direct.max_queue_delay_microseconds",
    "sequence_batching.direct.minimum_slot_utilization",
    "sequence_batching.oldest.max_candidate_sequences",
    "sequence_batching.oldest.preferred_batch_size",
    "sequence_batching.oldest.max_queue_delay_microseconds",
    "sequence_batching.oldest.preserve_ordering",
    "sequence_batching.state.use_same_buffer_for_input_output",
    "sequence_batching.state.use_growable_memory",
)
_LEFT_OUT = (
    "runtime",
    "cc_model_filenames",
    "metric_tags",
    "model_operations",
    "model_repository_agents",
    "model_metrics",
)


def translate_head(config: Any, folder: str | None, unknown: str) -> TritonConfig:
    """The name of the model and what runs it, which can be read from any message."""
    return TritonConfig(
        name=config.name or folder or "",
        platform=config.platform,
        backend=config.backend,
        default_model_filename=config.default_model_filename,
        is_ensemble=config.platform == "ensemble" or config.HasField("ensemble_scheduling"),
        ensemble_steps=tuple(step.model_name for step in config.ensemble_scheduling.step),
        unknown=unknown,
    )


def translate(head: TritonConfig, config: Any) -> TritonConfig:
    """The whole of a message in which ``check`` finds no fault."""
    return replace(
        head,
        max_batch_size=config.max_batch_size,
        version_policy=_version_policy(config),
        inputs=tuple(_input(tensor) for tensor in config.input),
        outputs=tuple(_output(tensor) for tensor in config.output),
        batch_tensors=tuple(n for t in (*config.batch_input, *config.batch_output) for n in t.target_name or ("",)),
        sequence=_sequence(config.sequence_batching) if config.HasField("sequence_batching") else None,
        batching=_batching(config.dynamic_batching) if config.HasField("dynamic_batching") else None,
        warmups=tuple(_warmup(warmup) for warmup in config.model_warmup if warmup.batch_size),
        decoupled=config.model_transaction_policy.decoupled,
        response_cache=config.response_cache.enable,
        speed_only=tuple(path for path in _SPEED_ONLY if _is_set(config, path)),
        left_out=tuple(path for path in _LEFT_OUT if _is_set(config, path)),
    )


def _is_set(message: Any, path: str) -> bool:
    """Whether a field is set, in any of the messages that the path leads through."""
    name, _, rest = path.partition(".")
    values = [value for field, value in message.ListFields() if field.name == name]
    if not rest:
        return bool(values)
    return any(_is_set(inner, rest) for value in values for inner in _each(value))


def _each(value: Any) -> Iterator[Any]:
    if hasattr(value, "ListFields"):
        yield value
    else:
        yield from value


def _datatype(number: int) -> str:
    """The name of a datatype; "" if the text has none."""
    if not number:
        return ""
    name = DATATYPES[number].removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def _version_policy(config: Any) -> VersionPolicy:
    if not config.HasField("version_policy"):
        return VersionPolicy()
    policy = config.version_policy
    match policy.WhichOneof("policy_choice"):
        case "latest":
            return VersionPolicy(latest=policy.latest.num_versions or 1)
        case "specific":
            return VersionPolicy(latest=None, specific=tuple(policy.specific.versions))
    return VersionPolicy(latest=None)


def _input(tensor: Any) -> TensorConfig:
    return TensorConfig(
        name=tensor.name,
        datatype=_datatype(tensor.data_type),
        dims=_dims(tensor),
        reshape=_reshape(tensor),
        optional=tensor.optional,
        ragged=tensor.allow_ragged_batch,
        is_shape_tensor=tensor.is_shape_tensor,
        is_non_linear=tensor.is_non_linear_format_io,
    )


def _output(tensor: Any) -> TensorConfig:
    return TensorConfig(
        name=tensor.name,
        datatype=_datatype(tensor.data_type),
        dims=_dims(tensor),
        reshape=_reshape(tensor),
        label_filename=tensor.label_filename,
        is_shape_tensor=tensor.is_shape_tensor,
        is_non_linear=tensor.is_non_linear_format_io,
    )


def _dims(tensor: Any) -> tuple[int, ...] | None:
    """The dims; None, for those of the graph, if there are none and no reshape."""
    return tuple(tensor.dims) if tensor.dims or tensor.HasField("reshape") else None


def _reshape(tensor: Any) -> tuple[int, ...] | None:
    return tuple(tensor.reshape.shape) if tensor.HasField("reshape") else None


def _seconds(microseconds: int) -> float:
    return microseconds / 1e6


def _batching(batching: Any) -> DynamicBatching:
    return DynamicBatching(
        max_delay_s=_seconds(batching.max_queue_delay_microseconds),
        preferred_rows=tuple(batching.preferred_batch_size),
        keeps_order=batching.preserve_ordering,
        priority_levels=batching.priority_levels,
        default_priority=batching.default_priority_level,
        queue=_queue(batching.default_queue_policy),
        queue_of_priority={level: _queue(policy) for level, policy in sorted(batching.priority_queue_policy.items())},
    )


def _queue(policy: Any) -> QueuePolicy:
    return QueuePolicy(
        timeout_s=_seconds(policy.default_timeout_microseconds) or None,
        on_timeout="delay" if policy.timeout_action == 1 else "reject",
        allow_override=policy.allow_timeout_override,
        max_requests=policy.max_queue_size or None,
    )


def _sequence(sequence: Any) -> SequenceConfig:
    strategy: Literal["direct", "oldest"] = "oldest" if sequence.HasField("oldest") else "direct"
    return SequenceConfig(
        strategy=strategy,
        idle_s=_seconds(sequence.max_sequence_idle_microseconds) or 1.0,
        controls=tuple(_control(given.name, control) for given in sequence.control_input for control in given.control),
        states=tuple(_state(state) for state in sequence.state),
        is_iterative=sequence.iterative_sequence,
    )


def _control(name: str, control: Any) -> SequenceControl:
    kind = cast(ControlKind, CONTROL_KINDS[control.kind].removeprefix("CONTROL_SEQUENCE_"))
    for field, datatype in _VALUE_DATATYPES.items():
        if values := getattr(control, field):
            return SequenceControl(name, kind, datatype, values[0], values[1])
    return SequenceControl(name, kind, _datatype(control.data_type))


def _state(state: Any) -> SequenceState:
    initial = state.initial_state[0] if state.initial_state else None
    return SequenceState(
        input_name=state.input_name,
        output_name=state.output_name,
        datatype=_datatype(state.data_type),
        dims=tuple(state.dims),
        initial=initial and InitialState(initial.name, tuple(initial.dims), initial.data_file),
    )


def _warmup(warmup: Any) -> Warmup:
    return Warmup(
        name=warmup.name,
        batch_size=warmup.batch_size,
        count=warmup.count or 1,
        inputs={name: _warmup_input(given) for name, given in sorted(warmup.inputs.items())},
    )


def _warmup_input(given: Any) -> WarmupInput:
    return WarmupInput(
        datatype=_datatype(given.data_type),
        dims=tuple(given.dims),
        data=_WARMUP_DATA[given.WhichOneof("input_data_type")],
        data_file=given.input_data_file,
    )
