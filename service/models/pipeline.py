"""Pipelines that serve: versions without graphs, whose steps are models in service."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from model_store import ModelVersion
from model_store.manifest import Manifest
from model_store.tasks import GoldenRequest
from service.errors import InvalidInput, NotReady
from service.metrics.meters import Metrics
from service.metrics.storage import Histogram
from service.protocol.json import parse_json
from service.tasks.pipelines.steps import PipelineSteps, read_steps


class Golden(NamedTuple):
    """A stored request with the predictions that must come back."""

    facts: GoldenRequest
    request: bytes
    predictions: Any


@dataclass(frozen=True, slots=True)
class LoadedPipeline:
    """A pipeline that was read and checked, without the models of its steps."""

    manifest: Manifest
    steps: PipelineSteps
    golden: tuple[Golden, ...]
    load_s: float


def load_pipeline(version: ModelVersion) -> LoadedPipeline:
    """Raises StoreError, NotReady with the reason."""
    return read_pipeline(*version.read_all())


def read_pipeline(manifest: Manifest, contents: Mapping[str, bytes]) -> LoadedPipeline:
    """Read a pipeline from the files of its version. Raises NotReady for options that a task does not have."""
    began = time.perf_counter()
    assert manifest.pipeline is not None  # noqa: S101  # that is why this is called
    try:
        steps = read_steps(manifest.pipeline)
        golden = tuple(
            Golden(facts, contents[facts.request], parse_json(contents[facts.answer], facts.answer)["predictions"])
            for facts in manifest.pipeline.golden
        )
    except (InvalidInput, KeyError, TypeError) as error:
        raise NotReady(str(error)) from None
    return LoadedPipeline(manifest, steps, golden, time.perf_counter() - began)


class Pipeline:
    """A pipeline in service. It holds no models: each request looks up those of its steps."""

    graphs: Mapping[str, Any] = {}
    loop = None

    def __init__(self, name: str, version: str, loaded: LoadedPipeline, metrics: Metrics) -> None:
        self.name = name
        self.version = version
        self.used_at = 0.0
        self.is_new = False
        self.is_closed = False
        self.is_idle = True
        self.loaded = loaded
        self.manifest = loaded.manifest
        self.steps = loaded.steps
        self.tasks = loaded.manifest.tasks
        self.checked = ""
        """The result of its golden requests, for people."""
        self._metrics = metrics
        self._seconds: dict[str, Histogram] = {}

    def count(self, step: str, seconds: float) -> None:
        """Count the time of a step of a request."""
        histogram = self._seconds.get(step)
        if histogram is None:
            labels = (self.name, self.version, step)
            histogram = self._seconds[step] = self._metrics.histogram("sluice_step_seconds", labels)
        histogram.observe(seconds)

    async def drain(self) -> None:
        """It runs nothing of its own."""
