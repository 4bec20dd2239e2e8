"""The comparison from a peer's description to its cells, with a tiny real server and without wrk."""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from loadtests.bench import command, comparison
from loadtests.bench.comparison import Comparison, Schedule
from loadtests.bench.environment import NotInstalled
from loadtests.bench.load.ceiling import Ceiling, Point
from loadtests.bench.load.wrk import Sample, WrkFailed
from loadtests.bench.models.model import MODELS
from loadtests.bench.network import NoPrivateNetwork
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


def right_scores() -> np.ndarray:
    return TINY.score(TINY.make_rows(1))


def start(site: Site) -> list[str]:
    return [str(site.python), str(site.source), str(site.port)]


def make_peer(name: str, scores: np.ndarray, **changes: object) -> Peer:
    text = json.dumps(scores.tolist())
    peer = Peer(
        name=name,
        requirements=None,
        distributions=("numpy", "no-such-distribution"),
        encodings=(JSON,),
        source=SERVER,
        command=start,
        environment=lambda site: {"SCORES": text},
        ready_path="/",
        request=lambda model, encoding, rows: Request("/predict", "POST", {}, b"rows"),
        read_scores=lambda answer: np.array(json.loads(answer.body), np.float32),
    )
    return dataclasses.replace(peer, **changes)


@pytest.fixture
def shots(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Stands in for wrk: records the server's port and the clients of every run."""
    taken: list[tuple[str, int]] = []

    def shoot(address: str, script: Path, clients: int, duration_s: int) -> Sample:
        taken.append((address, clients))
        return Sample(100, float(duration_s), 0, 0, 0, 0, 0.001, 0.002)

    monkeypatch.setattr(comparison, "run_wrk", shoot)
    return taken


def test_wrong_scores_are_not_measured(tmp_path: Path, shots: list[tuple[str, int]]) -> None:
    """A fast server with wrong numbers is not measured; the reason holds both, and the others go on."""
    said: list[str] = []
    one = Comparison(tmp_path, tmp_path, 2, said.append)
    peers = [make_peer("wrong", right_scores() + 0.5), make_peer("right", right_scores())]
    cells = one.measure(TINY, peers, SCHEDULE)
    assert {cell.peer for cell in cells} == {"right"}
    (absence,) = one.absences
    assert (absence.peer, absence.model) == ("wrong", "tiny")
    assert "json: expected the scores" in absence.reason


def test_server_that_does_not_start_is_an_absence(tmp_path: Path, shots: list[tuple[str, int]]) -> None:
    """A peer that cannot be started is an absence with the end of its log."""
    one = Comparison(tmp_path, tmp_path, 2, lambda text: None)
    assert (
        one.measure(TINY, [make_peer("broken", right_scores(), source="raise ValueError('planned')")], SCHEDULE) == []
    )
    assert "ValueError: planned" in one.absences[0].reason
    assert shots == []


def test_rounds_are_interleaved(tmp_path: Path, shots: list[tuple[str, int]]) -> None:
    """Each peer is warmed up, then rounds go from peer to peer, every second one in the opposite order."""
    one = Comparison(tmp_path, tmp_path, 2, lambda text: None)
    cells = one.measure(TINY, [make_peer("a", right_scores()), make_peer("b", right_scores())], SCHEDULE)
    b, a = dict.fromkeys(address for address, _ in shots)
    assert [address for address, clients in shots if clients == 1] == [b, a, a, b, b, a, a, b]
    assert [(cell.peer, cell.encoding, cell.clients, len(cell.samples)) for cell in cells] == [
        ("a", JSON, 1, 3),
        ("b", JSON, 1, 3),
        ("a", JSON, 4, 3),
        ("b", JSON, 4, 3),
    ]
    assert list(one.versions["a"]) == ["numpy"]


def test_ceiling_is_measured_in_the_same_rounds(tmp_path: Path, shots: list[tuple[str, int]]) -> None:
    """ONNX Runtime in process has as many rounds as the peers, between theirs, so that drift meets it too."""
    one = Comparison(tmp_path, tmp_path, 2, lambda text: None)
    ceiling = Ceiling("tiny", (Point(1, 1, 1, 100.0),))
    schedule = dataclasses.replace(SCHEDULE, clients=(4,))
    cells = one.measure(TINY, [make_peer("a", right_scores())], schedule, ceiling)
    assert [(cell.peer, len(cell.samples)) for cell in cells] == [("a", 3), ("onnxruntime", 3)]
    assert cells[1].rows_per_s > 0


def test_peer_that_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When wrk fails on one peer, it is an absence with the cell and the log, and the others' rounds go on."""
    first: list[str] = []

    def fail(address: str, *_: object) -> Sample:
        first.append(address)
        if address == first[0]:
            raise WrkFailed("planned")
        return Sample(100, 1.0, 0, 0, 0, 0, 0.001, 0.002)

    monkeypatch.setattr(comparison, "run_wrk", fail)
    one = Comparison(tmp_path, tmp_path, 2, lambda text: None)
    schedule = dataclasses.replace(SCHEDULE, clients=(4,))
    cells = one.measure(TINY, [make_peer("a", right_scores()), make_peer("b", right_scores())], schedule)
    assert [(cell.peer, len(cell.samples)) for cell in cells] == [("a", 3)]
    assert first.count(first[0]) == 1
    (absence,) = one.absences
    assert absence.peer == "b"
    assert re.match(r"json, 4 clients: b: planned; the end of .*server\.log", absence.reason)


def test_peer_without_its_private_network_is_an_absence(tmp_path: Path, shots: list[tuple[str, int]]) -> None:
    """A peer that opens ports to others is not started where they could reach them, and the reason is told."""
    one = Comparison(tmp_path, tmp_path, 2, lambda text: None, no_private_network="not root")
    assert one.measure(TINY, [make_peer("a", right_scores(), needs_private_network=True)], SCHEDULE) == []
    assert one.absences[0].reason == "it only runs in a private network: not root"


def test_peer_that_cannot_be_installed_is_an_absence(
    tmp_path: Path, shots: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of pip's output is the reason for each model; pip is asked once."""
    asked: list[str] = []

    def refuse(peer: Peer, root: Path) -> Path:
        asked.append(peer.name)
        raise NotInstalled("no such version")

    monkeypatch.setattr(comparison, "prepare_python", refuse)
    one = Comparison(tmp_path, tmp_path, 2, lambda text: None)
    peer = make_peer("a", right_scores())
    one.install([peer])
    assert one.measure(TINY, [peer], SCHEDULE) == one.measure(MODELS["mlp"], [peer], SCHEDULE) == []
    assert [(absence.model, absence.reason) for absence in one.absences] == [
        ("tiny", "no such version"),
        ("mlp", "no such version"),
    ]
    assert asked == ["a"]


@contextmanager
def refuse_network() -> Iterator[None]:
    raise NoPrivateNetwork("not in a test")
    yield


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="sluice bench")
    command.bench_arguments(parser)
    return command.bench(parser.parse_args(words))


def test_missing_wrk_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without wrk the command ends with code 2 and the line that installs it."""
    monkeypatch.setattr(command.shutil, "which", lambda name: None)
    assert run("--quick") == 2
    assert "apt-get install wrk" in capsys.readouterr().err


def test_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without onnx the command ends with code 2 and the line that installs it."""
    monkeypatch.setattr(command.shutil, "which", lambda name: "/usr/bin/wrk")
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "onnx" else sys)
    assert run("--quick") == 2
    assert "pip install onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("--peers", "sluice,horse"),
        ("--models", ""),
        ("--encodings", "xml"),
        ("--clients", "0"),
        ("--clients", "many"),
    ],
)
def test_wrong_usage(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A name or number that cannot be used ends the command with code 2 and says what was expected."""
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize(("shift", "code"), [(0.0, 0), (0.5, 1)])
def test_result_is_written(
    tmp_path: Path,
    shots: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shift: float,
    code: int,
) -> None:
    """JSON and Markdown are written either way; a peer that could not be measured makes the code 1."""
    peers = {"first": make_peer("first", right_scores()), "second": make_peer("second", right_scores() + shift)}
    monkeypatch.setattr(command, "PEERS", peers)
    monkeypatch.setattr(command, "find_lacking", lambda: "")
    monkeypatch.setattr(command, "can_draw", lambda: False)
    monkeypatch.setattr(command, "QUICK_CEILING_S", 0.01)
    monkeypatch.setattr(command, "private_network", refuse_network)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(command.tempfile, "tempdir", None)
    words = ("--quick", "--output", str(tmp_path / "out"), "--encodings", "json", "--clients", "2")
    parser = argparse.ArgumentParser()
    command.bench_arguments(parser)
    assert command.bench(parser.parse_args([*words, "--json"])) == code
    document = json.loads(capsys.readouterr().out)
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
        comparison.check_answer(make_peer("a", right_scores()), site, JSON)
