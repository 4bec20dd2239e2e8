"""The comparison from a peer's description to its cells, with a tiny real server and without wrk."""

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sluice
from loadtests.bench import command, comparison
from loadtests.bench.comparison import Comparison, Schedule
from loadtests.bench.environment import NotInstalled
from loadtests.bench.load import ceiling as ceiling_module
from loadtests.bench.load.ceiling import Ceiling, Point
from loadtests.bench.load.wrk import Sample, WrkFailed
from loadtests.bench.models.model import MODELS
from loadtests.bench.peer import BINARY, JSON, Peer, Site
from loadtests.http_client import Answer, Request

TINY = MODELS["tiny"]
SCHEDULE = Schedule(encodings=(JSON, BINARY), clients=(1, 4), rounds=3, round_s=1, warm_up_s=1)
SERVER = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(b"ready")

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(os.environ["SCORES"].encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def make_peer(name: str, off_by: float = 0.0, **changes: object) -> Peer:
    """A server whose scores are right, or off by so much."""
    text = json.dumps((TINY.score(TINY.make_rows(1)) + off_by).tolist())
    peer = Peer(
        name=name,
        requirements=None,
        distributions=("numpy", "no-such-distribution"),
        encodings=(JSON,),
        source=SERVER,
        command=lambda site: [str(site.python), str(site.source), str(site.port)],
        environment=lambda site: {"SCORES": text},
        ready_path="/",
        request=lambda model, encoding, rows: Request("/predict", "POST", {}, b"rows"),
        read_scores=lambda answer: np.array(json.loads(answer.body), np.float32),
    )
    return dataclasses.replace(peer, **changes)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Stands in for wrk and for runs in process: records the server's address and the clients of every run of wrk."""
    taken: list[tuple[str, int]] = []

    def load(address: str, script: Path, clients: int, duration_s: int) -> Sample:
        taken.append((address, clients))
        return Sample(100, float(duration_s), 0, 0, 0, 0, 0.001, 0.002)

    monkeypatch.setattr(comparison, "run_wrk", load)
    monkeypatch.setattr(ceiling_module, "_measure_rate", lambda session, rows, lanes, duration_s: 50.0)
    return taken


@pytest.fixture
def make(tmp_path: Path, loads: list[tuple[str, int]]) -> Callable[..., Comparison]:
    return lambda **changes: Comparison(tmp_path, tmp_path, 2, lambda text: None, **changes)


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        pytest.param(make_peer("bad", 0.5), "json: expected the scores", id="wrong numbers"),
        pytest.param(make_peer("bad", source="raise ValueError('planned')"), "ValueError: planned", id="no start"),
        pytest.param(
            make_peer("bad", needs_private_network=True),
            "it only runs in a private network: not root",
            id="ports that others could reach",
        ),
    ],
)
def test_peer_that_cannot_be_measured_is_an_absence(
    make: Callable[..., Comparison], loads: list[tuple[str, int]], peer: Peer, reason: str
) -> None:
    """It is not measured, the reason is reported, with the end of its log where it has one, and the others go on."""
    one = make(no_private_network="not root")
    cells = one.measure(TINY, [peer, make_peer("right")], SCHEDULE)
    assert {cell.peer for cell in cells} == {"right"}
    assert len({address for address, _ in loads}) == 1
    (absence,) = one.absences
    assert (absence.peer, absence.model) == ("bad", "tiny")
    assert reason in absence.reason


def test_rounds_are_interleaved(make: Callable[..., Comparison], loads: list[tuple[str, int]]) -> None:
    """Each peer is warmed up, then rounds go from peer to peer, every second one in the opposite order."""
    one = make()
    cells = one.measure(TINY, [make_peer("a"), make_peer("b")], SCHEDULE)
    b, a = dict.fromkeys(address for address, _ in loads)
    assert [address for address, clients in loads if clients == 1] == [b, a, a, b, b, a, a, b]
    expected = [(peer, JSON, clients, 3) for clients in (1, 4) for peer in ("a", "b")]
    assert [(cell.peer, cell.encoding, cell.clients, len(cell.samples)) for cell in cells] == expected
    assert list(one.versions["a"]) == ["numpy"]


def test_ceiling_is_measured_in_the_same_rounds(make: Callable[..., Comparison]) -> None:
    """ONNX Runtime in process has as many rounds as the peers, between theirs, so that drift meets it too."""
    schedule = dataclasses.replace(SCHEDULE, clients=(4,))
    cells = make().measure(TINY, [make_peer("a")], schedule, Ceiling("tiny", (Point(1, 1, 1, 100.0),)))
    assert [(cell.peer, len(cell.samples)) for cell in cells] == [("a", 3), ("onnxruntime", 3)]
    assert cells[1].rows_per_s == 50.0


def test_peer_that_fails_is_left_out(make: Callable[..., Comparison], monkeypatch: pytest.MonkeyPatch) -> None:
    """When wrk fails on one peer, it is an absence with the cell and the log, and the others' rounds go on."""
    first: list[str] = []

    def fail(address: str, *_: object) -> Sample:
        first.append(address)
        if address == first[0]:
            raise WrkFailed("planned")
        return Sample(100, 1.0, 0, 0, 0, 0, 0.001, 0.002)

    one = make()
    monkeypatch.setattr(comparison, "run_wrk", fail)
    cells = one.measure(TINY, [make_peer("a"), make_peer("b")], dataclasses.replace(SCHEDULE, clients=(4,)))
    assert [(cell.peer, len(cell.samples)) for cell in cells] == [("a", 3)]
    assert first.count(first[0]) == 1
    (absence,) = one.absences
    assert absence.peer == "b"
    assert re.match(r"json, 4 clients: b: planned; the end of .*server\.log", absence.reason)


def test_peer_that_cannot_be_installed_is_an_absence(
    make: Callable[..., Comparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of pip's output is the reason for each model; pip is asked once."""
    asked: list[str] = []

    def refuse(peer: Peer, root: Path) -> Path:
        asked.append(peer.name)
        raise NotInstalled("no such version")

    monkeypatch.setattr(comparison, "prepare_python", refuse)
    one, peer = make(), make_peer("a")
    one.install([peer])
    assert one.measure(TINY, [peer], SCHEDULE) == one.measure(MODELS["mlp"], [peer], SCHEDULE) == []
    reasons = [(absence.model, absence.reason) for absence in one.absences]
    assert reasons == [("tiny", "no such version"), ("mlp", "no such version")]
    assert asked == ["a"]


@pytest.mark.parametrize(
    ("wrk", "lacking", "text"), [(None, "", "apt-get install wrk"), ("/usr/bin/wrk", "onnx", "pip install onnx")]
)
def test_what_is_missing_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrk: str | None, lacking: str, text: str
) -> None:
    """Without wrk or a package the command ends with code 2 and the line that installs it."""
    monkeypatch.setattr(command.shutil, "which", lambda name: wrk)
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == lacking else sys)
    assert sluice.main(["bench", "--quick"]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["--peers sluice,horse", "--models ,", "--encodings xml", "--clients 0", "--clients many"]
)
def test_wrong_usage(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A name or number that cannot be used ends the command with code 2 and says what was expected."""
    with pytest.raises(SystemExit) as ended:
        sluice.main(["bench", *words.split()])
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize(("off_by", "code"), [(0.0, 0), (0.5, 1)])
@pytest.mark.usefixtures("loads")
def test_result_is_written(
    bench: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off_by: float, code: int
) -> None:
    """JSON and Markdown are written either way; a peer that could not be measured makes the code 1."""
    monkeypatch.setattr(command, "PEERS", {"first": make_peer("first"), "second": make_peer("second", off_by)})
    document = bench(code, "--encodings", "json", "--clients", "2")
    assert document == json.loads((tmp_path / "out" / "bench.json").read_text())
    measured = [cell["peer"] for cell in document["cells"]]
    assert measured == (["first", "onnxruntime"] if code else ["first", "second", "onnxruntime"])
    assert "| tiny | json | 2 |" in (tmp_path / "out" / "bench.md").read_text()
    assert bool(list(tmp_path.glob("sluice-bench-*"))) == bool(code), "logs are kept on failure only"


def test_answer_of_another_status_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is not 200 is refused with its text before anything is measured."""
    monkeypatch.setattr(comparison, "exchange", lambda address, request: Answer(503, {}, b"not yet"))
    site = Site(Path(sys.executable), 1, TINY, tmp_path, tmp_path / "s.py", 2)
    with pytest.raises(comparison.WrongAnswer, match="answered 503 instead of 200: not yet"):
        comparison.check_answer(make_peer("a"), site, JSON)
