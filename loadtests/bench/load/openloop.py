"""An open-loop load generator: it sends on a schedule, whether or not earlier requests are answered.

A closed loop such as wrk slows down with the server and so never overloads it. Here request ``n`` is due at ``n /
rate``. Its time counts from then until its answer is read; both may be late by up to a tick. Requests that find no free
connection are counted.

It runs as a process: ``python -m loadtests.bench.load.openloop`` reads a ``Plan`` as JSON from its input and writes an
``Outcome`` as JSON. Requests, connections and the wait for the last answers are limited.
"""

import base64
import json
import random
import selectors
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter, process_time, sleep
from urllib.parse import urlsplit

from loadtests.http_client import Request

MAX_REQUESTS = 200_000
TICK_S = 2e-3
"""How often the generator checks its schedule and sockets. It shares the cores with the server: waking for each event
took 0.13 of a core for 1,600 requests of 49 KB a second, instead of 0.07."""
LAST_ANSWERS_S = 5.0
GRACE_S = 30.0
READ_BYTES = 65536
SOURCE_ROOT = Path(__file__).resolve().parents[2]


class GeneratorFailed(Exception):
    """The generator ended without an outcome; the text has the end of its output."""


@dataclass(frozen=True)
class Plan:
    """``rate_per_s`` requests for ``duration_s``, ``burst`` at once, on at most ``connections``.

    ``odd`` replaces ``usual`` in one of ``odd_every`` requests, at random; 0: never. Both are whole HTTP requests. A
    right answer to the usual one has status 200 and contains ``expected``.
    """

    address: str
    usual: bytes
    expected: bytes
    rate_per_s: float
    duration_s: float
    connections: int
    burst: int = 1
    odd: bytes = b""
    odd_every: int = 0
    seed: int = 7

    def write_json(self) -> str:
        document = asdict(self)
        return json.dumps({k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in document.items()})

    @classmethod
    def read_json(cls, text: str) -> "Plan":
        document = json.loads(text)
        for name in ("usual", "expected", "odd"):
            document[name] = base64.b64decode(document[name])
        return cls(**document)


@dataclass
class Outcome:
    """The result. ``times_s`` has, for each status, the seconds from when each request was due to its answer."""

    sent: int = 0
    not_sent: int = 0
    unanswered: int = 0
    wrong: int = 0
    usual_failed: int = 0
    odd_sent: int = 0
    odd_statuses: dict[str, int] = field(default_factory=dict)
    times_s: dict[str, list[float]] = field(default_factory=dict)
    elapsed_s: float = 0.0
    cpu_s: float = 0.0

    def count_within(self, limit_s: float, status: int = 200) -> int:
        return sum(time_s <= limit_s for time_s in self.times_s.get(str(status), ()))

    def count(self, status: int) -> int:
        return len(self.times_s.get(str(status), ()))


def render_request(address: str, request: Request) -> bytes:
    """The bytes of a request on a kept-alive connection."""
    headers = {"Host": urlsplit(address).netloc, **request.headers, "Content-Length": str(len(request.body))}
    head = f"{request.method} {request.path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    return head.encode() + b"\r\n" + request.body


def split_answer(received: bytes) -> tuple[int, bytes, bool] | None:
    """Status, body and whether the connection is kept, once an answer is complete. Raises ValueError."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    head = head.lower()
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if not found or not head.startswith(b"http/1.1 "):
        raise ValueError("expected an HTTP/1.1 answer with a content length")
    size = int(rest.partition(b"\r\n")[0])
    if len(body) < size:
        return None
    return int(head[9:12]), body[:size], b"\r\nconnection: close" not in head


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that ``share`` of the values do not exceed; None without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


class Connection:
    """One connection with at most one request under way."""

    def __init__(self, place: tuple[str, int]) -> None:
        self.socket = socket.create_connection(place, timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.unsent = b""
        self.received = bytearray()
        self.due_s = 0.0
        self.is_odd = False

    def send(self, content: bytes) -> None:
        """Pass on what the kernel accepts; the rest stays in ``unsent``."""
        self.unsent = content
        try:
            self.unsent = content[self.socket.send(content) :]
        except BlockingIOError:
            return


class Generator:
    """Sends by the plan. ``run`` returns when everything is answered or the time for the last answers is over."""

    def __init__(self, plan: Plan) -> None:
        if plan.rate_per_s * plan.duration_s > MAX_REQUESTS:
            raise ValueError(f"expected at most {MAX_REQUESTS} requests")
        self.plan = plan
        self.outcome = Outcome()
        self._random = random.Random(plan.seed)
        parts = urlsplit(plan.address)
        self._place = (parts.hostname or "", parts.port or 80)
        self._selector = selectors.DefaultSelector()
        self._idle = [Connection(self._place) for _ in range(plan.connections)]
        for connection in self._idle:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._busy: set[Connection] = set()

    def run(self) -> Outcome:
        plan, began, began_cpu = self.plan, perf_counter(), process_time()
        total = int(plan.rate_per_s * plan.duration_s)
        last_s = began + plan.duration_s + LAST_ANSWERS_S
        number, due_s = 0, began
        while number < total or self._busy:
            now = perf_counter()
            while number < total and due_s <= now:
                self._begin(due_s)
                number += 1
                due_s = began + number // plan.burst * plan.burst / plan.rate_per_s
            if now > last_s:
                break
            sleep(TICK_S)
            for key, events in self._selector.select(0):
                self._go_on(key.data, events)
        self.outcome.unanswered += len(self._busy)
        self.outcome.elapsed_s, self.outcome.cpu_s = perf_counter() - began, process_time() - began_cpu
        for connection in [*self._busy, *self._idle]:
            connection.socket.close()
        return self.outcome

    def _begin(self, due_s: float) -> None:
        plan = self.plan
        is_odd = plan.odd_every > 0 and self._random.randrange(plan.odd_every) == 0
        if not self._idle:
            self.outcome.not_sent += 1
            return
        connection = self._idle.pop()
        self._busy.add(connection)
        connection.due_s, connection.is_odd = due_s, is_odd
        self.outcome.sent += 1
        self.outcome.odd_sent += is_odd
        try:
            connection.send(plan.odd if is_odd else plan.usual)
        except OSError:
            self._replace(connection)
            return
        if connection.unsent:
            self._selector.modify(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)

    def _go_on(self, connection: Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE and connection.unsent:
                connection.send(connection.unsent)
                if not connection.unsent:
                    self._selector.modify(connection.socket, selectors.EVENT_READ, connection)
            if events & selectors.EVENT_READ:
                content = connection.socket.recv(READ_BYTES)
                if not content:
                    raise ConnectionResetError
                connection.received += content
                answer = split_answer(bytes(connection.received))
                if answer is not None:
                    self._finish(connection, *answer)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._replace(connection)

    def _finish(self, connection: Connection, status: int, body: bytes, is_kept: bool) -> None:
        outcome = self.outcome
        if connection.is_odd:
            outcome.odd_statuses[str(status)] = outcome.odd_statuses.get(str(status), 0) + 1
        else:
            outcome.times_s.setdefault(str(status), []).append(perf_counter() - connection.due_s)
            outcome.usual_failed += status != 200
            outcome.wrong += status == 200 and self.plan.expected not in body
        connection.received.clear()
        self._busy.discard(connection)
        if is_kept and not connection.unsent:
            self._idle.append(connection)
        else:
            self._replace(connection)

    def _replace(self, connection: Connection) -> None:
        """Open a new connection for one that has ended. A request that was under way on it has no answer."""
        if connection in self._busy:
            self._busy.discard(connection)
            self.outcome.unanswered += 1
        elif connection in self._idle:
            self._idle.remove(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        fresh = Connection(self._place)
        self._selector.register(fresh.socket, selectors.EVENT_READ, fresh)
        self._idle.append(fresh)


def generate(plan: Plan) -> Outcome:
    """Run the plan in a process of its own; raises GeneratorFailed."""
    command = [sys.executable, "-m", "loadtests.bench.load.openloop"]
    limit_s = plan.duration_s + LAST_ANSWERS_S + GRACE_S
    try:
        done = subprocess.run(
            command, input=plan.write_json(), capture_output=True, text=True, timeout=limit_s, cwd=SOURCE_ROOT
        )
    except subprocess.TimeoutExpired:
        raise GeneratorFailed(f"the open-loop generator was still running after {limit_s:.0f} s") from None
    if done.returncode != 0:
        raise GeneratorFailed(f"the open-loop generator ended with code {done.returncode}: {done.stderr[-500:]}")
    return Outcome(**json.loads(done.stdout))


def main() -> None:
    """The main function of the process: plan in, outcome out."""
    outcome = Generator(Plan.read_json(sys.stdin.read())).run()
    sys.stdout.write(json.dumps(asdict(outcome)))


def count_statuses(outcome: Outcome) -> Counter[str]:
    return Counter({status: len(times_s) for status, times_s in outcome.times_s.items()})


if __name__ == "__main__":
    main()
