"""How `sluice serve` starts, and how it says that it cannot: real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import tritonclient.grpc as triton

from tests.support.models import graphs
from tests.support.processes import REPOSITORY, Served, free_port


@pytest.fixture
def store(tmp_path: Path) -> Path:
    graphs.write_plain(tmp_path / "store", "double", graphs.double())
    return tmp_path / "store"


def refuse(*arguments: str, **environment: str) -> str:
    """The one line with which a start ends that cannot be."""
    done = subprocess.run(
        [sys.executable, "-m", "sluice", "serve", *arguments],
        env={**os.environ, **environment},
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ((), {"SLUICE_MAX_ROW": "8"}, "unknown setting SLUICE_MAX_ROW"),
        (("--host", "nobody.invalid"), {}, "SLUICE_HOST=nobody.invalid"),
        (("--host", "x" * 70), {}, f"SLUICE_HOST={'x' * 70}"),
        (("--host", "192.0.2.1"), {}, "SLUICE_HOST=192.0.2.1"),
        (("--store", "/none"), {}, "SLUICE_STORE=/none (--store): expected a folder of models"),
    ],
    ids=["misspelt setting", "unknown name", "long name", "address of another machine", "no store"],
)
def test_wrong_setting_is_told_in_one_line(arguments: tuple[str, ...], environment: dict[str, str], said: str) -> None:
    """It ends `sluice serve` with code 2 and a text that names the setting and what to do, without a traceback."""
    assert refuse("--port", "0", *arguments, **environment).startswith(f"sluice serve: {said}")


def test_listens_on_all_addresses_of_both_families(store: Path) -> None:
    """`::` is IPv4 and IPv6 for HTTP and gRPC, among variables of Kubernetes, which are passed over with one line.

    `sluice health` asks the server of its settings: code 0 where it is ready, 1 with the reason where nobody listens.
    On the ASGI path, too, a body comes through although its request asks for h2c, as those of Java's client do.
    """
    grpc_port = str(free_port())
    environment = {
        "SLUICE_GRPC_PORT": grpc_port,
        "SLUICE_PORT": "tcp://10.0.0.1:3000",
        "SLUICE_SERVICE_HOST": "10.0.0.1",
        "SLUICE_BASE_PATH": "/a/b",
        "SLUICE_FAST_PATH": "false",
    }

    def ask_health(port: int) -> tuple[int, str]:
        command = [sys.executable, "-m", "sluice", "health", "--port", str(port)]
        done = subprocess.run(
            command, env={**os.environ, "SLUICE_BASE_PATH": "/a/b"}, cwd=REPOSITORY, capture_output=True, text=True
        )
        return done.returncode, done.stdout

    with Served("--store", str(store), "--host", "::", workers=1, environment=environment) as server:
        for address in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{address}:{server.port}/a/b/readyz").status_code == 200
            with triton.InferenceServerClient(f"{address}:{grpc_port}") as over_grpc:
                assert over_grpc.is_server_ready()
        assert sum("SLUICE_PORT, SLUICE_SERVICE_HOST: ignored, because Kubernetes" in line for line in server.log) == 1
        server.url += "/a/b"
        assert server.infer(connection="Upgrade", upgrade="h2c") == 200
        assert ask_health(server.port) == (0, "sluice health: ready\n")
        assert ask_health(free_port()) == (1, "sluice health: [Errno 111] Connection refused\n")
        assert server.stop() == 0


def test_taken_port_and_folder_are_told_in_one_line(store: Path, tmp_path: Path) -> None:
    """A second server on the port, the gRPC port or the metrics folder of one that runs ends with code 2 at once."""
    grpc_port = str(free_port())
    environment = {"SLUICE_GRPC_PORT": grpc_port, "SLUICE_METRICS_DIR": str(tmp_path / "metrics")}
    with Served("--store", str(store), "--host", "localhost", workers=2, environment=environment) as server:
        other = ("--store", str(store), "--port", str(free_port()))
        said = refuse(*other[:2], "--port", str(server.port))
        assert said.startswith(f"sluice serve: SLUICE_HOST=127.0.0.1 SLUICE_PORT={server.port}: expected")
        assert f"SLUICE_GRPC_PORT={grpc_port}: expected" in refuse(*other, SLUICE_GRPC_PORT=grpc_port)
        assert "another server has it" in refuse(*other, SLUICE_METRICS_DIR=str(tmp_path / "metrics"))
        assert "sluice_workers 2.0" in httpx.get(f"{server.url}/metrics").text
        assert server.stop() == 0


def test_missing_extra_is_told_in_one_line(store: Path, tmp_path: Path) -> None:
    """A fault that only a worker finds ends the server too, with one line: here gRPC is not installed."""
    (tmp_path / "grpc").mkdir()
    (tmp_path / "grpc" / "__init__.py").write_text('raise ModuleNotFoundError("No module named grpc", name="grpc")\n')
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    arguments = ("--store", str(store), "--port", "0", "--workers", "2")
    said = refuse(*arguments, SLUICE_GRPC_PORT=str(free_port()), PYTHONPATH=path)
    assert "grpc is not installed: pip install 'sluice-serving[grpc]'" in said


def test_worker_that_never_comes_up_ends_the_server(store: Path, tmp_path: Path) -> None:
    """Nothing would change by another start, so there is none: code 1, and the log has the reason."""
    (tmp_path / "onnxruntime.py").write_text('raise ImportError("no such library")\n')
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    command = [sys.executable, "-m", "sluice", "serve", "--store", str(store), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    said = "sluice serve: a worker ended with code 1 before it could serve: the log tells why"
    assert done.stderr.splitlines()[-1] == said
    assert "no such library" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_while_it_starts_ends_it_well(store: Path, number: int) -> None:
    """Signals that come before any worker can answer, and repeatedly, end the server with code 0."""
    command = [sys.executable, "-m", "sluice", "serve", "--store", str(store), "--port", "0", "--workers", "2"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith("sluice serve: listening on http://127.0.0.1:")
        process.send_signal(number)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0
