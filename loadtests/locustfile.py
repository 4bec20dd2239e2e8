"""Locust users. ``sluice loadtest`` runs this file. Locust can run it too, with its page or distributed:

locust -f loadtests/locustfile.py --host http://127.0.0.1:3000 --model digits TaskUser

A user sends its next request as soon as the last one is answered, or at ``--rate``: then latency counts from when a
request was due, so a slow answer does not hide the requests that it delayed. Bodies are made before the first request.
Every answer is checked, because a fast wrong answer is a failure.
"""

import csv
import json
import logging
import random
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TextIO

import gevent
import gevent.event
import locust.stats
from locust import FastHttpUser, User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import WorkerRunner
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV

from loadtests.answer import check_event, check_outputs, check_status, check_task, check_tensors
from loadtests.http_client import Unreachable, key_headers
from loadtests.sending.body import Body
from loadtests.sending.grpc_client import find_call, open_channel
from loadtests.sending.inference_message import decode_message
from loadtests.sending.load import Load, make_load
from loadtests.sending.schedule import Schedule
from loadtests.sending.traces import Traces
from loadtests.signature import NoModel, Signature, find_model
from loadtests.wire import WrongAnswer


class Run:
    """What the users of this process share; Locust gives them no other place of their own."""

    load: Load | None = None
    grpc_address = ""
    schedule: Schedule | None = None
    """None: a closed loop."""
    first_events_s: list[float]

    def __init__(self, traced_share: float = 0.0) -> None:
        self.traces = Traces(traced_share)
        self.all_started = gevent.event.Event()
        self.began_s, self.began_cpu_s = perf_counter(), process_time()
        self.ended_s: float | None = None
        self.first_events_s = []

    def describe(self) -> dict[str, Any]:
        """What the generator itself did: its cores, requests that it could not send, times to the first event."""
        now_s = self.ended_s or perf_counter()
        elapsed_s = max(now_s - self.began_s, 1e-9)
        not_sent = 0 if self.schedule is None else self.schedule.count_not_sent(elapsed_s)
        return {
            "cores": (process_time() - self.began_cpu_s) / max(perf_counter() - self.began_s, 1e-9),
            "not_sent": not_sent,
            "first_events_s": sorted(self.first_events_s),
        }


_runs: list[Run] = []  # empty until test_start


def bucket_response_time(response_time: int | float) -> float:
    """Milliseconds with three significant digits; Locust's own two would let 254 ms pass a limit of 250 ms."""
    return float(f"{response_time:.3g}")


_stats: Any = locust.stats
_stats.bucket_response_time = bucket_response_time  # Locust's documented way to choose the resolution


def add_arguments(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("Sluice")
    group.add_argument(
        "--model",
        default="",
        env_var="LOADTEST_MODEL",
        help="model to ask; without it, the first ready one that the server lists",
    )
    group.add_argument("--rows-per-request", type=int, default=1, env_var="LOADTEST_ROWS", help="rows in each request")
    group.add_argument("--body", default="", metavar="FILE", help="send this file in place of made requests")
    group.add_argument("--rate", type=float, default=0.0, help="requests per second of an open loop; 0: a closed loop")
    group.add_argument("--grpc", default="", metavar="HOST:PORT", help="address of gRPC")
    group.add_argument("--trace", type=float, default=0.0, help="share of the requests that are traced, 0 to 1")
    group.add_argument(
        "--figures", default="", metavar="PREFIX", help="write PREFIX_stats.csv and PREFIX_failures.csv at the end"
    )


def prepare(environment: Environment, **_: object) -> None:
    """Make the bodies when a run begins from Locust's page, or in a worker; else they are there already."""
    if not environment.parsed_options or not environment.parsed_options.headless:
        make_run(environment)


def make_run(environment: Environment) -> None:
    """Make the bodies. If that fails, the run ends at once."""
    _runs.clear()
    options: Any = environment.parsed_options
    address = environment.host or ""
    protocols = {user.protocol for user in environment.user_classes if issubclass(user, Protocol)}
    try:
        model = options.model or find_model(address)
        run = Run(options.trace)
        run.load = make_load(
            address, model, protocols, options.rows_per_request, Path(options.body) if options.body else None
        )
        run.grpc_address = options.grpc
        run.schedule = Schedule(options.rate) if options.rate else None
        _runs.append(run)
    except (NoModel, Unreachable) as failure:
        logging.error("%s", failure)
        environment.process_exit_code = 1
        if environment.runner is not None:
            environment.runner.quit()


def begin(**_: object) -> None:
    """All users are there: the open loop starts now."""
    for run in _runs:
        run.began_s, run.began_cpu_s = perf_counter(), process_time()
        run.all_started.set()


def end(**_: object) -> None:
    for run in _runs:
        run.ended_s = perf_counter()


def send_traces(**_: object) -> None:
    for run in _runs:
        run.traces.close()


def write_figures(environment: Environment, **_: object) -> None:
    """Write the final CSV files. Locust's own ``--csv`` files can lack the last second, and all of a short run."""
    options: Any = environment.parsed_options
    if not options.figures or isinstance(environment.runner, WorkerRunner):
        return
    with _open_csv(f"{options.figures}_stats.csv") as file:
        StatsCSV(environment, PERCENTILES_TO_REPORT).requests_csv(csv.writer(file))
    with _open_csv(f"{options.figures}_failures.csv") as file:
        writer = csv.writer(file)
        writer.writerow(("Name", "Error", "Occurrences"))
        for failure in environment.stats.errors.values():
            # A worker sends text; Locust's own file would wrap each text in the name of its exception class.
            writer.writerow((failure.name, str(failure.error), failure.occurrences))
    entries = {entry.name: entry for entry in environment.stats.entries.values()}
    entries[environment.stats.total.name] = environment.stats.total
    quantiles_ms = {n: [e.get_response_time_percentile(q) for q in (0.5, 0.95, 0.99)] for n, e in entries.items()}
    for run in _runs:
        facts = run.describe() | {"quantiles_ms": quantiles_ms}
        Path(f"{options.figures}_generator.json").write_text(json.dumps(facts))


def _open_csv(path: str) -> TextIO:
    return Path(path).open("w", newline="", encoding="utf-8")


class Protocol(User):
    """The base of all users: what is sent, and from when the time of a request counts."""

    abstract = True
    protocol = ""
    due_s: float | None = None
    """When the current request was due, by ``perf_counter``; None in a closed loop."""

    def on_start(self) -> None:
        if not _runs or _runs[0].load is None:
            raise StopUser
        self.facts, self.load = _runs[0], _runs[0].load
        if self.facts.schedule is not None:
            self.facts.all_started.wait()
            gevent.sleep(self.wait_time())

    def wait_time(self) -> float:
        """Seconds until the next request, which an open loop takes from its schedule."""
        if self.facts.schedule is None:
            return 0.0
        self.due_s = self.facts.began_s + self.facts.schedule.take()
        return max(0.0, self.due_s - perf_counter())

    def begin(self) -> float:
        """The time from which a request that is sent now counts."""
        return perf_counter() if self.due_s is None else self.due_s

    def name(self) -> str:
        """The name of the route, which is short because it stands in tables."""
        return f"/{self.load.path(self.protocol).rsplit('/')[-1]} ({self.protocol})"

    def choose(self) -> Body:
        return random.choice(self.load.bodies[self.protocol])


class HttpUser(Protocol, FastHttpUser):
    """A user that sends one request and reads one answer over HTTP."""

    abstract = True
    connection_timeout = 10.0
    network_timeout = 30.0

    @task
    def ask(self) -> None:
        body, path = self.choose(), self.load.path(self.protocol)
        began_s = self.begin()
        with (
            self.facts.traces.span(self.name()) as span,
            self.client.post(
                path,
                data=body.content,  # type: ignore[arg-type]  # bytes are sent as they are, though Locust declares text
                headers={**body.headers, **span.headers, **key_headers()},
                name=self.name(),
                catch_response=True,
                stream=self.protocol == "stream",
            ) as response,
        ):
            try:
                check_status(response.status_code)
                self.check(response, began_s)
            except WrongAnswer as failure:
                span.failure = str(failure)
                response.failure(span.failure)
            if self.due_s is not None or self.protocol == "stream":
                response.request_meta["response_time"] = (perf_counter() - began_s) * 1e3

    def check(self, response: Any, began_s: float) -> None:
        """Raises WrongAnswer."""
        raise NotImplementedError


class TaskUser(HttpUser):
    """A user that sends rows as people do, to the route of the model's task."""

    protocol = "task"

    def name(self) -> str:
        return self.load.route

    def check(self, response: Any, began_s: float) -> None:
        check_task(self.load.task, response.content or b"", self.load.rows)


class JsonUser(HttpUser):
    """A user that sends tensors as JSON by the Open Inference Protocol."""

    protocol = "json"

    def check(self, response: Any, began_s: float) -> None:
        if self.load.signature is not None and self.load.rows is not None:
            headers = {key.lower(): value for key, value in (response.headers or {}).items()}
            check_outputs(headers, response.content or b"", self.load.signature, self.load.rows)


class BinaryUser(JsonUser):
    """A user that sends tensors as bytes by the Open Inference Protocol."""

    protocol = "binary"


class StreamUser(HttpUser):
    """A user that reads an answer step by step, as server-sent events. Its time ends with the last one."""

    protocol = "stream"

    def check(self, response: Any, began_s: float) -> None:
        events = 0
        while line := response._response.readline(b"\n"):
            if check_event(line):
                events += 1
                if events == 1:
                    self.facts.first_events_s.append(perf_counter() - began_s)
        if events < 2:
            raise WrongAnswer("the stream ended before it had an event and its end")


class MessageUser(Protocol):
    """A user that does not speak plain HTTP, and so reports its requests itself."""

    abstract = True

    @property
    def expected(self) -> tuple[Signature, int]:
        assert self.load.signature is not None  # noqa: S101  # messages are not bodies of the user's own
        return self.load.signature, self.load.rows or 0

    def send(self, content: bytes, headers: Mapping[str, str]) -> bytes:
        """Send a message and check its answer. Raises WrongAnswer."""
        raise NotImplementedError

    @task
    def ask(self) -> None:
        content = self.choose().content
        began_s, answer, failure = self.begin(), b"", None
        with self.facts.traces.span(self.name()) as span:
            try:
                answer = self.send(content, {**span.headers, **key_headers()})
            except WrongAnswer as error:
                failure, span.failure = error, str(error)
        self.environment.events.request.fire(
            request_type=self.protocol,
            name=self.name(),
            response_time=(perf_counter() - began_s) * 1e3,
            response_length=len(answer),
            exception=failure,
        )


class GrpcUser(MessageUser):
    """A user that sends tensors as bytes over gRPC, by the Open Inference Protocol."""

    protocol = "grpc"
    channel: Any = None

    def on_start(self) -> None:
        super().on_start()
        import grpc

        self.channel = open_channel(self.facts.grpc_address)
        self.call = find_call(self.channel)
        self.failure: type[Exception] = grpc.RpcError

    def on_stop(self) -> None:
        if self.channel is not None:
            self.channel.close()

    def send(self, content: bytes, headers: Mapping[str, str]) -> bytes:
        try:
            answer: bytes = self.call(content, timeout=HttpUser.network_timeout, metadata=tuple(headers.items()))
        except self.failure as error:
            raise WrongAnswer(f"gRPC status {error.code().name}") from None  # type: ignore[attr-defined]
        check_tensors(decode_message(answer), *self.expected)
        return answer


class LiveUser(MessageUser):
    """A user that sends tensors as JSON over a WebSocket of its own, a message after the answer to the last one."""

    protocol = "live"
    socket: Any = None

    def send(self, content: bytes, headers: Mapping[str, str]) -> bytes:
        import websocket

        try:
            if self.socket is None:
                address = f"ws{(self.host or '').removeprefix('http')}{self.load.live_path}"
                self.socket = websocket.create_connection(
                    address, timeout=HttpUser.network_timeout, header=dict(headers)
                )
            self.socket.send(content.decode())
            answer = self.socket.recv()
        except (OSError, websocket.WebSocketException) as error:
            self.on_stop()
            raise WrongAnswer(f"the WebSocket failed: {type(error).__name__}") from None
        received: bytes = answer.encode() if isinstance(answer, str) else answer
        check_outputs({}, received, *self.expected)
        return received

    def on_stop(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def set_up(environment: Environment, **_: object) -> None:
    """Let gRPC wait without blocking the other users, make the bodies, and let the run time count from then.

    The clock of gevent's loop stands still meanwhile, so that a run would be too short by as much.
    """
    if any(issubclass(user, GrpcUser) for user in environment.user_classes):
        from grpc.experimental.gevent import init_gevent

        init_gevent()
    if environment.parsed_options and environment.parsed_options.headless:
        make_run(environment)
        if not _runs:
            raise SystemExit(1)
    gevent.get_hub().loop.update_now()


_events: Any = events  # Locust's hooks have no types
_events.init_command_line_parser.add_listener(add_arguments)
_events.init.add_listener(set_up)
_events.test_start.add_listener(prepare)
_events.spawning_complete.add_listener(begin)
_events.test_stopping.add_listener(end)
_events.quitting.add_listener(write_figures)
_events.quitting.add_listener(send_traces)
