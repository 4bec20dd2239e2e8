"""`sluice doctor` from its arguments to its exit code; failures first."""

import argparse
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sluice
from service.doctor import address, cli, runtime
from service.engine.onnx.providers import CPU
from service.errors import NotReady
from service.settings import Settings
from tests.support.models.graphs import double, write_plain
from tests.support.servers import Serving

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_plain(tmp_path / "store", "double", double())


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on the machine of the test is as it should be."""
    for name in ("check_load", "check_processor", "check_libraries", "check_request_path"):
        for module in (cli.machine, cli.libraries, runtime):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda _: iter(()))
    checks = [c for c in cli._CHECKS if c.__name__ not in ("check_load", "check_processor", "check_libraries")]
    monkeypatch.setattr(cli, "_CHECKS", tuple(checks))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def run(*words: str | Path) -> int:
    return sluice.main(["doctor", *map(str, words)])


def report(capsys: Capture, *words: str | Path) -> tuple[int, dict[str, Any]]:
    code = run("--json", "--port", "0", *words)
    document = json.loads(capsys.readouterr().out)
    assert document["healthy"] == (code == 0)
    return code, document


@pytest.mark.parametrize("words", [("--nope",), ("--max-rows",), ("--lazy", "maybe")])
def test_wrong_usage_ends_with_2(words: tuple[str, ...], capsys: Capture) -> None:
    """An unknown flag, one without its value and one with a wrong value are told in one line after the usage."""
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
    usage, said = capsys.readouterr().err.splitlines()
    assert usage == "usage: sluice doctor [--json] [--SETTING VALUE ...]"
    assert words[0] in said


def test_setting_that_a_server_would_refuse_is_wrong(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """An unknown variable is named with what was meant, and the other checks still run."""
    monkeypatch.setenv("SLUICE_MAX_ROW", "8")
    code, document = report(capsys, "--store", root)
    wrong = [found for found in document["findings"] if found["state"] == "wrong"]
    assert code == 1
    assert wrong[0]["text"].startswith("unknown setting SLUICE_MAX_ROW: did you mean SLUICE_MAX_ROWS?")
    assert {"store", "port"} <= {found["check"] for found in document["findings"]}


def test_flags_of_the_server_of_a_container_count(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """The server has them from its command, not from variables; flags of the command itself go before them."""
    monkeypatch.setattr(cli, "read_server_flags", lambda: ["--store", str(root), "--models", "horses"])
    code, document = report(capsys)
    assert code == 1
    assert any("SLUICE_MODELS names 'horses'" in found["text"] for found in document["findings"])
    assert report(capsys, "--models", "double")[0] == 0


def test_check_that_fails_hides_no_other(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """A fault of a check is a finding of its own."""

    def check_luck(_: Settings) -> list[Any]:
        raise ZeroDivisionError("planned")

    monkeypatch.setattr(cli, "_CHECKS", (check_luck, *cli._CHECKS))
    code, document = report(capsys, "--store", root)
    assert code == 1
    [wrong] = [found for found in document["findings"] if found["state"] == "wrong"]
    assert (wrong["check"], wrong["text"]) == ("luck", "this could not be checked: ZeroDivisionError: planned")


def test_taken_port_is_wrong_unless_a_server_of_ours_is_ready_there(root: Path, taken: int) -> None:
    """Another program on the port is wrong; a ready server is worth knowing."""
    [found] = address.check_address(Settings(port=taken, store=root).replace(base_path=""))
    assert (found.check, found.state, "ss -ltnp" in found.advice) == ("port", "wrong", True)
    with Serving(Settings(store=root)) as server:
        [found] = address.check_address(Settings(port=int(server.url.rpartition(":")[2])))
    assert (found.state, "a server is ready at" in found.text) == ("note", True)


def test_port_of_grpc_is_checked_too(root: Path, taken: int) -> None:
    """A taken port of gRPC is named by its own variable."""
    http, grpc = address.check_address(Settings(port=0, grpc_port=taken))
    assert (http.state, grpc.state, grpc.check) == ("ok", "wrong", "grpc_port")


def test_variables_of_kubernetes_and_of_threads_are_told() -> None:
    """What is ignored, and what overrides the number of cores."""
    environ = {"SLUICE_SERVICE_HOST": "10.0.0.1", "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": ""}
    ignored, used = address.check_variables(environ)
    assert "SLUICE_SERVICE_HOST" in ignored.text
    assert used.text.startswith("OMP_NUM_THREADS=3: used")
    assert list(address.check_variables({})) == []


def test_provider_that_cannot_run_is_wrong() -> None:
    """The reason is that of the server."""

    def refuse(policy: str) -> str:
        raise NotReady(f"no {policy}")

    [found] = runtime.check_provider(Settings(provider="cuda"), refuse)
    assert (found.state, "cannot run on 'cuda': no cuda" in found.text) == ("wrong", True)


@pytest.mark.parametrize(
    ("available", "said"), [([CPU], "this build has no CUDA"), (["CUDAExecutionProvider", CPU], "do not load")]
)
def test_gpu_that_is_not_used_is_slow(available: list[str], said: str) -> None:
    """The build without CUDA, and libraries that do not load, are told apart."""
    settings = Settings()
    [found] = runtime.check_provider(settings, lambda _: CPU, lambda _: available, lambda: 1)
    assert (found.state, said in found.text) == ("slow", True)
    [found] = runtime.check_provider(settings.replace(provider="cpu"), lambda _: CPU, lambda _: available, lambda: 1)
    assert found.state == "ok"


def test_session_really_runs() -> None:
    """The provider is that of a session which has run."""
    assert runtime.run_session("cpu") == CPU


def test_good_machine_ends_with_0_and_the_verdict_comes_first(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The first line is the verdict; all lines fit 80 columns, without colours in a pipe."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run("--store", root, "--port", "0") == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].startswith("a server would work: 0 wrong, 0 slow, ")
    assert max(map(len, lines[1:])) <= 80 or str(root) in printed
    assert "\x1b" not in printed
    assert [line for line in lines if "runs a session on CPUExecutionProvider" in line]


def test_what_is_wrong_comes_before_what_is_right(tmp_path: Path, capsys: Capture) -> None:
    """Each finding has its advice below."""
    assert run("--store", tmp_path / "none", "--port", "0") == 1
    lines = capsys.readouterr().out.splitlines()
    assert "1 wrong" in lines[0]
    assert lines[1].startswith("wrong store")
    assert any("do: correct SLUICE_STORE" in line for line in lines[2:6])


def test_arguments_are_those_of_serve() -> None:
    """Every flag of `sluice serve` is one of `sluice doctor`."""
    parser = argparse.ArgumentParser()
    cli.doctor_arguments(parser)
    assert parser.parse_args(["--max-rows", "8", "--json"]).max_rows == "8"


def test_server_that_everybody_may_ask_is_told(tmp_path: Path) -> None:
    """On this machine nobody else reaches it; elsewhere keys, or certificates of clients, keep others out."""
    keys = tmp_path / "keys.toml"
    keys.write_text("")
    here, elsewhere = Settings(), Settings(host="192.0.2.1")
    assert list(address.check_access(here)) == []
    assert [each.state for each in address.check_access(elsewhere)] == ["note"]
    assert [each.state for each in address.check_access(elsewhere.replace(api_keys_file=keys))] == ["ok"]
    keys.write_text("[ci]")
    [found] = address.check_access(here.replace(api_keys_file=keys))
    assert (found.state, "ci.sha256: expected a value" in found.text) == ("wrong", True)
