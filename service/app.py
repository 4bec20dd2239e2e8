"""The BentoML service, and the only file that imports bentoml.

BentoML manages the processes and the build. Our ASGI application comes before its routes (``service_class``), so
requests do not pass through BentoML's batching, metrics, limits or pages. The methods of the service exist for
BentoML's client and builder, which read the tasks from them.
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
from starlette.types import ASGIApp

from service.api.openapi.document import ROUTES, Route
from service.api.openapi.task_types import describe_options
from service.metrics.folders import find_shared_folder
from service.protocol.json import render_json
from service.protocol.large_json import parse_object
from service.settings import Settings, SettingsError, find_injected
from service.transport.asgi import AsgiApplication
from service.transport.awaited_request import AwaitedRequest
from service.transport.fast.loop import choose_protocol
from service.transport.request import Endpoint
from service.versions import check_versions
from service.worker import Worker

logger = logging.getLogger("sluice")

NAME = "sluice"

_worker: Worker | None = None


def _end_with_parent() -> None:
    """Let the kernel stop this worker when BentoML's supervisor dies. Otherwise the worker would keep the port."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _open_worker() -> Worker:
    """Make the worker of this process. Called on the event loop. Raises SettingsError."""
    global _worker
    _end_with_parent()
    check_versions()
    settings = Settings.from_environ(os.environ)
    if settings.tls_certificate is not None and "--ssl-certfile" not in sys.argv:
        raise SettingsError(
            f"SLUICE_TLS_CERTIFICATE={settings.tls_certificate}: `bentoml serve` answers HTTP in plain text without "
            "--ssl-certfile and --ssl-keyfile: set these too, or use `sluice serve`"
        )
    settings.check_store()
    logging.getLogger("sluice").setLevel(settings.log_level.upper())
    if injected := find_injected(os.environ):
        logger.warning("%s: ignored, because Kubernetes sets them for a Service of that name", ", ".join(injected))
    if settings.metrics_dir is None and "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        settings = settings.replace(metrics_dir=find_shared_folder())
    _worker = Worker(settings)
    return _worker


class FrontedService(bentoml.Service[Any]):  # type: ignore[misc]  # lazily imported names are Any to mypy
    """A BentoML service whose application is behind ours."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        choose_protocol()  # in time: BentoML makes its server after this
        return self.put_behind(_open_worker, is_main)

    def put_behind(self, open_worker: Callable[[], Worker], is_main: bool = True) -> ASGIApp:
        """Our application. It passes requests for unknown routes to BentoML's application."""
        return AsgiApplication(open_worker, super().to_asgi(is_main))


_Rows = Annotated[list[Any], Field(min_length=1, description="rows, as /docs describes them")]
"""Of any type: BentoML's client uses the first type of a union, so it would treat a picture as numbers."""


def _method(route: Route) -> Any:
    """A task as a method of the service. It has no option ``stream``, because a call has one answer."""
    fields: dict[str, Any] = {} if route.rows is None else {"inputs": (_Rows, ...)}
    fields |= describe_options(route.task.Options)
    del fields["stream"]
    spec = create_model("Input", __base__=bentoml.IODescriptor, __module__=__name__, **fields)
    name = route.task.NAME

    async def answer(self: object, **fields: Any) -> dict[str, Any]:
        return await _call(name, fields)

    answer.__name__, answer.__doc__ = name, f"{route.summary}."
    return bentoml.api(route=f"/{name}", name=name, input_spec=spec)(answer)


_methods = {route.task.NAME: _method(route) for route in ROUTES}
InferenceService: Any = bentoml.service(
    name=NAME,
    service_class=FrontedService,
    workers=Settings.from_environ(os.environ).workers,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)(type("InferenceService", (), {"__doc__": "Batched predictions of ONNX models.", "__module__": __name__, **_methods}))


def make_application(open_worker: Callable[[], Worker]) -> ASGIApp:
    """The application of a worker of `sluice serve`."""

    def open_known_worker() -> Worker:
        global _worker
        _worker = open_worker()
        return _worker

    choose_protocol()
    application: ASGIApp = InferenceService.put_behind(open_known_worker)
    return application


async def _call(task: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Answer a call in this process, by the request handler that also answers HTTP."""
    if _worker is None:
        raise bentoml.exceptions.ServiceUnavailable("the service was not started: run it with `sluice serve`")
    if fields.get("stream"):
        raise bentoml.exceptions.InvalidArgument("stream: a call has one answer: use HTTP for a stream")
    request = AwaitedRequest(Endpoint(f"/{task}"), b"", {})
    request.body = render_json(fields)
    _worker.handler.start(request)
    reply = await request.answer
    content = parse_object(b"".join(reply.chunks))
    if reply.status != 200:
        raise bentoml.exceptions.BentoMLException(content["error"], error_code=HTTPStatus(reply.status))
    return content
