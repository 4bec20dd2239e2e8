"""What supervisor and worker tell each other: lines of text over a socket pair.

The worker says ``started``, ``ready`` and ``refused TEXT``; the supervisor says ``listen``. When the supervisor has
ended, however, the worker reads the end of the stream.
"""

import contextlib
import socket
import threading
from collections.abc import Callable

BACKLOG = 2048
"""Connections that may wait in the listening socket, which both ends have."""
STARTED, READY, REFUSED, LISTEN = "started", "ready", "refused", "listen"


def render_line(what: str, text: str = "") -> bytes:
    """A line; line ends within the text become blanks."""
    return " ".join(f"{what} {text}".split()).encode() + b"\n"


class WorkerEnd:
    """The worker's end. It is read in a thread of its own, so that it is heard whatever the event loop does."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def tell(self, what: str, text: str = "") -> None:
        with contextlib.suppress(OSError):  # the supervisor has ended, which the reading thread hears
            self._connection.sendall(render_line(what, text))

    def follow(self, on_listen: Callable[[], object], on_end: Callable[[], None]) -> None:
        """Call ``on_listen`` when the supervisor says so, and ``on_end`` when it is no more; both in the thread."""

        def read() -> None:
            with self._connection.makefile("rb") as lines, contextlib.suppress(OSError):
                for line in lines:
                    if line.strip().decode() == LISTEN:
                        on_listen()
            on_end()

        threading.Thread(target=read, name="supervisor", daemon=True).start()
