"""The peers' requests and answers, their environments, and the models they serve."""

import base64
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

import sluice
from loadtests.bench import environment
from loadtests.bench.environment import NotInstalled, cache_root, digest_requirements, fill_requirements, prepare_python
from loadtests.bench.load import ceiling as ceiling_module
from loadtests.bench.load.ceiling import BestPoints, Ceiling, Point, measure_ceiling
from loadtests.bench.models.model import INPUT, MODELS, OUTPUT, BenchModel
from loadtests.bench.peer import BINARY, JSON, Peer, Site
from loadtests.bench.peers import PEERS
from loadtests.bench.peers.sluice import make_before_peer, read_facts
from loadtests.http_client import Answer
from loadtests.wire import HEADER_LENGTH, WrongAnswer

TINY = MODELS["tiny"]
ROWS = TINY.make_rows(2)
SCORES = np.arange(20, dtype=np.float32).reshape(2, 10)


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": "x"}', b'[["a"]]'])
def test_unreadable_answer_is_wrong(peer: Peer, body: bytes) -> None:
    """Each peer's reader says WrongAnswer to what is not one of its answers."""
    with pytest.raises(WrongAnswer):
        peer.read_scores(Answer(200, {}, body))


def test_sluice_requests_hold_the_rows() -> None:
    """Both encodings of a request to Sluice hold the same rows, and its answer's scores come back."""
    peer = PEERS["sluice"]
    binary = peer.request(TINY, BINARY, ROWS)
    assert binary.path == "/v2/models/tiny/infer"
    length = int(binary.headers[HEADER_LENGTH])
    np.testing.assert_array_equal(np.frombuffer(binary.body[length:], "<f4").reshape(ROWS.shape), ROWS)
    (tensor,) = json.loads(peer.request(TINY, JSON, ROWS).body)["inputs"]
    assert (tensor["name"], tensor["shape"]) == (INPUT, list(ROWS.shape))
    np.testing.assert_array_equal(np.array(tensor["data"], np.float32).reshape(ROWS.shape), ROWS)
    output = {"name": OUTPUT, "datatype": "FP32", "shape": [2, 10], "data": SCORES.ravel().tolist()}
    answer = Answer(200, {}, json.dumps({"outputs": [output]}).encode())
    np.testing.assert_array_equal(peer.read_scores(answer), SCORES)


def test_bentoml_requests_hold_the_rows() -> None:
    """A request to BentoML names the API's parameter and nests the rows."""
    body = json.loads(PEERS["bentoml"].request(TINY, JSON, ROWS).body)
    np.testing.assert_array_equal(np.array(body["rows"], np.float32), ROWS)


OF_ENCODINGS = [(name, encoding) for name, peer in PEERS.items() if "sluice" not in name for encoding in peer.encodings]


@pytest.mark.parametrize(("name", "encoding"), OF_ENCODINGS)
def test_requests_hold_the_row(name: str, encoding: str) -> None:
    """In JSON a request has the row's numbers; the binary one has its bytes, plain or in base64, and is shorter."""
    row = TINY.make_rows(1)
    body = PEERS[name].request(TINY, encoding, row).body
    if encoding == BINARY:
        assert row.tobytes() in body or base64.b64encode(row.tobytes()) in body
    else:
        numbers = re.findall(rb"\d\.\d+", body)
        np.testing.assert_array_equal(np.array([float(number) for number in numbers], np.float32), row.ravel())


@pytest.mark.parametrize("name", ["bentoml", "fastapi", "mosec", "ray"])
def test_plain_scores_are_read(name: str) -> None:
    """Scores come back from a JSON list of rows and, of those who send them, from their bytes."""
    answers = [Answer(200, {}, json.dumps(SCORES.tolist()).encode())]
    if BINARY in PEERS[name].encodings:
        answers.append(Answer(200, {"content-type": "application/octet-stream"}, SCORES.tobytes()))
    for answer in answers:
        np.testing.assert_array_equal(PEERS[name].read_scores(answer), SCORES)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(Path("/python"), 1234, TINY, tmp_path / "repository", tmp_path / "bench_server.py", 2)


def test_asgi_peer_is_the_same_server_with_the_fast_path_shut(site: Site) -> None:
    """The two paths are measured on the same server, asked the same way."""
    own, asgi = PEERS["sluice"], PEERS["sluice-asgi"]
    assert asgi.command(site) == own.command(site)
    assert asgi.request(TINY, BINARY, ROWS) == own.request(TINY, BINARY, ROWS)
    assert {**own.environment(site), "SLUICE_FAST_PATH": "false"} == asgi.environment(site)


def test_result_says_whether_the_request_path_was_compiled(tmp_path: Path) -> None:
    """Compiled modules beside the source are what Python takes, so they are what is measured."""
    engine = tmp_path / "service" / "engine"
    engine.mkdir(parents=True)
    (engine / "dispatcher.py").touch()
    assert read_facts(tmp_path) == {"request path": "interpreted"}
    (engine / "dispatcher.cpython-311-x86_64-linux-gnu.so").touch()
    assert read_facts(tmp_path) == {"request path": "compiled"}


def test_checkout_before_a_change_is_served_from_its_own_folder(site: Site, tmp_path: Path) -> None:
    """Its code and, if it has one, its Python: two peers that ran the same code would always compare as 1.00."""
    root = tmp_path / "checkout"
    (root / "service").mkdir(parents=True)
    (root / "sluice.py").write_text("import sys, service; print(service.__file__, sys.argv[1:])")
    (root / "service" / "__init__.py").touch()
    before, own = make_before_peer(root), PEERS["sluice"]
    assert before.command(site) == own.command(site)
    command = before.command(dataclasses.replace(site, python=Path(sys.executable)))
    environment = {**os.environ, **before.environment(site)}
    here = Path(__file__).parents[3]
    printed = subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True, check=True).stdout
    assert printed.startswith(str(root / "service" / "__init__.py"))
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert before.command(site) == [str(python), *own.command(site)[1:]]


def test_folder_that_is_no_checkout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is reported before anything is started."""
    with pytest.raises(SystemExit) as ended:
        sluice.main(["bench", "--before", str(tmp_path)])
    assert ended.value.code == 2
    assert f"expected a checkout of Sluice, with sluice.py and service/, got {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_peer_can_be_started(peer: Peer, site: Site) -> None:
    """A peer's command names its port on the loopback interface, and its source compiles."""
    words = [*peer.command(site), *peer.environment(site).values()]
    assert words[0] == "/python"
    assert {"1234", "127.0.0.1"} <= set(words)
    assert "0.0.0.0" not in words  # noqa: S104
    assert all(isinstance(word, str) for word in words)
    compile(peer.source, peer.name, "exec")


def test_sluice_is_measured_with_its_own_settings(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """A setting in the caller's shell is not handed on: the comparison is of what everyone gets."""
    monkeypatch.setenv("SLUICE_MAX_ROWS", "1")
    assert PEERS["sluice"].environment(site)["SLUICE_MAX_ROWS"] == ""


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_models_are_the_same_everywhere(model: BenchModel, tmp_path: Path) -> None:
    """A model is valid ONNX with an open batch axis, byte for byte the same each time, and its scores stay finite."""
    assert model.build() == model.build()
    path = model.publish(tmp_path)
    assert path == tmp_path / model.name / "1" / "model.onnx"
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    scores = model.score(model.make_rows(3))
    assert scores.shape == (3, 10)
    assert np.isfinite(scores).all()
    assert 1e-3 < np.abs(scores).max() < 1e3


def test_ceiling_sweeps_both_ways_to_use_the_cores() -> None:
    """The ceiling tries one thread on one lane and on as many as cores, a lane of as many threads, every batch size."""
    ceiling = measure_ceiling(BenchModel("tiny", TINY.row_shape, 4, TINY.grow), cores=2, duration_s=0.01)
    expected = {(rows, *way) for rows in (1, 2, 4) for way in ((1, 1), (1, 2), (2, 1))}
    assert {(point.batch_rows, point.threads, point.lanes) for point in ceiling.points} == expected
    assert ceiling.best.rows_per_s == max(point.rows_per_s for point in ceiling.points) > 0


def test_ceiling_of_few_clients_has_no_more_rows_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client that waits for its answer is held against one row at a time, two against two."""
    model = BenchModel("tiny", TINY.row_shape, 4, TINY.grow)
    points = [Point(rows, 1, lanes, 1000.0 * rows * lanes) for rows in (1, 2, 4) for lanes in (1, 2)]
    under_way: list[int] = []

    def measure_rate(_: object, rows: np.ndarray, lanes: int, duration_s: float) -> float:
        under_way.append(len(rows) * lanes)
        return duration_s

    monkeypatch.setattr(ceiling_module, "_measure_rate", measure_rate)
    for clients, expected in ((1, [1]), (2, [1, 2, 2]), (64, [4, 4, 8])):
        under_way.clear()
        assert BestPoints(model, Ceiling("tiny", tuple(points)), clients).measure(1.0) > 0
        assert sorted(under_way) == expected


@pytest.mark.parametrize("environ", [{"XDG_CACHE_HOME": "relative"}, {"XDG_CACHE_HOME": ""}, {}])
def test_cache_root(environ: Mapping[str, str]) -> None:
    """Environments are kept where the user's caches are; a relative XDG_CACHE_HOME is not one."""
    assert cache_root({"XDG_CACHE_HOME": "/cache"}) == Path("/cache/sluice-bench")
    assert cache_root(environ) == Path.home() / ".cache/sluice-bench"


def test_broken_installation_is_not_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's failure is reported with its output, and the next run begins anew; a finished one is reused."""
    calls: list[list[str]] = []

    def install(words: list[str]) -> None:
        calls.append(words)
        if "venv" in words:
            (Path(words[-1]) / "bin").mkdir(parents=True)
            (Path(words[-1]) / "bin" / "python").touch()
        elif len(calls) == 2:
            raise NotInstalled("no such version")

    monkeypatch.setattr(environment, "_run", install)
    peer = PEERS["bentoml"]
    with pytest.raises(NotInstalled):
        prepare_python(peer, tmp_path)
    python = prepare_python(peer, tmp_path)
    assert len(calls) == 4
    assert prepare_python(peer, tmp_path) == python == tmp_path / "bentoml" / "bin" / "python"
    assert len(calls) == 4


def test_failing_command_is_reported(tmp_path: Path) -> None:
    """What cannot be installed is reported with the command, its exit code and the end of its output."""
    with pytest.raises(NotInstalled, match=r"false\nended with code 1"):
        environment._run(["false"])


def test_requirements_follow_the_versions_here() -> None:
    """A requirement may name the versions of this environment; other requirements give another digest."""
    assert fill_requirements(["a=={numpy}", "b"], {"numpy": "2"}) == ["a==2", "b"]
    assert digest_requirements(["a"]) != digest_requirements(["b"])
