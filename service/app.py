"""The BentoML service, and the only file that imports bentoml.

BentoML gives processes, lifecycle, build and the documentation page. Our own ASGI application stands in front of its
routes (``service_class``), so none of its batching, metrics, limits or error shapes is in the way of a request; the
methods below exist so that BentoML's documentation, client and builder know the tasks.
"""

import ctypes
import logging
import os
import signal
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import bentoml
from pydantic import Field

from service.http.app import ASGIApp, AsgiCall, AsgiDoor
from service.http.calls import Endpoint
from service.http.plane import CLASSIFY
from service.protocol.text import parse_object, render_json
from service.runtime import Runtime
from service.settings import Settings

logger = logging.getLogger("sluice")

NAME = "sluice"
_EXAMPLE = [[[[0, 0, 5, 13, 9, 1, 0, 0]] * 8]]

_runtime: Runtime | None = None


def _end_with_parent() -> None:
    """Let the kernel stop this worker when BentoML's supervisor dies: an orphan would go on holding the port."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _open_runtime() -> Runtime:
    """The parts of this worker, made on its event loop."""
    global _runtime
    _end_with_parent()
    settings = Settings.from_environ(os.environ)
    logging.getLogger("sluice").setLevel(settings.log_level.upper())
    if settings.metrics_dir is None and "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        # Started by `bentoml serve`: its workers have this folder in common.
        settings = settings.replace(metrics_dir=Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]) / NAME)
    _runtime = Runtime(settings)
    return _runtime


def _open_hot_door() -> None:
    """BentoML's worker asks for the application before it builds its server, so this is in time."""
    try:
        from service.http.hot import open_hot_door
    except ImportError:
        logger.warning("httptools is not installed: tensors go by the slower ASGI door")
    else:
        open_hot_door()


class FrontedService(bentoml.Service[Any]):  # type: ignore[misc]  # lazily imported names are Any to mypy
    """A BentoML service with our routes before its own."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        if Settings.from_environ(os.environ).hot_door:
            _open_hot_door()
        return AsgiDoor(_open_runtime, super().to_asgi(is_main))


@bentoml.service(
    name=NAME,
    service_class=FrontedService,
    workers=Settings.from_environ(os.environ).workers,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class InferenceService:
    """Batched predictions of ONNX models."""

    @bentoml.api(route=CLASSIFY)  # type: ignore[untyped-decorator]
    async def classify(
        self,
        inputs: Annotated[list[Any], Field(description="rows: nested numbers or pictures", examples=_EXAMPLE)],
        model: str | None = None,
        version: str | int | None = None,
        top_k: Annotated[int, Field(ge=1)] = 1,
        explain: bool = False,
    ) -> dict[str, Any]:
        """Labels with probabilities for each row."""
        fields = {"inputs": inputs, "model": model, "version": version, "top_k": top_k, "explain": explain}
        return await _call(CLASSIFY, fields)


async def _call(path: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Answer a call made in process, through the same data plane as HTTP."""
    if _runtime is None:
        raise bentoml.exceptions.ServiceUnavailable("the service was not started: run it with `sluice serve`")
    plane = _runtime.plane
    call = AsgiCall(Endpoint(path), b"", {})
    call.body = render_json(fields)
    plane.start(call)
    reply = await call.answer
    content = parse_object(b"".join(reply.chunks))
    if reply.status != 200:
        raise bentoml.exceptions.BentoMLException(content["error"], error_code=HTTPStatus(reply.status))
    return content
