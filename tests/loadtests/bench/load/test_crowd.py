"""The clients of a crowd: that all they ask is accounted for, whatever the server does, and that they end."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest

from loadtests.bench.load import crowd
from loadtests.bench.load.crowd import Client, ask_together, split_any_answer
from loadtests.bench.load.openloop import render_request
from loadtests.http_client import Request

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server that leaves the answer to each body to ``answer``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            answer(self, self.rfile.read(int(self.headers["content-length"])))

        def log_message(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def echo(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send(handler, body, 500 if body == b"bad" else 200)


def requests(address: str, *bodies: bytes) -> list[bytes]:
    return [render_request(address, Request("/", "POST", {}, body)) for body in bodies]


def test_broken_connection_is_a_reply_of_status_0() -> None:
    """A connection that ends without an answer gives a reply of status 0, and the other clients go on."""

    def end_some(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if body == b"end":
            handler.close_connection = True
        else:
            send(handler, body)

    with answering(end_some) as address:
        one, two = requests(address, b"end", b"good")
        replies = ask_together(address, [Client([one, two]), Client([two, two])])
    assert sorted((reply.client, reply.status) for reply in replies) == [(0, 0), (1, 200), (1, 200)]


def test_answer_that_is_none_is_a_reply_of_status_0() -> None:
    """What cannot be read as an answer counts as none."""

    def confuse(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.wfile.write(b"SSH-2.0\r\n\r\n")

    with answering(confuse) as address:
        (reply,) = ask_together(address, [Client(requests(address, b"a"))])
    assert (reply.status, b"content length" in reply.body) == (0, True)


def test_silent_server_does_not_hold_the_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time is over the run ends, and what was asked then has a reply of status 0."""
    monkeypatch.setattr(crowd, "LIMIT_S", 0.1)
    release = threading.Event()
    with answering(lambda handler, body: release.wait(20) and None) as address:
        try:
            replies = ask_together(address, [Client(requests(address, b"a", b"b")), Client(requests(address, b"c"))])
        finally:
            release.set()
    assert [(reply.client, reply.number, reply.status) for reply in sorted(replies, key=lambda one: one.client)] == [
        *((0, 0, 0), (1, 0, 0)),
    ]


def test_other_statuses_are_replies() -> None:
    """An error is an answer with its status, and the client asks on."""
    with answering(echo) as address:
        replies = ask_together(address, [Client(requests(address, b"bad", b"good"))])
    assert [(reply.number, reply.status, reply.body) for reply in replies] == [(0, 500, b"bad"), (1, 200, b"good")]


def test_client_asks_one_request_at_a_time() -> None:
    """A client's next request goes out when the last is answered; those of others do not wait for it."""
    with answering(echo) as address:
        replies = ask_together(address, [Client(requests(address, *([b"a"] * 20))) for _ in range(4)])
    assert len(replies) == 80
    for client in range(4):
        own = [reply for reply in replies if reply.client == client]
        assert [reply.number for reply in own] == list(range(20))
        assert all(last.ended_s <= next_.asked_s for last, next_ in pairwise(own))
    first_end = min(reply.ended_s for reply in replies if reply.number == 19)
    assert all(reply.asked_s < first_end for reply in replies if reply.number == 0)


def test_clients_arrive_when_they_are_due() -> None:
    """Nobody asks before the start that is stated, and pauses are waited for."""
    with answering(echo) as address:
        (request,) = requests(address, b"a")
        clients = [Client([request], 0.05), Client([request], 0.0), Client([request] * 4, 0.0, 0.01)]
        replies = ask_together(address, clients)
    starts = {(reply.client, reply.number): reply.asked_s for reply in replies}
    assert starts[0, 0] >= 0.05
    assert starts[1, 0] < starts[0, 0]
    assert len({starts[2, number] for number in range(4)}) == 4


def test_endless_clients_end_with_the_others() -> None:
    """Those who ask again and again stop when the others are done; without others, when their time is over."""
    with answering(echo) as address:
        (request,) = requests(address, b"a")
        replies = ask_together(address, [Client([request], is_endless=True), Client([request] * 10, 0.02)])
        alone = ask_together(address, [Client([request], is_endless=True)], for_s=0.05)
    last = max(reply.ended_s for reply in replies if reply.client == 1)
    assert sum(reply.client == 0 for reply in replies) > 1
    assert all(reply.asked_s <= last for reply in replies)
    assert len(alone) > 1
    assert all(reply.ended_s < 0.05 for reply in alone[:-1])


def test_first_event_of_a_stream_is_timed() -> None:
    """The first step of a stream is there before its end, and the end is the last chunk, not any piece before it."""
    release = threading.Event()

    def stream(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if body == b"release":
            release.set()
            send(handler, b"")
            return
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for event in (b"data: 1\n\n", b"data: 2\n\n"):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            handler.wfile.flush()
            release.wait(20)
        handler.wfile.write(b"0\r\n\r\n")

    with answering(stream) as address:
        replies = ask_together(address, [Client(requests(address, b"a")), Client(requests(address, b"release"), 0.1)])
    (reply,) = (reply for reply in replies if reply.client == 0)
    assert reply.status == 200
    assert reply.body.count(b"data: ") == 2
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
        (b"HTTP/1.1 429 No\r\ncontent-length: 2\r\n\r\na", None),
        (b"HTTP/1.1 429 No\r\ncontent-length: 2\r\n\r\nab", (429, b"ab")),
    ],
)
def test_answers_are_split(received: bytes, answer: object) -> None:
    """An answer counts when all of it is there, with a length or in chunks."""
    assert split_any_answer(bytearray(received)) == answer
