"""The main program of a worker process, which the supervisor starts: its number, its channel, and the listening socket.

A worker that has died is another process: nothing here is shared but the socket and the folder of the metrics.
"""

import os
import signal
import socket
import ssl
import sys

import uvicorn

from service.app import make_application
from service.process.channel import BACKLOG, REFUSED, WorkerEnd
from service.process.logs import configure_logs
from service.process.server import WorkerServer, end_process
from service.settings import Settings, SettingsError
from service.worker import Worker


class _ServedWorker(Worker):
    """A worker whose process ends after it: it need not wait for threads, and what cannot serve ends the server."""

    listens_at_start = False  # but when HTTP does

    def __init__(self, settings: Settings, channel: WorkerEnd) -> None:
        self._channel = channel
        try:
            super().__init__(settings)
        except SettingsError as error:
            self._refuse(error)

    async def listen(self) -> None:
        try:
            await super().listen()
        except SettingsError as error:
            self._refuse(error)

    def close(self) -> None:
        """Leave the threads alone: one may be in a native call that never returns."""

    def _refuse(self, error: SettingsError) -> None:
        self._channel.tell(REFUSED, str(error))
        end_process(2)


def _configure(settings: Settings, channel: WorkerEnd) -> tuple[uvicorn.Config, list[Worker]]:
    """uvicorn's configuration, and a list that gets the worker when it is made on the event loop."""
    made: list[Worker] = []

    def open_worker() -> Worker:
        made.append(_ServedWorker(settings, channel))
        return made[0]

    config = uvicorn.Config(
        make_application(open_worker, settings.fast_path),
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
    return config, made


def main(number: int, channel_descriptor: int, listener_descriptor: int) -> None:
    """Serve until SIGTERM or the end of the supervisor."""
    channel = WorkerEnd(socket.socket(fileno=channel_descriptor))
    listener = socket.socket(fileno=listener_descriptor)
    settings = Settings.from_environ(os.environ)
    configure_logs(f"worker {number}", settings.log_level)
    config, made = _configure(settings, channel)
    server = WorkerServer(config, settings, listener, channel, lambda: made[0])
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # `nohup`
        signal.signal(signal.SIGHUP, server.handle_exit)
    server.run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
