"""Triton's model configuration of a version, with the settings in force. Clients expect all fields of an object."""

from collections.abc import Mapping
from typing import Any

from model_store.graph import MAIN, Tensor
from model_store.graphs.sequences import Sequences
from model_store.triton import (
    DynamicBatching,
    QueuePolicy,
    SequenceConfig,
    SequenceControl,
    SequenceState,
    TritonConfig,
)
from service.api.info.metadata import PLATFORM, describe_sizes
from service.codecs.model_context import known
from service.models.entry import Model
from service.settings import Settings

_VALUES = {"INT32": "int32_false_true", "FP32": "fp32_false_true", "BOOL": "bool_false_true"}


def configure(model: Model, settings: Settings, lanes: int) -> dict[str, Any]:
    session, given = model.loaded.session, model.loaded.config
    most_rows = _most_rows(model)
    files = {output.name: output.label_filename for output in given.outputs} if given else {}
    config: dict[str, Any] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": _version_policy(model.version, given),
        "max_batch_size": most_rows,
        "input": [_tensor(t, model, most_rows > 0) for t in model.signature.public_inputs.values()],
        "output": [_tensor(t, model, most_rows > 0, files) for t in model.signature.public_outputs.values()],
        "instance_group": [{"name": model.name, "kind": "KIND_CPU" if session.on_cpu else "KIND_GPU", "count": lanes}],
        "default_model_filename": model.manifest.graphs[MAIN].file,
        "parameters": {
            "execution_provider": {"string_value": session.provider},
            "rows": {"string_value": model.loaded.rows.verdict},
            "rows_reason": {"string_value": model.loaded.rows.reason},
            "bits": {"string_value": model.loaded.bits},
        },
    }
    sequence_rules = model.sequence_rules
    if sequence_rules is not None and settings.keeps_sequences:  # clients allow one kind of batching
        config["sequence_batching"] = _sequences(model, settings)
        if not sequence_rules.is_required:
            carried = {state.input for state in sequence_rules.facts.states}
            for tensor in config["input"]:
                tensor["optional"] = tensor["name"] in carried
    elif model.signature.batches and most_rows:
        config["dynamic_batching"] = _batching(model, settings)
    return config


def _most_rows(model: Model) -> int:
    """The most rows of a request; 0 unless rows are on the first axis of every tensor. With 0, shapes are complete."""
    leading_rows = model.signature.graph.leading_rows
    if leading_rows is not None and model.loaded.config is not None and model.loaded.config.max_batch_size:
        return leading_rows
    if not model.signature.leads_with_rows:
        return 0
    return model.loaded.max_rows if model.signature.batches else leading_rows or 0


def _version_policy(version: str, given: TritonConfig | None) -> Mapping[str, Any]:
    if given is None:
        return {"specific": {"versions": [int(version)]}}
    policy = given.version_policy
    if policy.latest is not None:
        return {"latest": {"num_versions": policy.latest}}
    return {"all": {}} if policy.specific is None else {"specific": {"versions": [*policy.specific]}}


def _datatype(name: str) -> str:
    return f"TYPE_{'STRING' if name == 'BYTES' else name}"


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


def _tensor(tensor: Tensor, model: Model, batches: bool, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A tensor as callers see it, without the batch axis. Dims must not be empty, so a scalar has [1]."""
    dims = [-1] if tensor.any_shape else describe_sizes(tensor.shape[1:] if batches else tensor.shape)
    config: dict[str, Any] = {"name": tensor.name, "data_type": _datatype(tensor.datatype), "dims": dims or [1]}
    shapes = model.loaded.session.shapes
    inner = None if shapes is None else shapes.inner_dims(tensor.name)
    if inner is not None or not dims:
        config["reshape"] = {"shape": [*(inner or ())]}
    if tensor.optional:
        config["optional"] = True
    if files and files.get(tensor.name):
        config["label_filename"] = files[tensor.name]
    return config


def _sequences(model: Model, settings: Settings) -> Mapping[str, Any]:
    """Rows of all sequences share batches. A state that never changes cannot be expressed in this form."""
    sequence = model.loaded.config.sequence if model.loaded.config else None
    sequence = sequence or _own_sequences(known(model.sequence_rules).facts, model, settings)
    strategy = {"oldest": {"max_candidate_sequences": settings.max_sequences, **_batches(model)}}
    if sequence.strategy == "direct":
        strategy = {"direct": {"max_queue_delay_microseconds": 0, "minimum_slot_utilization": 0.0}}
    return {
        "max_sequence_idle_microseconds": _microseconds(sequence.idle_s),
        **strategy,
        "control_input": [_control(control) for control in sequence.controls],
        "state": [_state(state) for state in sequence.states],
    }


def _own_sequences(facts: Sequences, model: Model, settings: Settings) -> SequenceConfig:
    tensors = {t.name: (t.datatype, _tensor(t, model, _most_rows(model) > 0)) for t in model.signature.inputs.values()}
    states = [
        SequenceState(state.input, state.output, tensors[state.input][0], tuple(tensors[state.input][1]["dims"]))
        for state in facts.states
        if state.output is not None
    ]
    return SequenceConfig("oldest", settings.sequence_idle_s, states=tuple(states))


def _batches(model: Model) -> Mapping[str, Any]:
    return {
        "preferred_batch_size": [model.dispatcher.batch_rows],
        "max_queue_delay_microseconds": _microseconds(model.dispatcher.queue.max_wait_s),
        "preserve_ordering": False,
    }


def _control(control: SequenceControl) -> Mapping[str, Any]:
    config: dict[str, Any] = {"kind": f"CONTROL_SEQUENCE_{control.kind}"}
    if control.kind == "CORRID":
        config["data_type"] = _datatype(control.datatype)
    else:
        config[_VALUES[control.datatype]] = [control.false_value, control.true_value]
    return {"name": control.name, "control": [config]}


def _state(state: SequenceState) -> Mapping[str, Any]:
    datatype = _datatype(state.datatype)
    config: dict[str, Any] = {
        "input_name": state.input_name,
        "output_name": state.output_name,
        "data_type": datatype,
        "dims": [*state.dims],
    }
    if (initial := state.initial) is not None:
        data = {"data_file": initial.data_file} if initial.data_file else {"zero_data": True}
        config["initial_state"] = [{"name": initial.name, "data_type": datatype, "dims": [*initial.dims], **data}]
    return config


def _batching(model: Model, settings: Settings) -> Mapping[str, Any]:
    if model.loaded.schedule_policy is not None:
        batching = model.loaded.schedule_policy.batching
    else:
        queue = QueuePolicy(settings.deadline_s, allow_override=True, max_requests=settings.max_queue_rows)
        batching = DynamicBatching(priority_levels=2, default_priority=2, queue=queue)
    config: dict[str, Any] = {
        **_batches(model),
        "priority_levels": batching.priority_levels,
        "default_priority_level": batching.default_priority,
        "default_queue_policy": _queue_policy(batching.queue),
    }
    if batching.queue_of_priority:
        config["priority_queue_policy"] = {str(k): _queue_policy(v) for k, v in batching.queue_of_priority.items()}
    return config


def _queue_policy(policy: QueuePolicy) -> Mapping[str, Any]:
    return {
        "timeout_action": policy.on_timeout.upper(),
        "default_timeout_microseconds": _microseconds(policy.timeout_s or 0),
        "allow_timeout_override": policy.allow_override,
        "max_queue_size": policy.max_requests or 0,
    }
