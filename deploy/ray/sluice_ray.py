"""Sluice as an application of Ray Serve: each replica is one worker of the service.

Ray carries a request to a replica, where our ASGI application answers it: the same routes, engine and bits as
`sluice serve`. Settings are variables in the ``runtime_env`` of the application; ``serve.yaml`` is an example.
``docs/how-to/ray.md`` says when to use it.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app import make_application
from service.process.logs import configure_logs
from service.settings import Settings, SettingsError
from service.worker import Worker

OF_RAY = {
    "workers": "Ray adds replicas, not workers: set num_replicas or autoscaling_config",
    "grpc_port": "Ray's proxy carries HTTP only: use `sluice serve` for gRPC",
    "control": "a change would reach one replica only: deploy again, which replaces them one after another",
    "tls_certificate": "Ray's proxy has the port: set ssl_certfile and ssl_keyfile in its http_options",
}
"""Settings that mean nothing in a replica, and what to do instead."""
STOP_S = 5.0
"""How much longer than the drain a replica may take to stop, until Ray kills it."""


class ReplicaWorker(Worker):
    """Counts as started once its models are loaded, because Ray sends requests to every replica that has started."""

    async def start(self) -> None:
        await super().start()
        loaded = asyncio.Event()
        self.when_loaded(loaded.set)
        await loaded.wait()

    def check(self) -> None:
        """Raises RuntimeError unless it is ready."""
        if self.is_replaced:
            raise RuntimeError("a run of this replica does not end: the replica is replaced")
        if not self.registry.is_ready:
            raise RuntimeError(f"no model of {self.settings.store} serves: see the log of the replica")


_worker: ReplicaWorker | None = None
"""The worker of this process. Each replica is a process of its own."""


def build_asgi() -> ASGIApp:
    """The application of a replica. Ray calls it there, on the event loop that will serve."""

    def open_worker() -> Worker:
        global _worker
        settings = read_settings(os.environ)
        settings = fit_lanes(settings, ray.get_runtime_context().get_assigned_resources())
        settings.check_store()
        configure_logs("replica", settings.log_level)
        _worker = ReplicaWorker(settings)
        return _worker

    return drop_request_id(make_application(open_worker))


def drop_request_id(application: ASGIApp) -> ASGIApp:
    """Leave ``x-request-id`` out of answers: Ray gives each request its id, and adds it to the answer itself."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message["headers"] if name != b"x-request-id"]
                message = {**message, "headers": headers}
            await send(message)

        await application(scope, receive, send_without if scope["type"] == "http" else send)

    return answer


@serve.ingress(build_asgi)
class Sluice:
    """A replica."""

    async def check_health(self) -> None:
        """Ray asks this every few seconds, on the event loop that serves; it replaces a replica that raises."""
        if _worker is None:
            raise RuntimeError("the worker has not started")
        _worker.check()


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Raises SettingsError, also for a setting that is Ray's to decide."""
    settings, usual = Settings.from_environ(environ), Settings()
    for name, advice in OF_RAY.items():
        if (value := getattr(settings, name)) != getattr(usual, name):
            raise SettingsError(f"SLUICE_{name.upper()}={value}: {advice}")
    return settings


def fit_lanes(settings: Settings, resources: Mapping[str, float]) -> Settings:
    """One lane for each core that Ray gave the replica. Without this it would count all cores of the node."""
    if settings.lanes or resources.get("GPU"):
        return settings
    return settings.replace(lanes=max(1, int(resources.get("CPU", 1))))


def build(arguments: Mapping[str, Any]) -> Application:
    """The application. Ray calls it with the variables of the ``runtime_env``; it takes no arguments.

    Ray's limits follow from ours. A replica gets as many requests as its queue takes, so that it answers 429 itself.
    At most as many again wait in the proxy. Raises SettingsError.
    """
    if arguments:
        raise SettingsError(f"{', '.join(arguments)}: expected no arguments: settings are variables, SLUICE_<NAME>")
    settings = read_settings(os.environ)
    most = settings.max_queue_rows + settings.max_rows
    return serve.deployment(
        Sluice,
        name="Sluice",
        max_ongoing_requests=most,
        max_queued_requests=most,
        health_check_period_s=2.0,
        health_check_timeout_s=10.0,
        graceful_shutdown_wait_loop_s=1.0,
        graceful_shutdown_timeout_s=settings.drain_s + STOP_S,
    ).bind()
