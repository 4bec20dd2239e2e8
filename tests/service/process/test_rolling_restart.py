"""`sluice serve` that replaces its workers at SIGHUP: real processes."""

import asyncio
import contextlib
import fcntl
import http.client
import os
import pty
import signal
import subprocess
import termios
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.load import RIGHT, load
from tests.service.models.asking import X
from tests.support.models import graphs
from tests.support.processes import Served, free_port

INFER = "/v2/models/double/infer"
RESTARTS = 3
ALL_REPLACED = "SIGHUP: all workers have been replaced"
Serve = Callable[..., Served]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return graphs.write_plain(tmp_path / "store", "double", graphs.double())


@pytest.fixture
def serve(store: Path, sighup: None) -> Serve:
    def serve(*arguments: str, workers: int = 1, **environment: str) -> Served:
        return Served("--store", str(store), *arguments, workers=workers, environment=environment)

    return serve


@pytest.mark.slow
def test_no_request_is_lost_while_all_workers_are_replaced(serve: Serve) -> None:
    """Three times under load, over kept and new connections and gRPC: every answer is a result, from new processes."""
    grpc_port = free_port()

    async def restart(server: Served) -> Counter[str]:
        async with load(server.port, grpc_port) as answers:
            for _ in range(RESTARTS):
                before, asked = server.worker_pids(), answers.total()
                server.process.send_signal(signal.SIGHUP)
                await asyncio.to_thread(server.read_until, ALL_REPLACED, 1)
                assert len(server.worker_pids()) == 2
                assert not set(before) & set(server.worker_pids())
                assert answers.total() > asked
        return answers

    with serve(workers=2, SLUICE_GRPC_PORT=str(grpc_port)) as server:
        answers = asyncio.run(restart(server))
        assert set(answers) == {RIGHT}, answers
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.log)


@pytest.mark.long
def test_open_connection_is_told_to_close_by_an_answer(serve: Serve) -> None:
    """A connection to the old worker is answered, ready as before, until an answer tells it to close."""
    with serve() as server, contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, 60)) as client:
        client.request("GET", "/readyz")
        assert client.getresponse().read()
        [old] = server.worker_pids()
        server.process.send_signal(signal.SIGHUP)
        server.read_until("models serve", 1)
        is_last = False
        while not is_last:  # once the new worker listens, the old one is told to leave
            assert old in server.worker_pids()
            client.request("GET", "/readyz")
            answer = client.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
            is_last = answer.headers["connection"] == "close"
        server.read_until(ALL_REPLACED, 1)
        assert old not in server.worker_pids()


@pytest.mark.long
def test_settings_are_read_again(serve: Serve, tmp_path: Path) -> None:
    """A bad file changes nothing and the log says why; a good one counts; the address needs a restart."""
    config = tmp_path / "sluice.toml"
    config.write_text("max_body_bytes = 2048\n")
    body = {"inputs": [X], "id": "x" * 1100}
    with serve("--config", str(config)) as server:
        assert server.post(INFER, body).status_code == 200
        before = server.worker_pids()
        config.write_text("max_bodie_bytes = 1024\n")
        server.process.send_signal(signal.SIGHUP)
        server.read_until("SIGHUP: nothing changes: unknown setting max_bodie_bytes", 1)
        assert server.worker_pids() == before
        config.write_text("max_body_bytes = 1024\nhost = '127.0.0.2'\n")
        server.process.send_signal(signal.SIGHUP)
        server.read_until("SIGHUP: SLUICE_HOST: a change needs a restart", 1)
        server.read_until(ALL_REPLACED, 1)
        assert server.worker_pids() != before
        assert server.post(INFER, body).status_code == 413
        [killed] = server.worker_pids()
        os.kill(killed, signal.SIGKILL)
        server.read_until("models serve", 1)
        assert server.post(INFER, body).status_code == 413


@pytest.mark.long
def test_worker_that_serves_less_replaces_none(serve: Serve, store: Path) -> None:
    """A model whose file was spoilt goes on serving in the old worker, and the log names it."""
    with serve() as server:
        before = server.worker_pids()
        [file] = store.glob("double/*/*.onnx")
        file.write_bytes(b"no model")
        server.process.send_signal(signal.SIGHUP)
        server.read_until("from worker 1 on the old ones stay: in the new one these models do not serve", 1)
        assert "double" in server.log[-1]
        assert server.worker_pids() == before
        assert server.infer() == 200


@pytest.mark.long
def test_closed_terminal_ends_it_well(store: Path, tmp_path: Path) -> None:
    """SIGHUP from the closed terminal of the server stops it like SIGTERM: code 0, no files are left."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    served = Served.__new__(Served)
    served.port = free_port()
    command = served.command("--store", str(store), workers=1)
    with subprocess.Popen(
        command,
        **served.options({"TMPDIR": str(scratch)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=take_terminal,
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        assert any("models serve" in line for line in process.stdout)
        os.close(ours)
        assert "Traceback" not in process.stdout.read()
    assert process.returncode == 0
    assert not list(scratch.glob("sluice-*"))
