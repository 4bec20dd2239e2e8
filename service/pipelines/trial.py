"""Runs a pipeline that is not in a store yet, in a worker of its own without a port."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from model_store.pipeline_files.reading import Written
from service.api.golden import GoldenRequests
from service.models.pipeline import Pipeline, read_pipeline
from service.settings import Settings
from service.worker import open_worker

T = TypeVar("T")


def check_golden(written: Written, store: Path) -> str:
    """Send the golden requests. Returns the result as a text. Raises NotReady if an answer differs, SettingsError."""

    async def prove(golden: GoldenRequests, pipeline: Pipeline) -> str:
        await golden.prove(pipeline)
        return pipeline.checked

    return _run(written, store, prove)


def try_request(written: Written, store: Path, body: bytes) -> tuple[int, bytes]:
    """The status and the body of the answer to a request. Raises SettingsError."""

    return _run(written, store, lambda golden, pipeline: golden.send(pipeline, body))


def _run(written: Written, store: Path, use: Callable[[GoldenRequests, Pipeline], Awaitable[T]]) -> T:
    """Call ``use`` with a worker that has loaded the models of the steps."""
    manifest = written.manifest
    steps = manifest.pipeline.steps.values() if manifest.pipeline else ()
    models = tuple(sorted({step.model for step in steps if step.model is not None}))
    settings = Settings.from_environ(os.environ).replace(store=store, models=models, lazy=False, grpc_port=0)

    async def work() -> T:
        alone = {"metrics_dir": None, "workers": 1, "follow": False, "model_memory_bytes": 0, "keep_models": ()}
        async with open_worker(settings.replace(**alone)) as worker:
            pipeline = Pipeline(manifest.name, "0", read_pipeline(manifest, written.files), worker.metrics)
            return await use(GoldenRequests(worker.registry, worker.tasks, worker.handler), pipeline)

    return asyncio.run(work())
