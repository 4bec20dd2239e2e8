"""Finds pipelines and the models of their steps."""

import asyncio
import contextlib

from model_store.store import read_number
from service.errors import ServiceError, StillLoading, UnknownModel
from service.models.entry import Model
from service.models.pipeline import Pipeline
from service.models.registry import Registry
from service.tasks.pipelines.faults import name_step
from service.transport.request import Request


def find_pipeline(registry: Registry, name: str | None, version: str | None, request: Request) -> Pipeline:
    """The pipeline with this name, or the default one. Raises UnknownModel, NotReady."""
    name = name or registry.default_of("pipeline")
    found = registry.find_served(name, version, request)
    if not isinstance(found, Pipeline):
        raise UnknownModel(f"model {name!r} does {' and '.join(sorted(found.tasks))}, and is no pipeline")
    return found


def find_steps(registry: Registry, pipeline: Pipeline) -> dict[str, Model]:
    """The models of the steps, by step. Operations have none. Raises UnknownModel and NotReady, which name the step.

    All models that are loaded on demand begin to load. Raises NoRoom if they do not fit into memory together: they
    would evict each other for ever.
    """
    if registry.lifecycle.room.is_limited:
        _check_room(registry, pipeline)
    found, loading = {}, None
    for name, step in pipeline.steps.facts.steps.items():
        if step.model is not None and step.task is not None:
            try:
                found[name] = registry.find_for_task(step.task, step.model, step.version)
            except StillLoading as error:
                loading = loading or name_step(error, name)
            except ServiceError as error:
                raise name_step(error, name) from None
    if loading is not None:
        raise loading
    return found


def _check_room(registry: Registry, pipeline: Pipeline) -> None:
    versions, is_complete = set(), True
    for step in pipeline.steps.facts.steps.values():
        model_entry = None if step.model is None else registry.entries.get(step.model)
        if step.model is None or model_entry is None:
            continue
        number = model_entry.evicted_default
        if step.version is not None:
            number = read_number(step.version) or model_entry.aliases.get(step.version)
        elif model_entry.serving is not None:
            number = int(model_entry.serving.version)
        entry = None if number is None else model_entry.entries.get(number)
        if number is not None and entry is not None:
            versions.add((step.model, number))
            is_complete &= entry.model is not None
    if not is_complete:
        registry.lifecycle.room.check_together(versions)


def check_ready(registry: Registry, pipeline: Pipeline) -> None:
    """Raises as ``find_steps`` if the pipeline is not ready. A model that was unloaded to make room counts as ready."""
    for name, step in pipeline.steps.facts.steps.items():
        if step.model is not None and step.task is not None:
            try:
                found = registry.look_up(step.model, step.version)
                if found is not None and step.task not in found.tasks:
                    raise UnknownModel(
                        f"model {step.model!r} does {' and '.join(sorted(found.tasks))}, not {step.task}"
                    )
            except ServiceError as error:
                raise name_step(error, name) from None


def check_steps(registry: Registry, pipeline: Pipeline) -> None:
    """Raises UnknownModel for a step whose model does not exist, even while other models are loading."""
    for name, step in pipeline.steps.facts.steps.items():
        if step.model is not None and step.model not in registry.entries:
            raise UnknownModel(f"step {name}: no model {step.model!r}")


async def wait_for_steps(registry: Registry, pipeline: Pipeline) -> None:
    """Wait until the models of the steps have loaded or failed: while the server starts, or if they load on demand.

    Two pipelines that name each other do not wait for each other for long.
    """
    if (entry := registry.entries.get(pipeline.name)) is not None:
        entry.is_pipeline = True
    for step in pipeline.steps.facts.steps.values():
        other = registry.entries.get(step.model or "")
        if step.model is None or other is None or other.is_pipeline:
            continue
        if registry.loads_on_demand:
            with contextlib.suppress(ServiceError, TimeoutError):
                async with asyncio.timeout(registry.settings.load_timeout_s):
                    await registry.find_when_loaded(step.model, step.version)
        elif not registry.loaded:
            await other.tried.wait()
