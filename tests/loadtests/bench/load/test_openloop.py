"""The open-loop generator: its schedule, its counts, and that it ends."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loadtests.bench.load import openloop
from loadtests.bench.load.openloop import (
    Generator,
    GeneratorFailed,
    Outcome,
    Plan,
    generate,
    quantile,
    render_request,
    split_answer,
)
from loadtests.bench.measurement import set_deadline
from loadtests.bench.models.model import MODELS
from loadtests.bench.peer import BINARY
from loadtests.bench.peers import PEERS
from loadtests.bench.results.figures import summarise_overload, summarise_poisoning
from loadtests.http_client import Request
from loadtests.wire import HEADER_LENGTH

Reply = Callable[[bytes], tuple[int, bytes] | None]


@contextmanager
def answering(reply: Reply) -> Iterator[str]:
    """A server that answers each body with what ``reply`` says, or, for None, ends the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            answer = reply(self.rfile.read(int(self.headers["content-length"])))
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer[0])
            self.send_header("content-length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def make_plan(address: str, **changes: object) -> Plan:
    usual = render_request(address, Request("/", "POST", {}, b"good"))
    odd = render_request(address, Request("/", "POST", {}, b"bad"))
    values = {"rate_per_s": 200.0, "duration_s": 0.5, "connections": 8, "expected": b"right", **changes}
    return Plan(address=address, usual=usual, odd=odd, **values)


def test_every_request_is_counted_once() -> None:
    """Answers are counted by status; the odd ones apart, so that they cannot hide a failing neighbour."""
    with answering(lambda body: (200, b"all right") if body == b"good" else (500, b"")) as address:
        outcome = Generator(make_plan(address, odd_every=5)).run()
    assert outcome.sent + outcome.not_sent == 100
    assert 0 < outcome.odd_sent < outcome.sent
    assert outcome.odd_statuses == {"500": outcome.odd_sent}
    assert outcome.count(200) == outcome.sent - outcome.odd_sent
    assert (outcome.usual_failed, outcome.wrong, outcome.unanswered) == (0, 0, 0)


def test_wrong_answer_is_no_success() -> None:
    """An answer of 200 with other bytes is wrong, and one of another status has failed."""
    with answering(lambda body: (200, b"other")) as address:
        outcome = Generator(make_plan(address)).run()
    assert outcome.wrong == outcome.sent > 0
    with answering(lambda body: (503, b"right")) as address:
        outcome = Generator(make_plan(address)).run()
    assert outcome.wrong == 0
    assert outcome.usual_failed == outcome.count(503) == outcome.sent > 0


def test_connection_that_ends_is_replaced() -> None:
    """A request whose connection ends is unanswered, and the next one goes out on a fresh connection."""
    with answering(lambda body: None) as address:
        outcome = Generator(make_plan(address, connections=1, rate_per_s=20.0)).run()
    assert outcome.unanswered == outcome.sent > 1


def test_silent_server_does_not_hold_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """When no connection is free a request is counted as not sent; waiting for answers ends."""
    monkeypatch.setattr(openloop, "LAST_ANSWERS_S", 0.1)
    release = threading.Event()

    def wait(body: bytes) -> None:
        release.wait(20)

    with answering(wait) as address:
        try:
            outcome = Generator(make_plan(address, connections=3)).run()
        finally:
            release.set()
    assert (outcome.sent, outcome.not_sent, outcome.unanswered) == (3, 97, 3)


def test_generator_is_a_process_of_its_own() -> None:
    """Plan and outcome cross to another process and back; a generator that fails is told with its text."""
    with answering(lambda body: (200, b"right")) as address:
        outcome = generate(make_plan(address, burst=4))
    assert outcome.count(200) == outcome.sent > 0
    assert 0 < outcome.cpu_s < outcome.elapsed_s
    with pytest.raises(GeneratorFailed, match="ConnectionRefusedError"):
        generate(make_plan("http://127.0.0.1:1"))


def test_generator_is_bounded() -> None:
    """A plan beyond the bound on requests is refused before anything is sent."""
    with pytest.raises(ValueError, match="at most"):
        Generator(make_plan("http://127.0.0.1:1", rate_per_s=1e6, duration_s=10.0))


def test_plan_survives_json() -> None:
    """A plan's bytes are the same on the other side."""
    plan = make_plan("http://127.0.0.1:1", expected=bytes(range(256)))
    assert Plan.read_json(plan.write_json()) == plan


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", (200, b"abc", True)),
        (b"HTTP/1.1 429 No\r\ncontent-length: 0\r\nConnection: Close\r\n\r\n", (429, b"", False)),
    ],
)
def test_answers_are_split(received: bytes, answer: object) -> None:
    """An answer counts when all of it is there, whatever the case of its headers."""
    assert split_answer(received) == answer


def test_answer_without_length_is_refused() -> None:
    """What has no length, or is not HTTP/1.1, cannot be told apart from the next answer."""
    for received in (b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0\r\n\r\n"):
        with pytest.raises(ValueError, match="content length"):
            split_answer(received)


def test_quantiles() -> None:
    """A quantile is a value that was measured; of nothing there is none."""
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0], 0.99) == 1.0
    assert quantile([], 0.5) is None


def test_late_answers_do_not_count_as_served() -> None:
    """Only answers within the deadline are a share of the capacity; refusals of each kind have one p99."""
    outcome = Outcome(sent=6, times_s={"200": [0.1, 0.2, 0.3], "429": [0.001], "504": [0.25]}, elapsed_s=2, cpu_s=1)
    plan = make_plan("http://127.0.0.1:1", duration_s=1.0)
    found = summarise_overload(plan, outcome, capacity_per_s=4.0, deadline_s=0.25)
    assert (found.share, found.late, found.refusal_p99_s) == (0.5, 1, 0.25)
    assert found.statuses == {"200": 3, "429": 1, "504": 1}
    assert found.generator_cores == 0.5


def test_unanswered_neighbour_has_failed() -> None:
    """A neighbour of a poisoned row fails by status, by wrong bytes, or by no answer at all."""
    outcome = Outcome(sent=100, odd_sent=2, usual_failed=1, wrong=2, unanswered=3, odd_statuses={"500": 2})
    assert summarise_poisoning(outcome).failed == 6
    assert summarise_poisoning(outcome).neighbours == 98


def test_deadline_is_in_the_request() -> None:
    """The deadline is the protocol's timeout in microseconds; the tensor's bytes and the header's length fit."""
    tiny = MODELS["tiny"]
    request = PEERS["sluice"].request(tiny, BINARY, tiny.make_rows(1))
    changed = set_deadline(request, 0.25)
    length = int(changed.headers[HEADER_LENGTH])
    assert json.loads(changed.body[:length])["parameters"] == {"binary_data_output": True, "timeout": 250_000}
    assert changed.body[length:] == tiny.make_rows(1).tobytes()
