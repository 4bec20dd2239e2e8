"""Metadata of the server and its models."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from model_store.graph import Tensor
from model_store.pipelines.drawing import draw_mermaid
from model_store.texts.cost import tell_cost
from service.models.entry import ModelEntry, Served
from service.models.pipeline import Pipeline
from service.settings import Settings

NAME = "sluice"
PLATFORM = "onnxruntime_onnx"
PIPELINE = "sluice_pipeline"
_EXTENSIONS = (
    *("binary_tensor_data", "classification", "parameters", "schedule_policy"),
    *("model_configuration", "statistics", "trace", "logging"),
)


def release() -> str:
    """The version of the product."""
    try:
        return version("sluice-serving")
    except PackageNotFoundError:  # it runs from a checkout or a bento
        return _read_release(Path(__file__).parents[3] / "pyproject.toml")


def _read_release(project: Path) -> str:
    """The version that pyproject.toml declares; "0" without such a file."""
    try:
        return str(tomllib.loads(project.read_text())["project"]["version"])
    except (OSError, KeyError):
        return "0"


def describe_server(settings: Settings) -> dict[str, Any]:
    """Name, version, and the extensions of the protocol that are on with these settings."""
    extensions = [*_EXTENSIONS, *(["model_repository"] if settings.control else [])]
    if settings.shared_memory:
        extensions.append("system_shared_memory")
    if settings.keeps_sequences:
        extensions += ["sequence", "sequence(string_id)"]
    return {"name": NAME, "version": release(), "extensions": extensions}


def describe_model(model: Served, model_entry: ModelEntry, one: bool) -> dict[str, Any]:
    """Metadata of a model. It lists all versions in service, or only that of ``model`` if ``one``."""
    in_service = [str(number) for number, entry in sorted(model_entry.entries.items()) if entry.model]
    versions = [model.version] if one else in_service
    if isinstance(model, Pipeline):
        facts = {"name": model.name, "versions": versions, "platform": PIPELINE}
        return {**facts, "inputs": [], "outputs": [], "pipeline": describe_pipeline(model)}
    cost = tell_cost(model.manifest, steps_alone=model.loaded.max_rows == 1)
    return {
        "name": model.name,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": [describe_tensor(t) for t in model.signature.public_inputs.values()],
        "outputs": [describe_tensor(t) for t in model.signature.public_outputs.values()],
        "rows": model.loaded.rows.verdict,
        "rows_reason": model.loaded.rows.reason,
        "bits": model.loaded.bits,
        **({} if cost is None else {"writing": cost}),
    }


def describe_pipeline(pipeline: Pipeline) -> dict[str, Any]:
    """Steps and outputs, the result of the golden requests, and a Mermaid diagram."""
    facts = pipeline.steps.facts
    steps = {name: step.model_dump(exclude_defaults=True) for name, step in facts.steps.items()}
    drawing = draw_mermaid(facts)
    return {"steps": steps, "outputs": dict(facts.outputs), "golden": pipeline.checked, "mermaid": drawing}


def describe_tensor(tensor: Tensor) -> dict[str, Any]:
    """Sizes that may vary are -1, also that of the batch axis. A tensor of any shape has the shape [-1]."""
    shape = [-1] if tensor.any_shape else describe_sizes(tensor.shape)
    if tensor.batch_axis is not None:
        shape[tensor.batch_axis] = -1
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape}


def describe_sizes(shape: tuple[int | str, ...]) -> list[int]:
    """Sizes that may vary are -1."""
    return [size if isinstance(size, int) else -1 for size in shape]
