"""A closed-loop load generator: each client sends its next request when the last one is answered.

It shares the cores with the server, so it is cheap: one thread, one selector, connections that are open before the
first request, and only the parsing that finds the end of an answer. A missing answer is a reply too, with status 0, so
counting the replies misses nothing.
"""

import random
import selectors
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import urlsplit

from loadtests.bench.load.openloop import READ_BYTES, Connection, split_answer

LIMIT_S = 60.0
"""The run ends after this time, even if answers are missing."""

_HEAD_END, _LAST_CHUNK, _EVENT = b"\r\n\r\n", b"\r\n0\r\n\r\n", b"data: "


@dataclass(frozen=True)
class Client:
    """Sends ``requests`` (whole HTTP requests) in turn on one connection, from ``starts_s`` after the run's start.

    ``pause_s``: it waits a random time of at most this before each. ``is_endless``: it starts again until the other
    clients are done and the run's ``for_s`` is over.
    """

    requests: Sequence[bytes]
    starts_s: float = 0.0
    pause_s: float = 0.0
    is_endless: bool = False


@dataclass(frozen=True)
class Reply:
    """An answer to request ``number`` of a client. Times are in seconds since the run's start.

    ``first_s`` is when the first event of a stream, or a whole other answer, had arrived. Status 0 means no answer.
    """

    client: int
    number: int
    asked_s: float
    first_s: float
    ended_s: float
    status: int
    body: bytes


class _Caller:
    """A running client: when its next request is due, and the state of the current one."""

    def __init__(self, position: int, client: Client, place: tuple[str, int]) -> None:
        self.position = position
        self.client = client
        self.connection = Connection(place)
        self.number = 0
        self.random = random.Random(position)
        self.due_s: float | None = client.starts_s + self.random.uniform(0, client.pause_s)
        self.asked_s = 0.0
        self.first_s: float | None = None

    @property
    def repeats(self) -> bool:
        """Whether it has sent all its requests once."""
        return self.number >= len(self.client.requests)

    def begin(self, now_s: float) -> None:
        """Send the next request. Raises OSError."""
        self.due_s, self.asked_s, self.first_s = None, now_s, None
        self.connection.send(self.client.requests[self.number % len(self.client.requests)])

    def read(self, now_s: float) -> Reply | None:
        """Read what has arrived. Returns the reply when it is complete. Raises OSError, ValueError."""
        content = self.connection.socket.recv(READ_BYTES)
        if not content:
            raise ConnectionResetError("the server closed the connection")
        received = self.connection.received
        received += content
        if self.first_s is None and _EVENT in received:
            self.first_s = now_s
        answer = split_any_answer(received)
        if answer is None:
            return None
        received.clear()
        return self.reply(now_s, *answer)

    def reply(self, now_s: float, status: int, body: bytes) -> Reply:
        first_s = now_s if self.first_s is None else self.first_s
        return Reply(self.position, self.number, self.asked_s, first_s, now_s, status, body)

    def go_on(self, now_s: float, may_repeat: bool) -> None:
        """Make the next request due, if there is one."""
        self.number += 1
        if not self.repeats or (self.client.is_endless and may_repeat):
            self.due_s = now_s + self.random.uniform(0, self.client.pause_s)


def split_any_answer(received: bytearray) -> tuple[int, bytes] | None:
    """Status and body of a complete answer with a length or in chunks (kept as they came). Raises ValueError."""
    head_end = received.find(_HEAD_END)
    if head_end < 0:
        return None
    if b"\r\ntransfer-encoding: chunked" in received[:head_end].lower():
        # One request at a time is under way, so nothing comes after the last chunk.
        body = received[head_end + len(_HEAD_END) :]
        return (int(received[9:12]), bytes(body)) if body.endswith(_LAST_CHUNK) else None
    answer = split_answer(bytes(received))
    return answer[:2] if answer else None


class ClosedLoop:
    """The clients of one run."""

    def __init__(self, address: str, clients: Sequence[Client], for_s: float) -> None:
        parts = urlsplit(address)
        place = (parts.hostname or "", parts.port or 80)
        self._for_s = for_s
        self._replies: list[Reply] = []
        self._callers = [_Caller(position, client, place) for position, client in enumerate(clients)]
        self._selector = selectors.DefaultSelector()
        for caller in self._callers:
            self._selector.register(caller.connection.socket, selectors.EVENT_READ, caller)
        self._waiting = set(self._callers)
        self._asking: set[_Caller] = set()

    def run(self) -> list[Reply]:
        self._began = perf_counter()
        try:
            while self._now() < LIMIT_S:
                self._begin_due()
                if not (self._waiting or self._asking):
                    break
                for key, events in self._selector.select(self._wait_s()):
                    self._attend(key.data, events)
            for caller in self._asking:
                self._replies.append(caller.reply(self._now(), 0, b"no answer in time"))
        finally:
            self._selector.close()
            for caller in self._callers:
                caller.connection.socket.close()
        return self._replies

    def _now(self) -> float:
        return perf_counter() - self._began

    def _wait_s(self) -> float:
        due_s = min((caller.due_s for caller in self._waiting if caller.due_s is not None), default=LIMIT_S)
        return max(0.0, min(due_s, LIMIT_S) - self._now())

    def _begin_due(self) -> None:
        for caller in [one for one in self._waiting if one.due_s is not None and one.due_s <= self._now()]:
            self._waiting.discard(caller)
            if caller.repeats and not self._may_repeat():
                continue  # it became due before the others had finished
            self._asking.add(caller)
            try:
                caller.begin(self._now())
            except OSError as failure:
                self._give_up(caller, failure)
                continue
            if caller.connection.unsent:
                self._watch(caller, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _attend(self, caller: _Caller, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE and caller.connection.unsent:
                caller.connection.send(caller.connection.unsent)
                if not caller.connection.unsent:
                    self._watch(caller, selectors.EVENT_READ)
            reply = caller.read(self._now()) if events & selectors.EVENT_READ else None
        except BlockingIOError:
            return
        except (OSError, ValueError) as failure:
            self._give_up(caller, failure)
            return
        if reply is not None:
            self._replies.append(reply)
            self._asking.discard(caller)
            caller.go_on(reply.ended_s, self._may_repeat())
            if caller.due_s is not None:
                self._waiting.add(caller)

    def _may_repeat(self) -> bool:
        others = (one for one in (*self._waiting, *self._asking) if not one.client.is_endless)
        return self._now() < self._for_s or any(others)

    def _watch(self, caller: _Caller, events: int) -> None:
        self._selector.modify(caller.connection.socket, events, caller)

    def _give_up(self, caller: _Caller, failure: Exception) -> None:
        """Give up a client whose connection broke. Its unanswered request makes the run's figure fail."""
        self._replies.append(caller.reply(self._now(), 0, str(failure).encode()))
        self._waiting.discard(caller)
        self._asking.discard(caller)
        self._selector.unregister(caller.connection.socket)


def ask_together(address: str, clients: Sequence[Client], for_s: float = 0.0) -> list[Reply]:
    """The replies to all clients, in the order in which they completed. Endless clients go on for ``for_s`` seconds.

    Raises OSError if the server accepts no connection.
    """
    return ClosedLoop(address, clients, for_s).run()
