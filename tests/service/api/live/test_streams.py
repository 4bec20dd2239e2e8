"""Live streams on a real server: sound and tensors, state, errors and ends."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.answers import sum_series
from tests.support.connections.listening import RATE, write_listeners
from tests.support.connections.live import LiveClient, refuse
from tests.support.connections.sockets import Closed
from tests.support.gates import gated
from tests.support.servers import FAST, Serving, settings_for


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_listeners(tmp_path_factory.mktemp("listeners"))


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Serving]:
    with Serving(settings_for(store, max_rows=4, max_message_bytes=2048), FAST) as serving:
        yield serving


@pytest.fixture
def client(server: Serving) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def path(model: str, query: str = "") -> str:
    return f"/v2/models/{model}/stream{query}"


FLOATS = "?format=float32"
END = '{"end": true}'


def floats(*samples: float) -> bytes:
    return np.array(samples, "<f4").tobytes()


def open_floats(server: Serving, model: str) -> LiveClient:
    return LiveClient(server, path(model, FLOATS))


def read_to_end(client: LiveClient) -> list[Any]:
    found = []
    while not isinstance(message := client.next(), Closed | None):
        found.append(message)
    assert message == Closed(1000, "")
    return found


def test_each_window_is_answered_when_it_is_complete(server: Serving) -> None:
    """However messages are cut, each window has its place in seconds and its outputs; the state goes on."""
    with open_floats(server, "adder") as client:
        client.say(floats(1, 2, 3), floats(4, 5), floats(6, 7, 8, 9, 9, 9, 9))
        answers = [client.next() for _ in range(3)]
    assert answers == [
        {"index": 0, "start": 0.0, "end": 0.004, "outputs": {"so_far": [10.0]}},
        {"index": 1, "start": 0.004, "end": 0.008, "outputs": {"so_far": [36.0]}},
        {"index": 2, "start": 0.008, "end": 0.012, "outputs": {"so_far": [72.0]}},
    ]


def test_streams_have_states_of_their_own(server: Serving) -> None:
    """A new stream begins anew, also beside an open one, and what a stream held is given back."""
    for _ in range(2):
        with open_floats(server, "adder") as first, open_floats(server, "adder") as second:
            first.say(floats(1, 1, 1, 1), floats(1, 1, 1, 1))
            second.say(floats(3, 3, 3, 3), END)
            assert [first.next()["outputs"]["so_far"] for _ in range(2)] == [[4.0], [8.0]]
            assert read_to_end(second)[0]["outputs"] == {"so_far": [12.0]}
            first.say(END)
            read_to_end(first)
    assert server.worker.sequences.held_bytes == 0


def test_end_answers_what_is_left(server: Serving) -> None:
    """A model with a state gets it padded with silence. The last message says how many rows there were."""
    with open_floats(server, "adder") as client:
        client.say(floats(1, 1, 1, 1, 2), END)
        assert read_to_end(client) == [
            {"index": 0, "start": 0.0, "end": 0.004, "outputs": {"so_far": [4.0]}},
            {"index": 1, "start": 0.004, "end": 0.005, "outputs": {"so_far": [6.0]}},
            {"done": True, "rows": 2},
        ]
    with open_floats(server, "adder") as client:
        client.say(END)
        assert read_to_end(client) == [{"done": True, "rows": 0}]


def test_last_window_without_a_state_is_moved_back(server: Serving) -> None:
    """So it is full, as the last one of a file is."""
    with open_floats(server, "louder") as client:
        client.say(floats(0, 0, 0, 0, 1, 1), END)
        first, last, _ = read_to_end(client)
    assert (first["start"], first["end"], last["start"], last["end"]) == (0, 0.004, 0.002, 0.006)
    assert last["prediction"]["probability"] == 0.5


def test_labels_come_with_probabilities(server: Serving) -> None:
    """As /classify answers, with as many labels as are asked for; samples are int16 unless said."""
    with LiveClient(server, path("louder", "?top_k=2")) as client:
        client.say(struct.pack("<4h", *[24576] * 4))
        assert client.next()["prediction"] == {
            "label": "loud",
            "index": 1,
            "probability": 0.75,
            "top": [
                {"label": "loud", "index": 1, "probability": 0.75},
                {"label": "quiet", "index": 0, "probability": 0.25},
            ],
        }


def test_sound_of_another_rate_is_resampled(server: Serving) -> None:
    """In parts as in one: the windows are those of the whole sound at the rate of the model."""
    soxr = pytest.importorskip("soxr")
    samples = np.sin(np.arange(400) / 20).astype(np.float32)
    whole = soxr.resample(samples, 2 * RATE, RATE)
    with LiveClient(server, path("adder", "?rate=2000&format=float32")) as client:
        client.say(*(part.tobytes() for part in np.array_split(samples, 7)), END)
        *answers, done = read_to_end(client)
    assert done["rows"] == -(-len(whole) // 4)
    sums = np.cumsum(whole)[3::4]
    assert np.allclose([a["outputs"]["so_far"][0] for a in answers[: len(sums)]], sums, atol=1e-4)


def test_text_grows_while_one_speaks(server: Serving) -> None:
    """A symbol that goes on over the border of two windows is one; the end has the text and its probability."""
    with open_floats(server, "speller") as client:
        client.say(floats(0, 0.5, 0.5, 0.5), floats(0.5, 0, 0.5, 1), END)
        *answers, done = read_to_end(client)
    assert [answer["text"] for answer in answers] == ["a", "aab"]
    assert (done["text"], done["rows"], done["probability"] > 0.99) == ("aab", 2, True)


def test_samples_that_windows_share_are_read_once(server: Serving) -> None:
    """The text of overlapping windows is that of the sound."""
    levels = [0, 0.5, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 0, 1, 0, 0.5, 0]
    with open_floats(server, "overlapping") as client:
        client.say(floats(*levels), END)
        *answers, done = read_to_end(client)
    assert [answer["text"] for answer in answers] == ["aba", "abab", "ababb"]
    assert done["text"] == "ababba"


def integers(*values: int) -> list[dict[str, Any]]:
    return [{"name": "x", "shape": [len(values)], "datatype": "INT64", "data": list(values)}]


def test_requests_are_answered_as_by_infer(server: Serving) -> None:
    """One after the other, on the state that the model keeps. `end` ends the stream."""
    with LiveClient(server, path("counter")) as client:
        client.say(json.dumps({"inputs": integers(2), "id": "one"}), json.dumps({"inputs": integers(5)}), END)
        first, second, done = read_to_end(client)
    assert first == {
        "id": "one",
        "model_name": "counter",
        "model_version": "1",
        "outputs": [{"name": "next_total", "datatype": "INT64", "shape": [1], "data": [2]}],
    }
    assert (second["outputs"][0]["data"], done) == ([7], {"done": True})


OTHER = json.dumps({"inputs": [{**integers(1)[0], "name": "y"}]})
SEQUENCE = json.dumps({"inputs": integers(1), "parameters": {"sequence_id": 1}})
BINARY = json.dumps({"inputs": integers(1), "parameters": {"binary_data_output": True}})
_PART = {"shared_memory_region": "a", "shared_memory_byte_size": 8}
IN_REGION = {"name": "x", "shape": [1], "datatype": "INT64", "parameters": _PART}
BAD: dict[str, tuple[str, str | bytes, int, str]] = {
    "half a sample": (path("adder"), b"abc", 1007, "message: expected samples of 2 bytes (int16), got 3 bytes"),
    "integers as floats": (path("adder", FLOATS), floats(1, 3e4), 1007, "message: expected samples from -1 to 1, got"),
    "not finite": (path("adder", FLOATS), floats(1, float("nan")), 1007, "message: expected finite samples"),
    "a text": (path("adder"), '{"stop": true}', 1008, 'expected samples, or the text {"end": true}'),
    "no JSON": (path("adder"), "stop", 1007, "message: expected JSON"),
    "too large": (path("adder"), bytes(2050), 1009, "message: expected at most 2048 bytes"),
    "sound for tensors": (path("counter"), b"ab", 1003, "message: expected a text, got a binary one: the manifest of"),
    "no request": (path("counter"), "[1", 1007, "message: expected JSON"),
    "another input": (path("counter"), OTHER, 1008, "inputs: expected x, total, got total, x, y"),
    "two rows": (path("counter"), json.dumps({"inputs": integers(1, 2)}), 1008, "a sequence takes one row"),
    "a sequence": (path("counter"), SEQUENCE, 1008, "sequence_id: expected none, for a stream is one sequence"),
    "shared memory": (
        path("counter"),
        json.dumps({"inputs": [IN_REGION]}),
        1008,
        "shared_memory_region: expected none",
    ),
    "binary outputs": (path("counter"), BINARY, 1008, "binary_data: expected false"),
}


@pytest.mark.parametrize(("place", "message", "code", "complaint"), BAD.values(), ids=BAD)
def test_bad_message_ends_the_stream(
    server: Serving, place: str, message: str | bytes, code: int, complaint: str
) -> None:
    """A message says what was expected and what came, then the stream is closed with the code of such a fault."""
    with LiveClient(server, place) as client:
        client.say(message)
        error = client.next()
        closed = client.next()
    assert complaint in error["error"]
    assert closed.code == code
    assert error["request_id"] == client.headers["x-request-id"]


def test_failure_of_the_model_is_not_told(server: Serving) -> None:
    """The rows before it are answered; the code is that of a fault of the server."""
    with open_floats(server, "fails") as client:
        client.say(floats(*[0] * 12))
        assert [client.next()["index"] for _ in range(2)] == [0, 1]
        assert "the log has the reason" in client.next()["error"]
        assert client.next().code == 1011


REFUSED: dict[str, tuple[str, int, str]] = {
    "no such model": (path("nobody"), 404, "nobody"),
    "no such version": ("/v2/models/adder/versions/9/stream", 404, "9"),
    "an unknown option": (path("adder", "?rat=8000"), 400, "rat: unknown field"),
    "a rate of nothing": (path("adder", "?rate=0"), 400, "rate: expected 1000 to 384000 Hz, got 0"),
    "a rate that is no number": (path("adder", "?rate=high"), 400, "rate: expected a valid integer"),
    "another format": (path("adder", "?format=mp3"), 400, "format: expected 'int16' or 'float32'"),
    "an option twice": (path("adder", "?rate=8000&rate=16000"), 400, "rate: expected once"),
    "options of tensors": (path("counter", "?rate=8000"), 400, "model 'counter' takes tensors, and no options"),
    "a level": (path("levelled"), 501, "which only a whole sound has"),
}


@pytest.mark.parametrize(("place", "status", "complaint"), REFUSED.values(), ids=REFUSED)
def test_stream_that_cannot_be_is_refused(server: Serving, place: str, status: int, complaint: str) -> None:
    """The handshake gets an error of HTTP."""
    got, error = refuse(server, place)
    assert (got, complaint in error) == (status, True), error


def test_get_tells_what_a_stream_takes(client: httpx.Client) -> None:
    """Without Upgrade: the rate and the window of sound, or that it takes requests."""
    assert client.get(path("adder")).json() == {
        "name": "adder",
        "version": "1",
        "protocol": "websocket",
        "takes": "samples",
        "rate": RATE,
        "window": 4,
        "overlap": 0,
    }
    assert client.get(path("counter")).json()["takes"] == "requests"
    assert client.get("/v2/models/adder/versions/1/stream").status_code == 200
    assert client.get(path("levelled")).status_code == 501


def test_metrics_count_streams_and_messages(server: Serving, client: httpx.Client) -> None:
    """Open ones in a gauge; the handshake as 101, and each message that is answered as 200."""
    gauge = 'sluice_streams{model="speller",version="1"}'
    route = 'sluice_requests_total{model="speller",route="/v2/models/{model}/stream",status='

    def value(of: str) -> float:
        return sum_series(client.get("/metrics").text, of)

    before = [value(f'{route}"{status}",version="1"}}') for status in (101, 200, 400)]
    with LiveClient(server, path("speller")) as stream:
        stream.say(bytes(8), bytes(8))
        assert [stream.next()["index"] for _ in range(2)] == [0, 1]
        assert value(gauge) == 1
        stream.say(b"1")
        stream.next()
        stream.next()
    assert [value(f'{route}"{status}",version="1"}}') for status in (101, 200, 400)] == [
        n + k for n, k in zip(before, (1, 2, 1), strict=True)
    ]
    assert value(gauge) == 0


def test_running_row_is_cancelled_when_the_client_goes(server: Serving) -> None:
    """The stream ends while its row still runs."""
    model = server.worker.registry.find("louder")
    with gated(model) as gate:
        stream = open_floats(server, "louder")
        stream.say(floats(*[0] * 64))
        assert gate.entered.acquire(timeout=20)
        stream.__exit__()
        with server.client() as client:
            while len(server.worker.streams):
                client.get("/livez")  # lets the server work
        assert gate.rows == []


def test_too_many_streams_are_refused(store: Path) -> None:
    """With 429, until one has ended."""
    with Serving(settings_for(store, max_rows=4, max_sequences=1), FAST) as server:
        with open_floats(server, "adder") as client:
            status, error = refuse(server, path("adder"))
            assert (status, error) == (429, "expected at most 1 streams at once")
            client.say(END)
            read_to_end(client)
        with open_floats(server, "adder"):
            server.stop()


def test_model_that_is_loaded_on_demand_is_waited_for(store: Path) -> None:
    """The stream opens at once, and its first message waits; an option that does not fit is told then."""
    with Serving(settings_for(store, max_rows=4, lazy=True), FAST) as server:
        with LiveClient(server, path("counter", "?rate=8000")) as client:
            assert "takes tensors" in client.next()["error"]
            assert client.next().code == 1008
        with open_floats(server, "adder") as client:
            client.say(floats(1, 1, 1, 1))
            assert client.next()["outputs"] == {"so_far": [4.0]}


@pytest.mark.long
def test_stop_and_a_new_version_end_streams(store: Path, tmp_path: Path) -> None:
    """With 1001, so that clients connect again; a stream goes on with the old version for a while."""
    write_listeners(tmp_path)
    with Serving(settings_for(tmp_path, max_rows=4, control=True, drain_s=5.0), FAST) as server:
        with open_floats(server, "adder") as client, server.client() as http:
            client.say(floats(1, 1, 1, 1))
            assert client.next()["outputs"] == {"so_far": [4.0]}
            write_listeners(tmp_path)
            assert http.post("/v2/repository/models/adder/load").status_code == 200
            client.say(floats(1, 1, 1, 1))
            assert client.next()["outputs"] == {"so_far": [8.0]}
            assert client.next()["error"] == "this version of 'adder' goes out of service: connect again"
            assert client.next().code == 1001
        with open_floats(server, "adder") as client:
            client.say(floats(1, 1, 1, 1))
            assert client.next()["index"] == 0
            server.stop()
            assert client.next()["error"] == "the server is stopping: connect again"
            assert client.next().code == 1001
