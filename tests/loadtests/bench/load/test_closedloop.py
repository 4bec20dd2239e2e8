"""The closed loop: every request has a reply, whatever the server does, and every run ends."""

import itertools
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from loadtests.bench.load import closedloop
from loadtests.bench.load.closedloop import Client, ask_together, split_any_answer
from loadtests.bench.load.openloop import render_request
from loadtests.http_client import Request
from tests.loadtests.answering import answering, send

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def echo(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send(handler, body, 500 if body == b"bad" else 200)


def requests(address: str, *bodies: bytes) -> list[bytes]:
    return [render_request(address, Request("/", "POST", {}, body)) for body in bodies]


def test_broken_connection_is_a_reply_of_status_0() -> None:
    """A connection that ends without an answer, or with something else, is a reply of status 0; other clients go on."""

    def end_some(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.close_connection = body == b"end"
        if body == b"confuse":
            handler.wfile.write(b"SSH-2.0\r\n\r\n")
        elif body == b"good":
            send(handler, body)

    with answering(end_some) as address:
        end, confuse, good = requests(address, b"end", b"confuse", b"good")
        replies = ask_together(address, [Client([end, good]), Client([good, good]), Client([confuse])])
    statuses = sorted((reply.client, reply.status) for reply in replies)
    assert statuses == [(0, 0), (1, 200), (1, 200), (2, 0)]
    assert [b"content length" in reply.body for reply in replies if reply.client == 2] == [True]


def test_silent_server_does_not_hold_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time is over the run ends, and what was asked then has a reply of status 0."""
    release, arrived = threading.Event(), []

    def keep(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        arrived.append(body)
        release.wait(60)

    # The time is over when both have been asked.
    monkeypatch.setattr(closedloop, "LIMIT_S", 0.1)
    monkeypatch.setattr(closedloop, "perf_counter", lambda: float(len(arrived) == 2))
    with answering(keep) as address:
        try:
            replies = ask_together(address, [Client(requests(address, b"a", b"b")), Client(requests(address, b"c"))])
        finally:
            release.set()
    assert sorted((reply.client, reply.number, reply.status) for reply in replies) == [(0, 0, 0), (1, 0, 0)]


def test_client_asks_one_request_at_a_time() -> None:
    """A client's next request goes out when the last is answered, with any status; others do not wait for it."""
    bodies = [b"bad", *[b"a"] * 19]
    with answering(echo) as address:
        replies = ask_together(address, [Client(requests(address, *bodies)) for _ in range(4)])
    assert len(replies) == 80
    for client in range(4):
        own = [reply for reply in replies if reply.client == client]
        assert [(reply.number, reply.body) for reply in own] == list(enumerate(bodies))
        assert [reply.status for reply in own] == [500] + [200] * 19
        assert all(last.ended_s <= next_.asked_s for last, next_ in itertools.pairwise(own))
    first_end = min(reply.ended_s for reply in replies if reply.number == 19)
    assert all(reply.asked_s < first_end for reply in replies if reply.number == 0)


def test_clients_arrive_when_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client asks before its start, and each waits its pauses."""
    ticks = itertools.count()
    monkeypatch.setattr(closedloop, "perf_counter", lambda: next(ticks) / 1000)
    with answering(echo) as address:
        (request,) = requests(address, b"a")
        clients = [Client([request], 0.05), Client([request], 0.0), Client([request] * 4, 0.0, 0.01)]
        replies = ask_together(address, clients)
    starts = {(reply.client, reply.number): reply.asked_s for reply in replies}
    assert starts[0, 0] >= 0.05
    assert starts[1, 0] < starts[0, 0]
    assert len({starts[2, number] for number in range(4)}) == 4


def test_endless_clients_end_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless clients stop when the others are done; without others, when their time is over."""
    asked: list[bytes] = []
    was_asked_often = threading.Event()

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        asked.append(body)
        if asked.count(b"again") == 3:
            was_asked_often.set()
        if body == b"once":
            was_asked_often.wait(60)
        send(handler, body)

    with answering(answer) as address:
        again, once = requests(address, b"again", b"once")
        replies = ask_together(address, [Client([again], is_endless=True), Client([once])])
        (last_s,) = (reply.ended_s for reply in replies if reply.client == 1)
        assert sum(reply.client == 0 for reply in replies) >= 3
        assert all(reply.asked_s <= last_s for reply in replies)
        # A clock that counts requests.
        asked.clear()
        monkeypatch.setattr(closedloop, "perf_counter", lambda: float(len(asked)))
        assert len(ask_together(address, [Client([again], is_endless=True)], for_s=5.0)) == 5


def test_first_event_of_a_stream_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of a stream is there before its end, and the end is the last chunk, not any piece before it."""
    was_read = threading.Event()

    def split(received: bytearray) -> tuple[int, bytes] | None:
        if b"data: 1\n\n" in received:
            was_read.set()
        return split_any_answer(received)

    def stream(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.wfile.write(CHUNKED + b"9\r\ndata: 1\n\n\r\n")
        handler.wfile.flush()
        was_read.wait(60)
        handler.wfile.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    monkeypatch.setattr(closedloop, "split_any_answer", split)
    with answering(stream) as address:
        (reply,) = ask_together(address, [Client(requests(address, b"a"))])
    assert (reply.status, reply.body.count(b"data: ")) == (200, 2)
    assert reply.asked_s < reply.first_s < reply.ended_s


def test_large_request_is_sent_whole() -> None:
    """What the kernel does not take at once goes out as it takes more."""
    with answering(echo) as address:
        (reply,) = ask_together(address, [Client(requests(address, b"x" * 8_000_000))])
    assert (reply.status, len(reply.body)) == (200, 8_000_000)


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (b"", None),
        (CHUNKED + b"3\r\nabc\r\n", None),
        (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", (200, b"3\r\nabc\r\n0\r\n\r\n")),
        (b"HTTP/1.1 429 No\r\ncontent-length: 2\r\n\r\nab", (429, b"ab")),
    ],
)
def test_answers_are_split(received: bytes, answer: object) -> None:
    """An answer counts when all of it is there, with a length or in chunks."""
    assert split_any_answer(bytearray(received)) == answer
