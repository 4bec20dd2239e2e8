"""The BentoML service, and the only file that imports bentoml.

BentoML gives processes, lifecycle, build and the documentation page. Our own ASGI application stands in front of its
routes (``service_class``), so none of its batching, metrics, limits or error shapes is in the way of a request; the
methods below exist so that BentoML's client and builder know the tasks.
"""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import bentoml
from pydantic import Field, create_model

from service.api.openapi.task_types import describe_options
from service.metrics.folders import find_folder_of_siblings
from service.protocol.json import render_json
from service.protocol.large_json import parse_object
from service.settings import Settings, SettingsError, find_injected
from service.tasks import classify, generate, reconstruct, sequence
from service.tasks.request import TaskOptions
from service.transport.asgi import ASGIApp, AsgiApplication
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import Endpoint
from service.versions import check_versions
from service.worker import Worker

logger = logging.getLogger("sluice")

NAME = "sluice"

_worker: Worker | None = None


def _end_with_parent() -> None:
    """Let the kernel stop this worker when BentoML's supervisor dies: an orphan would go on holding the port."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


class _WorkerOfBentoML(Worker):
    """A worker whose process ends after it, by the signal that stopped it."""

    def close(self) -> None:
        """Leave the threads alone: one may be in a native call that never returns."""


def _open_worker() -> Worker:
    """The parts of this worker, made on its event loop."""
    global _worker
    _end_with_parent()
    check_versions()
    settings = Settings.from_environ(os.environ)
    if settings.tls_certificate is not None and "--ssl-certfile" not in sys.argv:
        raise SettingsError(
            f"SLUICE_TLS_CERTIFICATE={settings.tls_certificate}: `bentoml serve` answers HTTP in plain text without "
            "--ssl-certfile and --ssl-keyfile: give them too, or use `sluice serve`"
        )
    settings.check_store()
    logging.getLogger("sluice").setLevel(settings.log_level.upper())
    if injected := find_injected(os.environ):
        logger.warning("%s: from Kubernetes, for a Service of that name: ignored", ", ".join(injected))
    if settings.metrics_dir is None and "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        # Started by `bentoml serve`: its workers have a parent in common.
        settings = settings.replace(metrics_dir=find_folder_of_siblings())
    _worker = _WorkerOfBentoML(settings)
    return _worker


def _choose_protocol(is_fast: bool) -> None:
    """BentoML's worker asks for the application before it builds its server, so this is in time."""
    try:
        from service.transport.fast.choice import choose_protocol
        from service.transport.fast.loop import choose_loop
    except ImportError:
        logger.warning("httptools is not installed: tensors go by the slower ASGI path")
        return
    choose_protocol(is_fast)
    choose_loop()


class FrontedService(bentoml.Service[Any]):  # type: ignore[misc]  # lazily imported names are Any to mypy
    """A BentoML service with our routes before its own."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        _choose_protocol(Settings.from_environ(os.environ).fast_path)
        return self.put_behind(_open_worker, is_main)

    def put_behind(self, open_worker: Callable[[], Worker], is_main: bool = True) -> ASGIApp:
        """BentoML's application behind ours."""
        return AsgiApplication(open_worker, super().to_asgi(is_main))


_Rows = Annotated[list[Any], Field(min_length=1, description="rows, as /docs describes them")]
"""No closer: BentoML's client takes each value for the first type of a union, and would take a picture for numbers."""


def _task(name: str, options: type[TaskOptions], **rows: Any) -> Any:
    """`bentoml.api` for a task. A call has one answer, so it has no ``stream``, which is for HTTP."""
    fields: dict[str, Any] = {**rows, **describe_options(options)}
    del fields["stream"]
    spec = create_model("Input", __base__=bentoml.IODescriptor, __module__=__name__, **fields)
    return bentoml.api(route=f"/{name}", name=name, input_spec=spec)


@bentoml.service(
    name=NAME,
    service_class=FrontedService,
    workers=Settings.from_environ(os.environ).workers,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class InferenceService:
    """Batched predictions of ONNX models."""

    @_task(classify.NAME, classify.Options, inputs=(_Rows, ...))  # type: ignore[untyped-decorator]
    async def classify(self, **fields: Any) -> dict[str, Any]:
        """Labels with probabilities for each row, and why."""
        return await _call(classify.NAME, fields)

    @_task(sequence.NAME, sequence.Options, inputs=(_Rows, ...))  # type: ignore[untyped-decorator]
    async def predict_sequence(self, **fields: Any) -> dict[str, Any]:
        """The forecast of each series, or a text for each text."""
        return await _call(sequence.NAME, fields)

    @_task(reconstruct.NAME, reconstruct.Options, inputs=(_Rows, ...))  # type: ignore[untyped-decorator]
    async def reconstruct(self, **fields: Any) -> dict[str, Any]:
        """A row like each row, with how far they are apart."""
        return await _call(reconstruct.NAME, fields)

    @_task(generate.NAME, generate.Options)  # type: ignore[untyped-decorator]
    async def generate(self, **fields: Any) -> dict[str, Any]:
        """New rows from noise."""
        return await _call(generate.NAME, fields)


def make_application(open_worker: Callable[[], Worker], is_fast: bool) -> ASGIApp:
    """The application of a worker of `sluice serve`, which BentoML did not start. ``is_fast``: by the fast path."""

    def open_known_worker() -> Worker:
        global _worker
        _worker = open_worker()
        return _worker

    _choose_protocol(is_fast)
    service: Any = InferenceService  # the decorator has made it a FrontedService
    application: ASGIApp = service.put_behind(open_known_worker)
    return application


async def _call(task: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Answer a call made in process, through the same request handler as HTTP."""
    if _worker is None:
        raise bentoml.exceptions.ServiceUnavailable("the service was not started: run it with `sluice serve`")
    if fields.get("stream"):
        raise bentoml.exceptions.InvalidArgument("stream: a call has one answer; ask over HTTP for events")
    request = AwaitedRequest(Endpoint(f"/{task}"), b"", {})
    request.body = render_json(fields)
    _worker.handler.start(request)
    reply = await request.answer
    content = parse_object(b"".join(reply.chunks))
    if reply.status != 200:
        raise bentoml.exceptions.BentoMLException(content["error"], error_code=HTTPStatus(reply.status))
    return content
