"""``sluice loadtest`` from its arguments to its exit code, against the stand-in server; failures first."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests import cli


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="sluice loadtest")
    cli.loadtest_arguments(parser)
    return cli.loadtest(parser.parse_args(words))


def run_briefly(address: str, folder: Path, *words: str) -> int:
    short = ("--users", "4", "--spawn-rate", "100", "--run-time", "1")
    return run("--host", address, *short, "--report", str(folder / "report.html"), "--json", *words)


def test_failing_server_breaks_the_objective(
    serve: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that fails every tenth request gets exit code 1, and the verdict says that it is the error rate."""
    with serve(fail_every=10) as server:
        assert run_briefly(server.address, tmp_path, "--max-p99-ms", "20000") == 1
    document = json.loads(capsys.readouterr().out)
    findings = {finding["figure"]: finding for finding in document["findings"]}
    assert findings["error_rate"]["measured"] == pytest.approx(0.1, abs=0.05)
    assert [name for name, finding in findings.items() if not finding["holds"]] == ["error_rate"]
    assert [failure["text"] for failure in document["failures"]] == ["status 500 instead of 200"]


def test_error_rate_within_the_limit_holds(serve: Callable, tmp_path: Path) -> None:
    """The same failures are no breach when the objective allows them: Locust's own exit code does not decide."""
    with serve(fail_every=10) as server:
        assert run_briefly(server.address, tmp_path, "--max-p99-ms", "20000", "--max-error-rate", "0.5") == 0


def test_slow_server_breaks_the_objective(serve: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers that take longer than the p99 limit get exit code 1, and the verdict says that it is the p99."""
    with serve(delay_s=0.05) as server:
        assert run_briefly(server.address, tmp_path, "--max-p99-ms", "30") == 1
    findings = {finding["figure"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["p99_s"]["measured"] >= 0.05
    assert [name for name, finding in findings.items() if not finding["holds"]] == ["p99_s"]


def test_unreachable_server_is_named(tmp_path: Path, closed_address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody listens the command ends with code 1 and a line with the address, before Locust is started."""
    assert run_briefly(closed_address, tmp_path) == 1
    said = capsys.readouterr().err
    assert f"no answer from {closed_address}" in said
    assert "is a server running there?" in said
    assert not (tmp_path / "report.html").exists()


def test_unknown_model_is_named(serve: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that the server does not have ends the command with code 1 and says what to change."""
    with serve() as server:
        assert run_briefly(server.address, tmp_path, "--model", "horses") == 1
    assert "/v2/models/horses answered 404 instead of 200" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("classify", "the number of predictions is not the number of rows"),
        ("binary", "output 'scores' has not the shape of its signature with one row per row sent"),
    ],
)
def test_wrong_shape_is_a_failure(
    serve: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str], user: str, text: str
) -> None:
    """An answer with status 200 and a row too few is counted as a failure, whatever its encoding."""
    with serve(missing_rows=1) as server:
        code = run_briefly(server.address, tmp_path, "--user", user, "--model", "digits", "--rows-per-request", "3")
    assert code == 1
    document = json.loads(capsys.readouterr().out)
    assert document["total"]["failures"] == document["total"]["requests"] > 0
    assert [failure["text"] for failure in document["failures"]] == [text]


def test_broken_locust_is_not_a_measurement(
    serve: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When Locust itself cannot run, the command says so with the end of its log, and old figures are not judged."""
    (tmp_path / "report_stats.csv").write_text("figures of yesterday")
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('planned')")
    monkeypatch.setattr("loadtests.run.LOCUSTFILE", broken)
    with serve() as server:
        assert run_briefly(server.address, tmp_path) == 1
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


def test_good_server_holds_the_objective(serve: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Right and quick answers in both encodings get exit code 0, an HTML report, CSV files and tables."""
    short = ("--users", "4", "--spawn-rate", "100", "--run-time", "1", "--max-p99-ms", "20000", "--user", "both")
    report = tmp_path / "new" / "report.html"
    with serve() as server:
        assert run("--host", server.address, *short, "--report", str(report)) == 0
    assert "<html" in report.read_text()
    assert (tmp_path / "new" / "report_stats.csv").exists()
    printed = capsys.readouterr().out
    assert "/classify" in printed
    assert "(binary)" in printed
    assert "error rate" in printed
