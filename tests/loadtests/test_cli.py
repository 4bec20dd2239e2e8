"""``sluice loadtest`` from its arguments to its exit code, against the stand-in server; beginning with failures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import sluice
from loadtests import cli
from service.access.keys import make_key, render_entry
from service.settings import Settings
from tests.loadtests.answering import answering_grpc
from tests.loadtests.locustfiles import write_locustfile
from tests.support.models.graphs import double, write_plain
from tests.support.servers import FAST, Serving

LOCUSTFILE = write_locustfile(20, "BinaryUser", "GrpcUser", "JsonUser", "LiveUser", "StreamUser", "TaskUser")


def run(*words: str) -> int:
    return sluice.main(["loadtest", *words])


@pytest.fixture
def brief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a load test of a few requests against an address, with the report in ``tmp_path``; its exit code."""
    locustfile = tmp_path / "brief.py"
    locustfile.write_text(LOCUSTFILE)
    monkeypatch.setattr("loadtests.run.LOCUSTFILE", locustfile)
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parents[1]))

    def run_briefly(address: str, *words: str) -> int:
        users = () if "--sweep" in words else ("--users", "4")
        short = ("--spawn-rate", "100", "--run-time", "60", "--report", str(tmp_path / "report.html"))
        return run("--host", address, *users, *short, *words)

    return run_briefly


OF_DIGITS = ("--model", "digits", "--rows-per-request", "3")
PLANNED = {"status 500 instead of 200"}
TOO_FEW = {
    "task": {"the number of predictions is not the number of rows"},
    "binary": {"output 'scores' does not have its signature's shape with one row per row sent"},
}


@pytest.mark.parametrize(
    ("faults", "words", "code", "broken", "failures"),
    [
        ({"fail_every": 10}, (), 1, {"error_rate"}, PLANNED),
        # Where they are allowed failures are no breach: Locust's own exit code does not decide.
        pytest.param({"fail_every": 10}, ("--max-error-rate", "0.5"), 0, set(), PLANNED, marks=pytest.mark.slow),
        ({"delay_s": 0.05}, ("--max-p99-ms", "30"), 1, {"p99_s"}, set()),
        # Status 200 and a row too few.
        *(({"missing_rows": 1}, ("--protocol", u, *OF_DIGITS), 1, {"error_rate"}, TOO_FEW[u]) for u in TOO_FEW),
    ],
)
def test_objective_is_judged(
    serve: Callable,
    brief: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    faults: dict[str, Any],
    words: tuple[str, ...],
    code: int,
    broken: set[str],
    failures: set[str],
) -> None:
    """A fault of the server breaks the figure that it concerns and no other. The report has the failures as texts."""
    with serve(**faults) as server:
        assert brief(server.address, "--json", "--max-p99-ms", "20000", *words) == code
    document = json.loads(capsys.readouterr().out)
    findings = {finding["figure"]: finding for finding in document["findings"]}
    assert {name for name, finding in findings.items() if not finding["holds"]} == broken
    assert {failure["text"] for failure in document["failures"]} == failures
    assert document["total"]["requests"] >= 20
    rate = {"fail_every": 0.1, "delay_s": 0.0, "missing_rows": 1.0}[next(iter(faults))]
    assert findings["error_rate"]["measured"] == pytest.approx(rate, abs=0.06)
    assert findings["p99_s"]["measured"] >= faults.get("delay_s", 0.0)


def test_good_server_holds_the_objective(
    serve: Callable, tmp_path: Path, brief: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Right answers in time in both encodings get exit code 0, an HTML report, CSV files and tables."""
    report = tmp_path / "new" / "report.html"
    with serve() as server:
        three = ("--protocol", "task,binary,json")
        assert brief(server.address, "--max-p99-ms", "20000", *three, "--report", str(report)) == 0
    assert "The objective holds" in report.read_text()
    assert "<html" in report.with_name("report_locust.html").read_text()
    assert report.with_name("report_stats.csv").exists()
    printed = capsys.readouterr().out
    assert printed.startswith("the objective holds: ")
    assert "\x1b" not in printed
    assert all(text in printed for text in ("/classify", "(binary)", "(json)", "error rate", "rows a run"))


@pytest.mark.slow
def test_late_answers_delay_what_is_due_after_them(
    serve: Callable, brief: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """In an open loop time counts from when a request was due, and what could not be sent has failed."""
    with serve(delay_s=0.05) as server:
        assert brief(server.address, "--json", "--rate", "100", "--users", "1", "--max-p99-ms", "200") == 1
    document = json.loads(capsys.readouterr().out)
    broken = {finding["figure"] for finding in document["findings"] if not finding["holds"]}
    assert broken == {"p99_s", "error_rate"}
    assert document["total"]["p99_s"] > 0.2  # although each answer takes a quarter of it
    assert document["generator"]["not_sent"] > 0
    assert any("were due while no caller was free" in note for note in document["notes"])


@pytest.mark.slow
def test_sweep_runs_once_for_each_number_of_callers(
    serve: Callable, tmp_path: Path, brief: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """The verdict names the best run, the table has a line for each, and each has its files."""
    with serve() as server:
        assert brief(server.address, "--sweep", "1,3", "--max-p99-ms", "20000") == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["run 1 of 2: 1 at once for 60 s", "run 2 of 2: 3 at once for 60 s"]
    lines = captured.out.splitlines()
    assert lines[0].startswith("the objective holds in 2 of 2 runs; best with ")
    table = [line.split() for line in lines if line.endswith("yes ")]
    assert [cells[0] for cells in table] == ["1", "3"]
    assert [cells[10] for cells in table] == ["3.0", "3.0"]  # rows of a run, by the server
    assert {path.name for path in tmp_path.glob("*_stats.csv")} == {"report-1_stats.csv", "report-3_stats.csv"}
    assert "report-3_locust.html" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_time_of_the_server_is_reported_beside_that_of_the_client(
    serve: Callable, brief: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """The server's statistics say how the time of this run's requests is split."""
    with serve() as server:
        brief(server.address, "--json", "--max-p99-ms", "20000")
    document = json.loads(capsys.readouterr().out)
    split = document["server"]
    assert (split["queue_s"], split["compute_s"], split["total_s"], split["rows_per_run"]) == (0.002, 0.001, 0.004, 3.0)
    assert split["rest_s"] == pytest.approx(document["total"]["mean_s"] - 0.004)


@pytest.mark.parametrize(
    ("last_event", "code", "failures"),
    [pytest.param(b"done", 0, set(), marks=pytest.mark.slow), (b"error", 1, {"an event tells an error"})],
)
def test_stream_is_read_to_its_end(
    serve: Callable,
    brief: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    last_event: bytes,
    code: int,
    failures: set[str],
) -> None:
    """A model that answers step by step is found; an event with an error is a failure, the first event has its time."""
    with serve(last_event=last_event) as server:
        assert brief(server.address, "--json", "--max-p99-ms", "20000", "--protocol", "stream") == code
    document = json.loads(capsys.readouterr().out)
    assert document["plan"]["model"] == "series"
    assert {failure["text"] for failure in document["failures"]} == failures
    assert document["generator"]["first_p50_s"] is not None


def test_request_of_ones_own_is_sent_as_it_is(
    serve: Callable, tmp_path: Path, brief: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file is the body of every request; one that the server refuses ends the command with the server's words."""
    body = tmp_path / "request.json"
    body.write_text(json.dumps({"model": "series", "inputs": [[1], [2]]}))
    with serve() as server:
        words = ("--model", "series", "--body", str(body), "--max-p99-ms", "20000")
        assert brief(server.address, *words) == 0
        capsys.readouterr()
        body.write_text(json.dumps({"model": "digits", "inputs": [[[[1]]]]}))
        assert brief(server.address, "--model", "digits", "--body", str(body)) == 1
    assert '/classify answered 400: {"error": "expected rows of 1x8x8' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "plain", "--protocol", "task"), "model 'plain' has no task route: ask it with --protocol json"),
        (("--model", "digits", "--protocol", "stream"), "expected one of predict_sequence, generate"),
        (("--model", "digits", "--protocol", "live"), "--protocol live needs a model whose live stream takes requests"),
        (("--body", "none.json"), "--body none.json: expected a file that can be read"),
        (("--body", "Makefile"), "--body Makefile: expected a name that tells its type"),
    ],
)
def test_request_that_cannot_be_made_is_reported_in_one_line(
    serve: Callable, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before Locust starts, with what was expected; the code is 1."""
    with serve() as server:
        assert run("--host", server.address, *words) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_missing_grpc_is_reported(
    serve: Callable, closed_address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody answers, code 1 and the setting of the server; without grpcio, code 2 and the extra."""
    monkeypatch.setattr("loadtests.sending.grpc_client._CONNECT_S", 0.1)
    with serve() as server:
        there = closed_address.removeprefix("http://")
        assert run("--host", server.address, "--protocol", "grpc", "--grpc", there) == 1
    assert f"no gRPC at {there} within 0.1 s: start the server with SLUICE_GRPC_PORT" in capsys.readouterr().err
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name == "grpc" else object())
    assert run("--host", "http://x", "--protocol", "grpc") == 2
    assert "pip install 'sluice-serving[grpc]'" in capsys.readouterr().err


def test_tensors_over_grpc(serve: Callable, brief: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """Requests and answers are those of the protocol; the answers are checked as those over HTTP."""
    with serve() as server, answering_grpc() as address:
        words = ("--protocol", "grpc", "--grpc", address, "--max-p99-ms", "20000")
        assert brief(server.address, *words) == 0
    assert "/infer (grpc)" in capsys.readouterr().out


@pytest.mark.slow
def test_tensors_over_a_websocket(
    tmp_path: Path, brief: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each caller has a live stream of its own, on a real server, beside callers of another protocol."""
    store = write_plain(tmp_path / "store", "double", double())
    with Serving(Settings(store=store), FAST) as server:
        words = ("--model", "double", "--protocol", "live,json", "--max-p99-ms", "20000")
        assert brief(server.url, *words) == 0
    printed = capsys.readouterr().out
    assert "/stream (live)" in printed
    assert "/infer (json)" in printed


@pytest.mark.slow
def test_calls_over_grpc_have_the_key_of_the_variable(
    serve: Callable, brief: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the run and the one before it, which tells what is wrong without the key."""
    with serve() as server, answering_grpc("secret") as address:
        words = ("--protocol", "grpc", "--grpc", address, "--max-p99-ms", "20000")
        assert brief(server.address, *words) == 1
        assert "answered UNAUTHENTICATED: expected a key" in capsys.readouterr().err
        monkeypatch.setenv("LOADTEST_KEY", "secret")
        assert brief(server.address, *words) == 0


def test_server_that_asks_for_a_key_gets_that_of_the_variable(
    tmp_path: Path, brief: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request has it: before the run, over HTTP, in a WebSocket. Without it the text says what to do."""
    store = write_plain(tmp_path / "store", "double", double())
    key = make_key()
    entry = render_entry("load", key, {"scopes": ["infer"]})
    with Serving(Settings(store=store, api_keys=SecretStr(entry)), FAST) as server:
        for words in ((), ("--model", "double")):
            assert run("--host", server.url, *words) == 1
            assert "answered 401" in (said := capsys.readouterr().err)
            assert "set LOADTEST_KEY to a key with the scope infer" in said
        monkeypatch.setenv("LOADTEST_KEY", key)
        assert brief(server.url, "--protocol", "live,json,binary", "--max-p99-ms", "20000") == 0


def test_unreachable_server_is_named(tmp_path: Path, closed_address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody listens the command ends with code 1 and a line with the address, before Locust is started."""
    assert run("--host", closed_address, "--report", str(tmp_path / "report.html")) == 1
    said = capsys.readouterr().err
    assert f"no answer from {closed_address}" in said
    assert "check that a server runs there" in said
    assert not list(tmp_path.iterdir())


def test_unknown_model_is_named(serve: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that the server does not have ends the command with code 1 and says what to change."""
    with serve() as server:
        assert run("--host", server.address, "--model", "horses") == 1
    assert "/v2/models/horses answered 404 instead of 200" in capsys.readouterr().err


def test_broken_locust_is_not_a_measurement(
    serve: Callable, tmp_path: Path, brief: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """When Locust itself cannot run, the command says so with the end of its log, and old figures are not judged."""
    (tmp_path / "report_stats.csv").write_text("figures of yesterday")
    (tmp_path / "brief.py").write_text("raise RuntimeError('planned')")
    with serve() as server:
        assert brief(server.address) == 1
    assert "RuntimeError: planned" in capsys.readouterr().err
    assert not (tmp_path / "report_stats.csv").exists()


def test_missing_locust_names_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without Locust the command ends with code 2 and the line that installs it."""
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert run("--host", "http://127.0.0.1:1") == 2
    assert "pip install 'sluice-serving[loadtest]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "--host"),
        (("--host", "127.0.0.1:3000"), "expected an address such as"),
        (("--host", "http://x:port"), "expected an address such as"),
        (("--host", "http://x", "--users", "0"), "expected a whole number from 1"),
        (("--host", "http://x", "--spawn-rate", "nan"), "expected a number above 0"),
        (("--host", "http://x", "--max-error-rate", "5"), "expected a fraction from 0 to 1"),
        (("--host", "http://x", "--max-p99-ms", "-1"), "expected a number above 0"),
        (("--host", "http://x", "--report", "report.txt"), "expected a file that ends in .html"),
        (
            ("--host", "http://x", "--protocol", "task,smoke"),
            "expected some of task, json, binary, grpc, stream, live, got 'smoke'",
        ),
        (("--host", "http://x", "--sweep", "1,x"), "expected whole numbers from 1, comma-separated"),
        (("--host", "http://x", "--sweep", "1,4", "--users", "3"), "not allowed with argument"),
        (("--host", "http://x", "--rate", "0"), "expected a number above 0"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong argument ends the command with code 2 and a line that says what was expected."""
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--rate", "5", "--sweep", "1,4"), "--rate and --sweep: expected one of them"),
        (("--rate", "0.1", "--run-time", "2"), "--rate 0.1: expected at least one request in --run-time 2"),
        (("--body", "a.json", "--protocol", "binary"), "--body: expected --protocol task, json or stream, got binary"),
    ],
)
def test_arguments_that_do_not_go_together(
    words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They end the command with code 2 and one sentence, before a server is asked."""
    assert run("--host", "http://127.0.0.1:1", *words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sluice loadtest: {text}")
