"""``sluice loadtest`` from its arguments to its exit code, against the stand-in server; failures first."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sluice
from loadtests import cli

LOCUSTFILE = '''
"""The users of the load test. The run ends when each kind has made so many requests, however long that takes."""

import gevent
from locust import events

from loadtests.locustfile import BinaryUser, ClassifyUser


@events.init.add_listener
def end_when_enough(environment, **_):
    ending = []

    def count(**_):
        made = [entry.num_requests for entry in environment.stats.entries.values()]
        if len(made) == len(environment.user_classes) and min(made) >= 20 and not ending:
            ending.append(gevent.spawn(environment.runner.quit))

    environment.events.request.add_listener(count)
'''


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
        short = ("--users", "4", "--spawn-rate", "100", "--run-time", "60", "--report", str(tmp_path / "report.html"))
        return run("--host", address, *short, *words)

    return run_briefly


OF_DIGITS = ("--model", "digits", "--rows-per-request", "3")
PLANNED = {"status 500 instead of 200"}
TOO_FEW = {
    "classify": {"the number of predictions is not the number of rows"},
    "binary": {"output 'scores' does not have its signature's shape with one row per row sent"},
}


@pytest.mark.parametrize(
    ("faults", "words", "code", "broken", "failures"),
    [
        ({"fail_every": 10}, (), 1, {"error_rate"}, PLANNED),
        # Where they are allowed failures are no breach: Locust's own exit code does not decide.
        ({"fail_every": 10}, ("--max-error-rate", "0.5"), 0, set(), PLANNED),
        ({"delay_s": 0.05}, ("--max-p99-ms", "30"), 1, {"p99_s"}, set()),
        # Status 200 and a row too few.
        *(({"missing_rows": 1}, ("--user", u, *OF_DIGITS), 1, {"error_rate"}, TOO_FEW[u]) for u in TOO_FEW),
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
    """A fault of the server breaks the figure that it concerns and no other; the failures are told by their text."""
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
        assert brief(server.address, "--max-p99-ms", "20000", "--user", "both", "--report", str(report)) == 0
    assert "<html" in report.read_text()
    assert report.with_name("report_stats.csv").exists()
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("/classify", "(binary)", "error rate"))


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
        (("--host", "http://x", "--user", "everyone"), "invalid choice"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong argument ends the command with code 2 and a line that says what was expected."""
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err
