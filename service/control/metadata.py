"""Metadata and configuration of the server and its models."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from model_store.consistency import MAIN
from model_store.manifest import Tensor
from model_store.tasks import Loop
from service.registry import Model, Shelf
from service.settings import Settings

NAME = "sluice"
PLATFORM = "onnxruntime_onnx"
_WORK = (
    *("binary_tensor_data", "classification", "parameters", "schedule_policy"),
    *("model_configuration", "statistics", "trace", "logging"),
)
_MICROSECONDS = 1_000_000


def release() -> str:
    """The version of the product."""
    try:
        return version("sluice-serving")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "0"


def describe_server(settings: Settings) -> dict[str, Any]:
    """Name, version and extensions: what works, and nothing else."""
    extensions = [*_WORK, *(["model_repository"] if settings.control else [])]
    if settings.keeps_sequences:
        extensions += ["sequence", "sequence(string_id)"]
    return {"name": NAME, "version": release(), "extensions": extensions}


def describe_model(model: Model, shelf: Shelf, one: bool) -> dict[str, Any]:
    """Metadata of a model: with all its versions in service, or of the ``one`` that was asked for."""
    in_service = [str(number) for number, entry in sorted(shelf.entries.items()) if entry.model]
    return {
        "name": model.name,
        "versions": [model.version] if one else in_service,
        "platform": PLATFORM,
        "inputs": [describe_tensor(t) for t in model.signature.public_inputs.values()],
        "outputs": [describe_tensor(t) for t in model.signature.public_outputs.values()],
        "rows": model.loaded.rows.verdict,
        "rows_reason": model.loaded.rows.reason,
        "bits": model.loaded.bits,
    }


def describe_tensor(tensor: Tensor) -> dict[str, Any]:
    """Sizes that are not fixed, the batch among them, are -1; a tensor that takes any shape is told as [-1]."""
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": [-1] if tensor.any_shape else _sizes(tensor.shape),
    }


def configure(model: Model, settings: Settings, lanes: int) -> dict[str, Any]:
    """The version as a model configuration. Every object in it is complete: clients index them blindly."""
    signature, session = model.signature, model.loaded.session
    graph = model.manifest.graphs[MAIN]
    most_rows = _most_rows(model)
    config: dict[str, Any] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [int(model.version)]}},
        "max_batch_size": most_rows,
        "input": [_configure_tensor(t, most_rows > 0) for t in graph.inputs],
        "output": [_configure_tensor(t, most_rows > 0) for t in graph.outputs],
        "instance_group": [
            {"name": model.name, "kind": "KIND_CPU" if session.on_cpu else "KIND_GPU", "count": lanes},
        ],
        "default_model_filename": graph.file,
        "parameters": {
            "execution_provider": {"string_value": session.provider},
            "rows": {"string_value": model.loaded.rows.verdict},
            "rows_reason": {"string_value": model.loaded.rows.reason},
            "bits": {"string_value": model.loaded.bits},
        },
    }
    loop = model.manifest.loop
    if loop is not None and settings.keeps_sequences:  # clients take one of the two
        config["sequence_batching"] = _configure_sequences(model, loop, settings)
        carried = {carry.input for carry in loop.carries}
        for tensor in config["input"]:
            tensor["optional"] = tensor["name"] in carried
    elif signature.batches and most_rows:
        config["dynamic_batching"] = _configure_batching(model, settings)
    return config


def _most_rows(model: Model) -> int:
    """The rows of a request, where they are on the first axis of every tensor; else 0, and shapes are whole."""
    if not model.signature.leads_with_rows:
        return 0
    return model.loaded.max_rows if model.signature.batches else model.signature.graph.leading_rows or 0


def _configure_tensor(tensor: Tensor, batches: bool) -> dict[str, Any]:
    sizes = _sizes(tensor.shape[1:] if batches else tensor.shape)
    datatype = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    config: dict[str, Any] = {"name": tensor.name, "data_type": f"TYPE_{datatype}", "dims": sizes or [1]}
    if not sizes:  # dims may not be empty: a scalar is told in this way
        config["reshape"] = {"shape": []}
    return config


def _configure_sequences(model: Model, loop: Loop, settings: Settings) -> Mapping[str, Any]:
    """Rows of any sequences share batches. What is carried without changing is no state in this form."""
    graph = model.manifest.graphs[MAIN]
    tensors = {tensor.name: _configure_tensor(tensor, _most_rows(model) > 0) for tensor in graph.inputs}
    states = [
        {
            "input_name": carry.input,
            "output_name": carry.output,
            "data_type": tensors[carry.input]["data_type"],
            "dims": tensors[carry.input]["dims"],
        }
        for carry in loop.carries
        if carry.output is not None
    ]
    return {
        "max_sequence_idle_microseconds": round(settings.sequence_idle_s * _MICROSECONDS),
        "oldest": {
            "max_candidate_sequences": settings.max_sequences,
            "preferred_batch_size": [model.dispatcher.batch_rows],
            "max_queue_delay_microseconds": round(model.dispatcher.queue.max_wait_s * _MICROSECONDS),
            "preserve_ordering": False,
        },
        "control_input": [],
        "state": states,
    }


def _configure_batching(model: Model, settings: Settings) -> Mapping[str, Any]:
    queue = model.dispatcher.queue
    return {
        "preferred_batch_size": [model.dispatcher.batch_rows],
        "max_queue_delay_microseconds": round(queue.max_wait_s * _MICROSECONDS),
        "preserve_ordering": False,
        "priority_levels": 2,
        "default_priority_level": 2,
        "default_queue_policy": {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": round(settings.deadline_s * _MICROSECONDS),
            "allow_timeout_override": True,
            "max_queue_size": settings.max_queue_rows,
        },
    }


def _sizes(shape: tuple[int | str, ...]) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in shape]
