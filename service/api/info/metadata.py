"""Metadata of the server and its models."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from model_store.graph import Tensor
from model_store.texts.cost import tell_cost
from service.models.entry import Model, ModelEntry
from service.settings import Settings

NAME = "sluice"
PLATFORM = "onnxruntime_onnx"
_EXTENSIONS = (
    *("binary_tensor_data", "classification", "parameters", "schedule_policy"),
    *("model_configuration", "statistics", "trace", "logging"),
)


def release() -> str:
    """The version of the product."""
    try:
        return version("sluice-serving")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "0"


def describe_server(settings: Settings) -> dict[str, Any]:
    """Name, version and the extensions of the protocol that these settings offer."""
    extensions = [*_EXTENSIONS, *(["model_repository"] if settings.control else [])]
    if settings.keeps_sequences:
        extensions += ["sequence", "sequence(string_id)"]
    return {"name": NAME, "version": release(), "extensions": extensions}


def describe_model(model: Model, model_entry: ModelEntry, one: bool) -> dict[str, Any]:
    """Metadata of a model, with all its versions in service, or with the ``one`` that was asked for."""
    cost = tell_cost(model.manifest, steps_alone=model.loaded.max_rows == 1)
    in_service = [str(number) for number, entry in sorted(model_entry.entries.items()) if entry.model]
    return {
        "name": model.name,
        "versions": [model.version] if one else in_service,
        "platform": PLATFORM,
        "inputs": [describe_tensor(t) for t in model.signature.public_inputs.values()],
        "outputs": [describe_tensor(t) for t in model.signature.public_outputs.values()],
        "rows": model.loaded.rows.verdict,
        "rows_reason": model.loaded.rows.reason,
        "bits": model.loaded.bits,
        **({} if cost is None else {"writing": cost}),
    }


def describe_tensor(tensor: Tensor) -> dict[str, Any]:
    """A tensor that takes any shape has the shape [-1]. Requests have any number of rows, even if a run has one."""
    shape = [-1] if tensor.any_shape else describe_sizes(tensor.shape)
    if tensor.batch_axis is not None:
        shape[tensor.batch_axis] = -1
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape}


def describe_sizes(shape: tuple[int | str, ...]) -> list[int]:
    """Sizes that are not fixed are -1."""
    return [size if isinstance(size, int) else -1 for size in shape]
