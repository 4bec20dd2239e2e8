"""The open-loop generator: its schedule, its counts, and that it ends."""

import json
import threading
from http.server import BaseHTTPRequestHandler

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
from tests.loadtests.answering import answering, send

NOBODY = "http://127.0.0.1:1"


def make_plan(address: str, requests: int = 40, **changes: object) -> Plan:
    """So many requests, all at once, with a minute for the answers: the run ends when the last is there."""
    usual = render_request(address, Request("/", "POST", {}, b"good"))
    odd = render_request(address, Request("/", "POST", {}, b"bad"))
    rates = {"rate_per_s": requests / 60, "duration_s": 60.0, "burst": requests, "connections": requests}
    return Plan(**{"address": address, "usual": usual, "odd": odd, "expected": b"right", **rates, **changes})


def test_every_request_is_counted_once() -> None:
    """Answers are counted by status; the odd ones apart, so that they cannot hide a failing neighbour."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        send(handler, b"all right", 200 if body == b"good" else 500)

    with answering(answer) as address:
        outcome = Generator(make_plan(address, odd_every=5)).run()
    assert (outcome.sent, outcome.not_sent) == (40, 0)
    assert 0 < outcome.odd_sent < outcome.sent
    assert outcome.odd_statuses == {"500": outcome.odd_sent}
    assert outcome.count(200) == outcome.sent - outcome.odd_sent
    assert (outcome.usual_failed, outcome.wrong, outcome.unanswered) == (0, 0, 0)


@pytest.mark.parametrize(("status", "body", "wrong", "failed"), [(200, b"other", 4, 0), (503, b"right", 0, 4)])
def test_wrong_answer_is_no_success(status: int, body: bytes, wrong: int, failed: int) -> None:
    """An answer of 200 with other bytes is wrong, and one of another status has failed."""
    with answering(lambda handler, _: send(handler, body, status)) as address:
        outcome = Generator(make_plan(address, 4)).run()
    assert (outcome.count(status), outcome.wrong, outcome.usual_failed) == (4, wrong, failed)


def test_connection_that_ends_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose connection ends is unanswered, and the next one goes out on a fresh connection."""

    def end(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.close_connection = True

    with answering(end) as address:
        generator = Generator(make_plan(address, connections=1, burst=1, rate_per_s=1.0, duration_s=3.0))
        # A request is due when the one before it has ended.
        monkeypatch.setattr(openloop, "perf_counter", lambda: float(generator.outcome.unanswered))
        outcome = generator.run()
    assert (outcome.sent, outcome.not_sent, outcome.unanswered) == (3, 0, 3)


def test_silent_server_does_not_hold_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """When no connection is free a request is counted as not sent; waiting for answers ends."""
    monkeypatch.setattr(openloop, "LAST_ANSWERS_S", 0.1)
    release = threading.Event()
    with answering(lambda handler, body: release.wait(60) and None) as address:
        try:
            outcome = Generator(make_plan(address, rate_per_s=1000.0, duration_s=0.1, connections=3)).run()
        finally:
            release.set()
    assert (outcome.sent, outcome.not_sent, outcome.unanswered) == (3, 97, 3)


def test_generator_is_a_process_of_its_own() -> None:
    """Plan and outcome cross to another process and back; a generator that fails is reported with its text."""
    with answering(lambda handler, body: send(handler, b"right")) as address:
        outcome = generate(make_plan(address, 4))
    assert outcome.count(200) == outcome.sent == 4
    assert 0 < outcome.cpu_s < outcome.elapsed_s
    with pytest.raises(GeneratorFailed, match="ConnectionRefusedError"):
        generate(make_plan(NOBODY))


def test_generator_is_bounded() -> None:
    """A plan beyond the bound on requests is refused before anything is sent."""
    with pytest.raises(ValueError, match="at most"):
        Generator(make_plan(NOBODY, rate_per_s=1e6))


def test_plan_survives_json() -> None:
    """A plan's bytes are the same on the other side."""
    plan = make_plan(NOBODY, expected=bytes(range(256)))
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
    """What has no length cannot be told apart from the next answer."""
    with pytest.raises(ValueError, match="content length"):
        split_answer(b"HTTP/1.1 200 OK\r\n\r\n")


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([3.0, 1.0, 2.0], 0.5, 2.0), ([1.0], 0.99, 1.0), ([], 0.5, None)]
)
def test_quantiles(values: list[float], share: float, expected: float | None) -> None:
    """A quantile is a value that was measured; of nothing there is none."""
    assert quantile(values, share) == expected


def test_late_answers_do_not_count_as_served() -> None:
    """Only answers within the deadline are a share of the capacity; refusals of each kind have one p99."""
    outcome = Outcome(sent=6, times_s={"200": [0.1, 0.2, 0.3], "429": [0.001], "504": [0.25]}, elapsed_s=2, cpu_s=1)
    found = summarise_overload(make_plan(NOBODY, duration_s=1.0), outcome, capacity_per_s=4.0, deadline_s=0.25)
    assert (found.share, found.late, found.refusal_p99_s) == (0.5, 1, 0.25)
    assert found.statuses == {"200": 3, "429": 1, "504": 1}
    assert found.generator_cores == 0.5


def test_unanswered_neighbour_has_failed() -> None:
    """A neighbour of a poisoned row fails by status, by wrong bytes, or by no answer at all."""
    outcome = Outcome(sent=100, odd_sent=2, usual_failed=1, wrong=2, unanswered=3, odd_statuses={"500": 2})
    found = summarise_poisoning(outcome)
    assert (found.failed, found.neighbours) == (6, 98)


def test_deadline_is_in_the_request() -> None:
    """The deadline is the protocol's timeout in microseconds; the tensor's bytes and the header's length fit."""
    tiny = MODELS["tiny"]
    changed = set_deadline(PEERS["sluice"].request(tiny, BINARY, tiny.make_rows(1)), 0.25)
    length = int(changed.headers[HEADER_LENGTH])
    assert json.loads(changed.body[:length])["parameters"] == {"binary_data_output": True, "timeout": 250_000}
    assert changed.body[length:] == tiny.make_rows(1).tobytes()
