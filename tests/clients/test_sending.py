"""How the Python clients send, try again and fail. Both are asked the same."""

import asyncio
import json
import math
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.openapi.operations import ERRORS
from service.transport.status import STATUS
from sluice_client import AsyncClient, Client, errors
from sluice_client.answers import RegressAnswer
from tests.clients.asking import BOTH, URL, Server

Ask = Callable[..., Any]
EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
NUMBERS = {"model": "m", "version": "1", "predictions": [{"value": 2}]}


def refusal(status: int, **headers: str) -> httpx.Response:
    content = {"error": f"a sentence about {status}", "request_id": "r-1"}
    return httpx.Response(
        status, json=content, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


def numbers(**headers: str) -> httpx.Response:
    return httpx.Response(200, json=NUMBERS, headers=headers)


class Breaking(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body whose connection breaks after its first part."""

    def __init__(self, first: bytes) -> None:
        self.first = first

    def __iter__(self) -> Iterator[bytes]:
        yield self.first
        raise httpx.ReadError("gone")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.first
        raise httpx.ReadError("gone")


@BOTH
@pytest.mark.parametrize("status", [429, 503])
def test_busy_server_is_asked_again_until_it_answers(ask: Ask, status: int) -> None:
    """429 and 503 are tried again; the answer says how often."""
    server = Server(refusal(status, retry_after="0"), refusal(status), numbers(**{"x-request-id": "r-2"}))
    answer = ask(server, "regress", [[1.0]])
    assert isinstance(answer, RegressAnswer)
    assert (answer.meta.tries, answer.meta.request_id, len(server.requests)) == (3, "r-2", 3)
    assert len({request.content for request in server.requests}) == 1


@BOTH
def test_retry_after_the_deadline_is_not_waited_for(ask: Ask) -> None:
    """If the server says to come back after the deadline of the call, its error is raised at once."""
    server = Server(refusal(429, retry_after="60"))
    with pytest.raises(errors.Busy, match="a sentence about 429") as raised:
        ask(server, "regress", [[1.0]], timeout_s=5)
    assert (raised.value.retry_after_s, len(server.requests)) == (60, 1)


@BOTH
def test_tries_end(ask: Ask) -> None:
    """After the last try the error of the server is raised."""
    server = Server(*[refusal(503) for _ in range(6)])
    with pytest.raises(errors.NotReady):
        ask(server, "regress", [[1.0]])
    assert len(server.requests) == 5


@BOTH
@pytest.mark.parametrize("status", sorted({400, 404, 500, 504}))
def test_other_errors_are_not_tried_again(ask: Ask, status: int) -> None:
    """A request that is wrong or has failed is not sent again."""
    server = Server(refusal(status))
    with pytest.raises(errors.Refused) as raised:
        ask(server, "regress", [[1.0]])
    assert (raised.value.status, raised.value.request_id) == (status, "r-1")
    assert raised.value.message == f"a sentence about {status}"


@BOTH
def test_answer_that_has_begun_is_not_asked_for_again(ask: Ask) -> None:
    """A connection that breaks in the body of an answer is an error after one request."""
    server = Server(httpx.Response(200, stream=Breaking(b'{"model"')))
    with pytest.raises(errors.NoAnswer, match="regress: the connection broke: gone"):
        ask(server, "regress", [[1.0]])
    assert len(server.requests) == 1


@BOTH
def test_connection_that_cannot_be_made_is_tried_again(ask: Ask) -> None:
    """Nothing was sent, so another try is safe."""
    server = Server(httpx.ConnectError("refused"), numbers())
    assert ask(server, "regress", [[1.0]]).predictions[0].value == 2
    with pytest.raises(errors.Unreachable, match="no connection: refused"):
        ask(Server(*[httpx.ConnectError("refused") for _ in range(5)]), "regress", [[1.0]])


@BOTH
def test_broken_connection_is_not_tried_again(ask: Ask) -> None:
    """The server may have begun to work on the request."""
    for error, kind in (
        (httpx.ReadTimeout("slow"), errors.TimedOut),
        (httpx.RemoteProtocolError("?"), errors.NoAnswer),
    ):
        server = Server(error)
        with pytest.raises(kind):
            ask(server, "regress", [[1.0]])
        assert len(server.requests) == 1


@BOTH
def test_page_of_something_else_is_told(ask: Ask) -> None:
    """An answer that is not JSON asks whether the address is right; one without a field names it."""
    with pytest.raises(errors.BadAnswer, match="is this the address of Sluice"):
        ask(Server(httpx.Response(200, text="<html>")), "regress", [[1.0]])
    with pytest.raises(errors.BadAnswer, match="answer: expected RegressAnswer with version"):
        ask(Server(httpx.Response(200, json={"model": "m"})), "regress", [[1.0]])


@BOTH
def test_error_of_a_proxy_keeps_its_text(ask: Ask) -> None:
    """A status with a body that is not ours is raised with the beginning of the body."""
    with pytest.raises(errors.ServerFailed, match="502: Bad gateway"):
        ask(Server(httpx.Response(502, text="Bad gateway")), "regress", [[1.0]])


@BOTH
def test_request_goes_below_the_address_with_its_id(ask: Ask) -> None:
    """A prefix of the address stays; the request id is a header, and no option of the body."""
    server = Server(numbers())
    ask(server, "regress", [[1.0]], model="m", request_id="mine")
    [request] = server.requests
    assert str(request.url) == f"{URL}/regress"
    assert request.headers["x-request-id"] == "mine"
    assert json.loads(request.content) == {"model": "m", "inputs": [[1.0]]}


@BOTH
@pytest.mark.parametrize("request_id", ["two\nlines", "\xe4", 5])
def test_header_that_cannot_be_sent_is_the_fault_of_the_caller(ask: Ask, request_id: Any) -> None:
    """It is no broken connection; the message names the header."""
    server = Server(numbers())
    with pytest.raises(ValueError, match="header x-request-id: expected a text of ASCII"):
        ask(server, "regress", [[1.0]], request_id=request_id)
    assert server.requests == []


@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_key_goes_with_every_request(make: Any) -> None:
    """It is a header; a key that cannot be in one is refused, and the message does not show it."""
    assert make(URL, api_key="sluice_abc", headers={"X-Team": "a"})._headers == {
        "X-Team": "a",
        "Authorization": "Bearer sluice_abc",
    }
    assert make(URL)._headers == {}
    for bad in ("", "two words", "line\nend", "clé"):
        with pytest.raises(ValueError, match="api_key: expected printable ASCII") as caught:
            make(URL, api_key=bad)
        assert not bad or bad not in str(caught.value)


@BOTH
def test_option_that_does_not_exist_is_told_before_anything_is_sent(ask: Ask) -> None:
    """The message names the option that was meant."""
    with pytest.raises(TypeError, match=r"classify\(\) has no option 'topk': did you mean 'top_k'"):
        ask(Server(), "classify", "a text", topk=3)
    with pytest.raises(TypeError, match=r"generate\(\) has no option 'stream': generate_as_stream\(\) streams"):
        ask(Server(), "generate", stream=True)


@BOTH
def test_path_that_was_sent_as_a_text_is_told(ask: Ask, tmp_path: Path) -> None:
    """Where the server refuses a text that is the path of a file, the error says how to send the file."""
    file = tmp_path / "a.png"
    file.touch()
    with pytest.raises(errors.InvalidRequest, match=r"a sentence about 400 \(hint: .*a.png' was sent as a text: Path"):
        ask(Server(refusal(400)), "classify", ["no file", str(file)])
    for rows in ("no file", "x" * 10000, "a\0b", file, [1.0]):
        with pytest.raises(errors.InvalidRequest, match=r"400: a sentence about 400 \(request r-1\)$"):
            ask(Server(refusal(400)), "classify", rows)


@BOTH
def test_stream_gives_events_and_then_the_answer(ask: Ask) -> None:
    """Events are dataclasses; characters that only Python counts as ends of lines stay in their event."""
    events = (
        'data: {"row":0,"step":0,"text":"a\u2028b"}\n\n'
        'event: done\ndata: {"model":"m","version":"1","predictions":[{"text":"a","probability":1}]}\n\n'
    )
    server = Server(httpx.Response(200, text=events, headers=EVENTS))
    found, answer = ask(server, "predict_sequence_as_stream", "a text")
    assert [event.text for event in found] == ["a\u2028b"]
    assert answer.texts[0].text == "a"


@BOTH
def test_stream_that_fails_or_ends_early_is_an_error(ask: Ask) -> None:
    """An event of an error is raised with its sentence and id; a cut stream is no answer."""
    failed = 'event: error\ndata: {"error":"the model failed","request_id":"r-9"}\n\n'
    with pytest.raises(errors.StreamFailed, match="the model failed") as raised:
        ask(Server(httpx.Response(200, text=failed, headers=EVENTS)), "generate_as_stream")
    assert raised.value.request_id == "r-9"
    step = b'data: {"row":0,"step":0,"steps":2,"preview":[1]}\n\n'
    with pytest.raises(errors.NoAnswer, match="ended before its last event"):
        ask(Server(httpx.Response(200, content=step, headers=EVENTS)), "generate_as_stream")
    server = Server(httpx.Response(200, stream=Breaking(step), headers=EVENTS))
    with pytest.raises(errors.NoAnswer, match="the connection broke"):
        ask(server, "generate_as_stream")
    assert len(server.requests) == 1


@BOTH
def test_answer_of_another_form_is_an_error_of_the_client(ask: Ask) -> None:
    """An error that is only a text, and a length that is no number, are told as such."""
    failed = 'event: error\ndata: "it broke"\n\n'
    with pytest.raises(errors.StreamFailed, match="it broke"):
        ask(Server(httpx.Response(200, text=failed, headers=EVENTS)), "generate_as_stream")
    length = {"inference-header-content-length": "many"}
    with pytest.raises(errors.BadAnswer, match="expected a number of bytes, got 'many'"):
        ask(Server(httpx.Response(200, json={}, headers=length)), "infer", "m", {"x": [1.0]})


@BOTH
def test_answer_that_is_no_stream_is_told(ask: Ask) -> None:
    """A page of a proxy is not taken for a stream that was cut."""
    server = Server(httpx.Response(200, html="<html>"))
    with pytest.raises(errors.BadAnswer, match="generate: expected text/event-stream, got text/html"):
        ask(server, "generate_as_stream")


@BOTH
def test_stream_is_tried_again_before_it_begins(ask: Ask) -> None:
    """A busy server is asked again for a stream as well."""
    done = 'event: done\ndata: {"model":"m","version":"1","outputs":[]}\n\n'
    server = Server(refusal(429), httpx.Response(200, text=done, headers=EVENTS))
    assert ask(server, "generate_as_stream")[1].meta.tries == 2


@BOTH
def test_time_limit_must_be_above_zero(ask: Ask) -> None:
    """A limit that no call can keep is refused with the name of the argument."""
    with pytest.raises(ValueError, match="timeout_s: expected seconds above 0, got 0"):
        ask(Server(), "regress", [[1.0]], timeout_s=0)


@BOTH
def test_call_for_tensors_may_have_no_time_limit(ask: Ask) -> None:
    """Infinity is not told to the server, which takes a number of microseconds; what is no number is refused."""
    server = Server(httpx.Response(200, json={"model_name": "m", "model_version": "1", "outputs": []}))
    ask(server, "infer", "m", {"x": [1.0]}, timeout_s=math.inf)
    assert b"timeout" not in server.requests[0].content
    with pytest.raises(ValueError, match="timeout_s: expected seconds above 0, got nan"):
        ask(Server(), "infer", "m", {"x": [1.0]}, timeout_s=math.nan)


@BOTH
def test_readiness_is_no_error(ask: Ask) -> None:
    """A server that is not ready, or not there, or has no such model, is not ready; it is asked once."""
    for response in (refusal(503), refusal(404), httpx.ConnectError("refused")):
        assert ask(Server(response), "is_ready", "m") is False
    assert ask(Server(httpx.Response(200, json={})), "is_ready") is True


def test_every_status_of_the_server_has_its_error() -> None:
    """The table names each status that the server can answer; others go by their hundreds."""
    statuses = {*ERRORS, *STATUS.values()} - {499}
    assert statuses <= set(errors.OF_STATUS)
    assert errors.class_of(418) is errors.InvalidRequest
    assert errors.class_of(502) is errors.ServerFailed


def test_errors_can_be_pickled() -> None:
    """An error of another process keeps its status and id."""
    error = pickle.loads(pickle.dumps(errors.Busy(429, "full", "r", 2.0)))  # noqa: S301  # its own bytes
    assert (type(error), error.status, error.request_id, error.retry_after_s) == (errors.Busy, 429, "r", 2.0)


def test_address_must_be_one_of_http() -> None:
    """An address without its scheme is refused when the client is made."""
    with pytest.raises(ValueError, match="url: expected http"):
        Client("localhost:3000")


def test_calls_wait_for_their_turn_within_their_time() -> None:
    """No more calls than ``max_connections`` are on their way; one that waits too long is TimedOut and not sent."""
    began: list[str] = []

    async def ask() -> None:
        held, released = asyncio.Event(), asyncio.Event()

        async def answer(request: httpx.Request) -> httpx.Response:
            began.append(request.headers["x-request-id"])
            held.set()
            await released.wait()
            return numbers()

        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
            AsyncClient(URL, max_connections=1, http=http) as client,
        ):
            first = asyncio.create_task(client.regress([[1.0]], request_id="first"))
            await held.wait()
            with pytest.raises(errors.TimedOut):
                await client.regress([[1.0]], request_id="late", timeout_s=1e-3)
            second = asyncio.create_task(client.regress([[1.0]], request_id="second"))
            released.set()
            await asyncio.gather(first, second)

    asyncio.run(ask())
    assert began == ["first", "second"]
