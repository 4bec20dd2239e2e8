"""Callers that send mutated requests over real connections, and what came of it."""

import contextlib
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

import httptools

from tests.fuzz.mutations import mutate
from tests.fuzz.requests import Request

LIMIT_S = 60.0
"""What takes longer hangs: the caller's socket times out."""
_CALLERS = 8


@dataclass
class Findings:
    """What came of a run: answers by status, and what must not be."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(self.statuses + other.statuses, self.faults + other.faults)


class Caller:
    """One connection at a time, on which requests follow each other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, request: Request) -> list[int]:
        """The statuses that came: one for a whole request, any number for one that is cut off.

        Raises TimeoutError for a hang, OSError or httptools.HttpParserError for an answer that is none.
        """
        if request.is_cut:
            self.close()
        connection = self._socket or socket.create_connection(("127.0.0.1", self._port), LIMIT_S)
        self._socket = connection
        message = request.render()
        with contextlib.suppress(ConnectionError) if request.is_cut else contextlib.nullcontext():
            connection.sendall(message)
            if request.is_cut:
                connection.shutdown(socket.SHUT_WR)
        answers = _Answers()
        while request.is_cut or not answers.statuses:
            try:
                data = connection.recv(1 << 16)
            except ConnectionError:
                if not request.is_cut:
                    raise
                data = b""
            if not data:
                break
            answers.parser.feed_data(data)
        if answers.ends or request.is_cut:
            self.close()
        if not request.is_cut and len(answers.statuses) != 1:
            self.close()
            raise ConnectionError(f"expected one answer, got {len(answers.statuses)} before the connection ended")
        return answers.statuses

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Answers:
    """The parsed answers of one connection."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.statuses: list[int] = []
        self.ends = False

    def on_message_complete(self) -> None:
        status = self.parser.get_status_code()
        if status >= 200:  # what is below only announces an answer
            self.statuses.append(status)
            self.ends = not self.parser.should_keep_alive()


def fuzz(port: int, seed: int, count: int) -> Findings:
    """Send ``count`` mutated requests from several callers at once; the same seed sends the same ones."""
    with ThreadPoolExecutor(_CALLERS) as pool:
        shares = [range(i, count, _CALLERS) for i in range(_CALLERS)]
        return sum(pool.map(lambda share: _send(port, seed, share), shares), Findings())


def _send(port: int, seed: int, numbers: range) -> Findings:
    found = Findings()
    caller = Caller(port)
    for number in numbers:
        request = mutate(Random(f"{seed}/{number}"))
        try:
            statuses = caller.ask(request)
            bad = [status for status in statuses if not (200 <= status < 300 or 400 <= status < 500)]
        except (OSError, httptools.HttpParserError) as error:
            caller.close()
            statuses, bad = [], [repr(error)]
        found.statuses.update(statuses)
        if bad:
            found.faults.append(f"{seed}/{number} {request.changes}: {bad}: {request.render()[:600]!r}")
    caller.close()
    return found
