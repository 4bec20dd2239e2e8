"""The channel between supervisor and worker: lines of text over a socket pair.

The worker sends ``started``, ``ready``, ``refused TEXT``, and when every load has ended ``loaded NAMES``: the models
that do not serve. The supervisor sends ``listen`` and ``pause`` to a worker that loads, ``serve`` to one that replaces
another and has loaded, and ``leave`` to the one that is replaced. When the supervisor has ended, for whatever reason,
the worker reads the end of the stream.
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
"""No name of a model has it."""


def render_line(what: str, text: str = "") -> bytes:
    """One line: line ends within the text become blanks."""
    return " ".join(f"{what} {text}".split()).encode() + b"\n"


class WorkerEnd:
    """The worker's end. A thread of its own reads it, so that a blocked event loop does not delay it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def tell(self, what: str, text: str = "") -> None:
        with contextlib.suppress(OSError):  # the supervisor has ended: the reading thread notices
            self._connection.sendall(render_line(what, text))

    def follow(self, on_word: Callable[[str], object], on_end: Callable[[], None]) -> None:
        """Call ``on_word`` with each line of the supervisor, and ``on_end`` when it has ended; both in the thread."""

        def read() -> None:
            with self._connection.makefile("rb") as lines, contextlib.suppress(OSError):
                for line in lines:
                    on_word(line.strip().decode())
            on_end()

        threading.Thread(target=read, name="supervisor", daemon=True).start()
