"""What supervisor and worker tell each other: lines of text over a socket pair.

The worker says ``started``, ``ready`` and ``refused TEXT``; the supervisor ``listen`` and ``pause``. The worker reads
the end of the stream when the supervisor has ended, however that came.
"""

import contextlib
import socket
import threading
from collections.abc import Callable

BACKLOG = 2048
"""Connections that may wait in the listening socket, which both ends have."""
STARTED, READY, REFUSED, LISTEN, PAUSE = "started", "ready", "refused", "listen", "pause"


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

    def follow(self, on_word: Callable[[str], object], on_end: Callable[[], None]) -> None:
        """Call ``on_word`` with what the supervisor says, and ``on_end`` when it is no more; both in the thread."""

        def read() -> None:
            with self._connection.makefile("rb") as lines, contextlib.suppress(OSError):
                for line in lines:
                    on_word(line.strip().decode())
            on_end()

        threading.Thread(target=read, name="supervisor", daemon=True).start()
