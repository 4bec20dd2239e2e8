"""The messages of a Triton configuration, for reading its text form.

They are built from the two tables below, in a pool of their own: generated code is bound to versions of protobuf, and
would register its names where those of any Triton client in the same process are. The tables hold every field of
Triton's public ``ModelConfig``, those that this server has no use for too: the parser of the text form can skip an
unknown field, but not a list of unknown messages.

A text gives fields by their names, so that their numbers are ours. It may give the values of an enum by number, so that
these are Triton's: the first name is 0, the next 1.
"""

from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

ENUMS = {
    "DataType": "TYPE_INVALID TYPE_BOOL TYPE_UINT8 TYPE_UINT16 TYPE_UINT32 TYPE_UINT64 TYPE_INT8 TYPE_INT16 TYPE_INT32"
    " TYPE_INT64 TYPE_FP16 TYPE_FP32 TYPE_FP64 TYPE_STRING TYPE_BF16",
    "Kind": "KIND_AUTO KIND_GPU KIND_CPU KIND_MODEL",
    "SecondaryDeviceKind": "KIND_NVDLA",
    "Format": "FORMAT_NONE FORMAT_NHWC FORMAT_NCHW",
    "BatchInputKind": "BATCH_ELEMENT_COUNT BATCH_ACCUMULATED_ELEMENT_COUNT BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO"
    " BATCH_MAX_ELEMENT_COUNT_AS_SHAPE BATCH_ITEM_SHAPE BATCH_ITEM_SHAPE_FLATTEN",
    "BatchOutputKind": "BATCH_SCATTER_WITH_INPUT_SHAPE",
    "ModelPriority": "PRIORITY_DEFAULT PRIORITY_MAX PRIORITY_MIN",
    "TimeoutAction": "REJECT DELAY",
    "ControlKind": "CONTROL_SEQUENCE_START CONTROL_SEQUENCE_READY CONTROL_SEQUENCE_END CONTROL_SEQUENCE_CORRID",
}
"""The names of each enum's values."""

MESSAGES = {
    "ModelConfig": "name string, platform string, backend string, runtime string, version_policy ModelVersionPolicy,"
    " max_batch_size int32, input ModelInput*, output ModelOutput*, batch_input BatchInput*,"
    " batch_output BatchOutput*, optimization ModelOptimizationPolicy,"
    " dynamic_batching scheduling|ModelDynamicBatching, sequence_batching scheduling|ModelSequenceBatching,"
    " ensemble_scheduling scheduling|ModelEnsembling,"
    " instance_group ModelInstanceGroup*, default_model_filename string, cc_model_filenames string>string,"
    " metric_tags string>string, parameters string>ModelParameter, model_warmup ModelWarmup*,"
    " model_operations ModelOperations, model_transaction_policy ModelTransactionPolicy,"
    " model_repository_agents ModelRepositoryAgents, response_cache ModelResponseCache, model_metrics ModelMetrics",
    # Tensors
    "ModelInput": "name string, data_type DataType, format Format, dims int64*, reshape ModelTensorReshape,"
    " is_shape_tensor bool, allow_ragged_batch bool, optional bool, is_non_linear_format_io bool",
    "ModelOutput": "name string, data_type DataType, dims int64*, reshape ModelTensorReshape, label_filename string,"
    " is_shape_tensor bool, is_non_linear_format_io bool",
    "ModelTensorReshape": "shape int64*",
    "BatchInput": "kind BatchInputKind, target_name string*, data_type DataType, source_input string*",
    "BatchOutput": "target_name string*, kind BatchOutputKind, source_input string*",
    # Versions
    "ModelVersionPolicy": "latest policy|Latest, all policy|All, specific policy|Specific",
    "Latest": "num_versions uint32",
    "All": "",
    "Specific": "versions int64*",
    # Batches
    "ModelDynamicBatching": "preferred_batch_size int32*, max_queue_delay_microseconds uint64, preserve_ordering bool,"
    " priority_levels uint64, default_priority_level uint64, default_queue_policy ModelQueuePolicy,"
    " priority_queue_policy uint64>ModelQueuePolicy",
    "ModelQueuePolicy": "timeout_action TimeoutAction, default_timeout_microseconds uint64,"
    " allow_timeout_override bool, max_queue_size uint32",
    # Sequences
    "ModelSequenceBatching": "direct strategy|StrategyDirect, oldest strategy|StrategyOldest,"
    " max_sequence_idle_microseconds uint64, control_input ControlInput*, state State*, iterative_sequence bool",
    "StrategyDirect": "max_queue_delay_microseconds uint64, minimum_slot_utilization float",
    "StrategyOldest": "max_candidate_sequences int32, preferred_batch_size int32*,"
    " max_queue_delay_microseconds uint64, preserve_ordering bool",
    "ControlInput": "name string, control Control*",
    "Control": "kind ControlKind, int32_false_true int32*, fp32_false_true float*, bool_false_true bool*,"
    " data_type DataType",
    "State": "input_name string, output_name string, data_type DataType, dims int64*, initial_state InitialState*,"
    " use_same_buffer_for_input_output bool, use_growable_memory bool",
    "InitialState": "name string, data_type DataType, dims int64*, zero_data data|bool, data_file data|string",
    # Ensembles
    "ModelEnsembling": "step Step*, max_inflight_requests uint32",
    "Step": "model_name string, model_version int64, model_namespace string, input_map string>string,"
    " output_map string>string",
    # Warm-up
    "ModelWarmup": "name string, batch_size uint32, inputs string>WarmupInput, count uint32",
    "WarmupInput": "data_type DataType, dims int64*, zero_data data|bool, random_data data|bool,"
    " input_data_file data|string",
    # What runs where
    "ModelInstanceGroup": "name string, kind Kind, count int32, rate_limiter ModelRateLimiter, gpus int32*,"
    " secondary_devices SecondaryDevice*, profile string*, passive bool, host_policy string",
    "SecondaryDevice": "kind SecondaryDeviceKind, device_id int64",
    "ModelRateLimiter": "resources Resource*, priority uint32",
    "Resource": "name string, global bool, count uint32",
    "ModelOptimizationPolicy": "graph Graph, priority ModelPriority, cuda Cuda,"
    " execution_accelerators ExecutionAccelerators, input_pinned_memory PinnedMemoryBuffer,"
    " output_pinned_memory PinnedMemoryBuffer, gather_kernel_buffer_threshold uint32, eager_batching bool",
    "Graph": "level int32",
    "Cuda": "graphs bool, busy_wait_events bool, graph_spec GraphSpec*, output_copy_stream bool",
    "GraphSpec": "batch_size int32, input string>Shape, graph_lower_bound LowerBound",
    "LowerBound": "batch_size int32, input string>Shape",
    "Shape": "dim int64*",
    "ExecutionAccelerators": "gpu_execution_accelerator Accelerator*, cpu_execution_accelerator Accelerator*",
    "Accelerator": "name string, parameters string>string",
    "PinnedMemoryBuffer": "enable bool",
    # The rest
    "ModelParameter": "string_value string",
    "ModelOperations": "op_library_filename string*",
    "ModelTransactionPolicy": "decoupled bool",
    "ModelRepositoryAgents": "agents Agent*",
    "Agent": "name string, parameters string>string",
    "ModelResponseCache": "enable bool",
    "ModelMetrics": "metric_control MetricControl*",
    "MetricControl": "metric_identifier MetricIdentifier, histogram_options options|HistogramOptions",
    "MetricIdentifier": "family string",
    "HistogramOptions": "buckets double*",
}
"""The fields of each message: ``name T``, and ``T*`` for any number of them, ``K>T`` for a map, ``group|T`` for a field
of which a message has at most one in each group."""

_SCALARS = ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string")


def field_names(message: str) -> tuple[str, ...]:
    """The names of the fields of a message, which may be the entry of a map."""
    return tuple(field.split()[0] for field in _fields(message)) if message in MESSAGES else ("key", "value")


def value_names(enum: str) -> tuple[str, ...]:
    """The names of the values of an enum, in the order of their numbers."""
    return tuple(ENUMS[enum].split())


def _fields(message: str) -> list[str]:
    return [field.strip() for field in MESSAGES[message].split(",") if field]


def _build() -> Any:
    """The class of ``ModelConfig``."""
    file = FileDescriptorProto(name="sluice/triton.proto", syntax="proto3")
    for name in ENUMS:
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(value_names(name)):
            enum.value.add(name=value, number=number)
    for name in MESSAGES:
        message = file.message_type.add(name=name)
        for field in _fields(name):
            _add_field(message, *field.split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ModelConfig"))


def _add_field(message: DescriptorProto, name: str, kind: str) -> None:
    field = message.field.add(name=name, number=len(message.field) + 1, label=FieldDescriptorProto.LABEL_OPTIONAL)
    group, _, kind = kind.rpartition("|")
    if group:
        groups = [oneof.name for oneof in message.oneof_decl]
        if group not in groups:
            message.oneof_decl.add(name=group)
            groups.append(group)
        field.oneof_index = groups.index(group)
    key, _, kind = kind.rpartition(">")
    if key:
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", key)
        _add_field(entry, "value", kind)
        kind = f"{message.name}.{entry.name}*"
    if kind.endswith("*"):
        field.label = FieldDescriptorProto.LABEL_REPEATED
    _set_type(field, kind.removesuffix("*"))


def _set_type(field: FieldDescriptorProto, kind: str) -> None:
    if kind in _SCALARS:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
        return
    field.type = FieldDescriptorProto.TYPE_ENUM if kind in ENUMS else FieldDescriptorProto.TYPE_MESSAGE
    field.type_name = f".{kind}"


ModelConfig = _build()
