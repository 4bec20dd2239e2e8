"""The main program of a worker process. Workers share only the listening sockets and the folder of the metrics."""

import functools
import os
import signal
import socket
import ssl
import sys

import uvicorn

from service.app import make_application
from service.process.channel import BACKLOG, WorkerEnd
from service.process.logs import configure_logs
from service.process.server import WorkerServer, refuse
from service.settings import Settings, SettingsError
from service.worker import Worker


def main(number: int, replaces: int, channel_descriptor: int, *listener_descriptors: int) -> None:
    """Serve until SIGTERM or the end of the supervisor. ``number`` counts the workers from 1."""
    channel = WorkerEnd(socket.socket(fileno=channel_descriptor))
    listener, *more = [socket.socket(fileno=descriptor) for descriptor in listener_descriptors]
    settings = Settings.from_environ(os.environ)
    configure_logs(f"worker {number}", settings.log_level, settings.log_format)

    @functools.cache
    def open_worker() -> Worker:  # the first call must be on the event loop
        try:
            worker = Worker(settings, number - 1, next(iter(more), None))
        except SettingsError as error:
            refuse(channel, error)
        worker.listens_at_start = False  # gRPC listens when HTTP does
        return worker

    config = uvicorn.Config(
        make_application(open_worker),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        backlog=BACKLOG,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        ssl_ca_certs=None if settings.tls_client_ca is None else str(settings.tls_client_ca),
        ssl_cert_reqs=int(ssl.CERT_NONE if settings.tls_client_ca is None else ssl.CERT_REQUIRED),
    )
    server = WorkerServer(config, settings, listener, channel, open_worker, number - 1, replaces=bool(replaces))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # some tools send it to all processes, but only the supervisor acts
    server.run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
