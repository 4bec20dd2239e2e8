"""What the servers for photographs are asked and told, and what of their answers is read."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sluice
from loadtests.bench import command, pictures
from loadtests.bench.comparison import Comparison
from loadtests.bench.models.classifier import CLASSIFIER
from loadtests.bench.models.detector import DETECTOR
from loadtests.bench.models.model import BenchModel
from loadtests.bench.models.photograph import JPEG
from loadtests.bench.peer import Peer, Site
from loadtests.bench.peers import sluice_photograph
from loadtests.bench.peers.bentoml_photograph import BATCHED_PEER, PEER
from loadtests.bench.peers.sluice_photograph import PHOTOGRAPH_PEER, write_import
from loadtests.bench.results.task_figures import TaskFigures
from loadtests.bench.server import ServerFailed
from loadtests.http_client import Answer
from loadtests.wire import WrongAnswer
from tests.loadtests.bench.forms import read_form

LABEL = {"label": "label 7", "index": 7, "probability": 0.5}
BOX = {"box": [1.0, 2.0, 3.0, 4.0], "label": "label 7", "index": 7, "score": 0.5}
EACH = pytest.mark.parametrize("peer", [PHOTOGRAPH_PEER, PEER, BATCHED_PEER], ids=["sluice", "bentoml", "batched"])
MODELS = pytest.mark.parametrize("model", [CLASSIFIER, DETECTOR], ids=["classifier", "detector"])


def make_site(folder: Path, model: BenchModel) -> Site:
    return Site(Path(sys.executable), 1, model, folder / "repository", folder / "bench_server.py", 1)


def wrap(peer: Peer, found: list[dict[str, Any]]) -> Any:
    """The answer that has the labels or boxes of one picture."""
    if peer is PHOTOGRAPH_PEER:
        return {"predictions": [{"detections": found} if found == [BOX] else {**found[0], "top": found}]}
    return [found] if peer is BATCHED_PEER else found


@MODELS
@EACH
def test_all_servers_get_the_same_jpeg(peer: Peer, model: BenchModel) -> None:
    """The body is the photograph, for BentoML in a form."""
    request = peer.request(model, JPEG, model.make_rows(1))
    media_type, content = request.headers["Content-Type"], request.body
    if peer is not PHOTOGRAPH_PEER:
        name, media_type, content = read_form(content, media_type)
        assert name == ("images" if peer is BATCHED_PEER else "image")
    assert media_type == "image/jpeg"
    assert Image.open(io.BytesIO(content)).size == (640, 480)
    assert peer is not PHOTOGRAPH_PEER or model.name in request.path


@EACH
@pytest.mark.parametrize(("found", "expected"), [(LABEL, [[7, 0.5]]), (BOX, [[1, 2, 3, 4, 7, 0.5]])])
def test_labels_and_boxes_are_read(peer: Peer, found: dict[str, Any], expected: list[list[float]]) -> None:
    """Labels as position and probability, boxes as corners, position and score."""
    body = json.dumps(wrap(peer, [found])).encode()
    np.testing.assert_array_equal(peer.read_scores(Answer(200, {}, body)), np.float32(expected))


@EACH
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": "x"}', b'[["a"]]', b'{"predictions": []}'])
def test_unreadable_answer_is_wrong(peer: Peer, body: bytes) -> None:
    """What is not one of the server's answers is wrong, not a crash."""
    with pytest.raises(WrongAnswer):
        peer.read_scores(Answer(200, {}, body))


@MODELS
def test_options_of_the_import_exist(model: BenchModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every option that the import is given is one of the command's."""
    with pytest.raises(SystemExit):
        sluice.main(["import", "--help"])
    known = capsys.readouterr().out
    words = write_import(make_site(tmp_path, model), tmp_path / "labels.txt")
    assert all(f"{word} " in known or f"{word}]" in known for word in words[4:] if word.startswith("--"))


def test_failed_import_tells_why(tmp_path: Path) -> None:
    """A model that cannot be imported is no crash of the comparison, and the end of the output is reported."""
    site = make_site(tmp_path, DETECTOR)
    with pytest.raises(ServerFailed, match="ended with code"):
        PHOTOGRAPH_PEER.prepare(site)


def test_import_that_takes_too_long_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a server that failed, as one that cannot be started is."""
    monkeypatch.setattr(sluice_photograph, "IMPORT_LIMIT_S", 0)
    with pytest.raises(ServerFailed, match="took more than 0 s"):
        PHOTOGRAPH_PEER.prepare(make_site(tmp_path, DETECTOR))


def test_both_bentoml_servers_share_an_environment() -> None:
    """They have the same requirements, so nothing is installed twice."""
    assert BATCHED_PEER.environment_of == PEER.name
    assert BATCHED_PEER.requirements == PEER.requirements


def test_both_bentoml_services_are_started_by_the_model(tmp_path: Path) -> None:
    """The source is valid Python with a service for each model."""
    compile(PEER.source, "bench_server.py", "exec")
    assert "bench_server:Classifier" in PEER.command(make_site(tmp_path, CLASSIFIER))
    assert "bench_server:Detector" in PEER.command(make_site(tmp_path, DETECTOR))


def test_only_the_pictures(bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """`--only pictures` measures three models on their servers, and no task."""
    measured: list[tuple[str, list[str]]] = []

    def measure(self: Comparison, model: BenchModel, peers: list[Peer], schedule: object) -> list[object]:
        measured.append((model.name, [peer.name for peer in peers]))
        return []

    monkeypatch.setattr(Comparison, "install", lambda self, peers: None)
    monkeypatch.setattr(Comparison, "measure", measure)
    monkeypatch.setattr(command, "measure_tasks", lambda *_: TaskFigures(missing=("asked",)))
    assert len(bench(0, "--only", "pictures")["verdict"]) == 6
    three = ["sluice", "bentoml-photograph", "bentoml-photograph-batched"]
    assert measured == [
        ("digits-classifier", ["sluice", "bentoml-picture"]),
        ("photograph-classifier", three),
        ("photograph-detector", three),
    ]
    assert pictures.picture_peers(["bentoml"]) == []
