"""The channel between supervisor and worker: lines of text over a socket pair.

From the worker:
- ``started``: its event loop runs.
- ``ready``: it has loaded its models and listens.
- ``loaded NAMES``: every load has ended; the models named here do not serve.
- ``refused TEXT``: it cannot serve with these settings.

From the supervisor:
- ``listen`` and ``pause``, to a worker that still loads.
- ``serve``, to a worker that replaces another one and has loaded.
- ``leave``, to a worker that is replaced.

When the supervisor ends, for whatever reason, the worker reads the end of the stream.
"""

import contextlib
import socket
import threading
from collections.abc import Callable

BACKLOG = 2048
"""Connections that may wait in the listening socket, which supervisor and workers share."""
STARTED, READY, LOADED, REFUSED = "started", "ready", "loaded", "refused"
LISTEN, PAUSE, SERVE, LEAVE = "listen", "pause", "serve", "leave"
BETWEEN_NAMES = "/"
"""Model names cannot contain it."""


def render_line(what: str, text: str = "") -> bytes:
    """One line. Line breaks within the text become blanks."""
    return " ".join(f"{what} {text}".split()).encode() + b"\n"


class WorkerEnd:
    """The worker's end. A thread reads it, so a blocked event loop delays nothing."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def tell(self, what: str, text: str = "") -> None:
        with contextlib.suppress(OSError):  # the supervisor has ended: the reading thread handles that
            self._connection.sendall(render_line(what, text))

    def follow(self, on_word: Callable[[str], object], on_end: Callable[[], None]) -> None:
        """Call ``on_word`` with each line of the supervisor, and ``on_end`` when it has ended. Both run in a thread."""

        def read() -> None:
            with self._connection.makefile("rb") as lines, contextlib.suppress(OSError):
                for line in lines:
                    on_word(line.strip().decode())
            on_end()

        threading.Thread(target=read, name="supervisor", daemon=True).start()
