"""How `sluice serve` starts, and what it says if it cannot. Real processes."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import tritonclient.grpc as triton

from service.api.openapi.examples import EXAMPLES
from service.cli import _greet
from service.settings import Settings
from tests.support.models import graphs
from tests.support.processes import REPOSITORY, Served, free_port


@pytest.fixture
def store(tmp_path: Path) -> Path:
    graphs.write_plain(tmp_path / "store", "double", graphs.double())
    return tmp_path / "store"


def refuse(*arguments: str, **environment: str) -> str:
    """The one line that a refused start prints."""
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
        (("--store", "/none"), {}, "SLUICE_STORE=/none (--store): expected a folder of models"),
    ],
    ids=["misspelt setting", "no store"],
)
def test_wrong_setting_is_told_in_one_line(arguments: tuple[str, ...], environment: dict[str, str], said: str) -> None:
    """A wrong setting ends `sluice serve` with code 2 and a text that names it and what to do, without a traceback."""
    assert refuse("--port", "0", *arguments, **environment).startswith(f"sluice serve: {said}")


OF_KUBERNETES = {"SLUICE_PORT": "tcp://10.0.0.1:3000", "SLUICE_SERVICE_HOST": "10.0.0.1"}


class Running(NamedTuple):
    """A server of two workers that listens on all addresses, below a base path."""

    server: Served
    grpc_port: str
    metrics_dir: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root, grpc_port = tmp_path_factory.mktemp("running"), str(free_port())
    store = graphs.write_plain(root / "store", "double", graphs.double())
    environment = {"SLUICE_GRPC_PORT": grpc_port, "SLUICE_METRICS_DIR": str(root / "metrics"), **OF_KUBERNETES}
    environment |= {"SLUICE_BASE_PATH": "/a/b", "SLUICE_FAST_PATH": "false"}
    with Served("--store", str(store), "--host", "::", workers=2, environment=environment) as server:
        server.url += "/a/b"
        yield Running(server, grpc_port, str(root / "metrics"))


@pytest.mark.long
def test_listens_on_all_addresses_of_both_families(running: Running) -> None:
    """`::` is IPv4 and IPv6 for HTTP and gRPC; variables of Kubernetes are passed over; a request for h2c is read."""
    server = running.server
    for address in ("127.0.0.1", "[::1]"):
        assert httpx.get(f"http://{address}:{server.port}/a/b/readyz", verify=False).status_code == 200  # noqa: S501
        with triton.InferenceServerClient(f"{address}:{running.grpc_port}") as over_grpc:
            assert over_grpc.is_server_ready()
    assert sum("SLUICE_PORT, SLUICE_SERVICE_HOST: ignored, because Kubernetes" in line for line in server.log) == 1
    assert server.infer(connection="Upgrade", upgrade="h2c") == 200


def test_start_tells_the_playground_and_the_next_command(running: Running) -> None:
    """When a worker has loaded its models, two lines tell the address of the pages and a command that answers."""
    server = running.server
    if not any("next, in another terminal" in line for line in server.log):
        server.read_until("next, in another terminal", 1)
    told = [line for line in server.log if line.startswith("sluice serve: ")]
    url = f"http://[::1]:{server.port}/a/b"
    assert told[0] == f"sluice serve: listening on http://[::]:{server.port}\n"
    assert re.fullmatch(rf"sluice serve: started in \d+\.\d s; playground: {re.escape(url)}/\n", told[1])
    assert told[2] == f"sluice serve: next, in another terminal: curl -s {url}/models\n"


def test_next_command_asks_a_reference_model_what_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    """With the reference models the next command is a documented request."""
    _greet(Settings(), 0.0)
    address, _, body = capsys.readouterr().out.splitlines()[1].partition(" -d '")
    assert address.endswith("curl -s http://127.0.0.1:3000/classify")
    request = json.loads(body.removesuffix("'"))
    _, documented = EXAMPLES["classify"]["language"]
    assert request["model"] == documented["model"]
    assert set(request["inputs"]) <= set(documented["inputs"])


@pytest.mark.long
def test_health_is_asked_of_the_server_of_the_settings(running: Running) -> None:
    """`sluice health` ends with code 0 where that server is ready, and with 1 and the reason where nobody listens."""

    def ask_health(port: int) -> tuple[int, str]:
        command = [sys.executable, "-m", "sluice", "health", "--port", str(port)]
        environment = {**os.environ, "SLUICE_BASE_PATH": "/a/b"}
        done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True)
        return done.returncode, done.stdout

    assert ask_health(running.server.port) == (0, "sluice health: ready\n")
    assert ask_health(free_port()) == (1, "sluice health: [Errno 111] Connection refused\n")


@pytest.mark.long
def test_taken_port_and_folder_are_told_in_one_line(running: Running, store: Path) -> None:
    """A second server on a port or folder of the first ends with code 2; Ctrl-C ends the first one well."""
    server, other = running.server, ("--store", str(store), "--port", str(free_port()))
    said = refuse(*other[:2], "--port", str(server.port))
    assert said.startswith(f"sluice serve: SLUICE_HOST=127.0.0.1 SLUICE_PORT={server.port}: expected")
    assert f"SLUICE_GRPC_PORT={running.grpc_port}: expected" in refuse(*other, SLUICE_GRPC_PORT=running.grpc_port)
    assert "another server has it" in refuse(*other, SLUICE_METRICS_DIR=running.metrics_dir)
    assert "sluice_workers 2.0" in server.get("/metrics").text
    assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in "".join(server.log)


@pytest.mark.long
def test_missing_extra_is_told_in_one_line(store: Path, tmp_path: Path) -> None:
    """A fault that only a worker finds ends the server too, with one line: here gRPC is not installed."""
    (tmp_path / "grpc").mkdir()
    (tmp_path / "grpc" / "__init__.py").write_text('raise ModuleNotFoundError("No module named grpc", name="grpc")\n')
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    arguments = ("--store", str(store), "--port", "0", "--workers", "1")
    said = refuse(*arguments, SLUICE_GRPC_PORT=str(free_port()), PYTHONPATH=path)
    assert "grpc is not installed: pip install 'sluice-serving[grpc]'" in said


@pytest.mark.long
def test_worker_that_never_comes_up_ends_the_server(store: Path, tmp_path: Path) -> None:
    """Another start would change nothing, so there is none: code 1, and the log has the reason."""
    (tmp_path / "onnxruntime.py").write_text('raise ImportError("no such library")\n')
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    command = [sys.executable, "-m", "sluice", "serve", "--store", str(store), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    said = "sluice serve: a worker ended with code 1 before it could serve: the log tells why"
    assert done.stderr.splitlines()[-1] == said
    assert "no such library" in done.stderr


@pytest.mark.long
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
