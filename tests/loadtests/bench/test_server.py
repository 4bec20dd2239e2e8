"""Server processes of the comparison: failures to start, and that nothing is left running."""

import os
import select
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from loadtests.bench import server
from loadtests.bench.server import ServerFailed, free_port, pause, read_tail, resume, run_server
from loadtests.http_client import Answer, Request, Unreachable, exchange

SERVER = """
import http.server, subprocess, sys, signal

if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if sys.argv[2] != "unready" else 503)
        self.send_header("content-length", "0")
        self.end_headers()

print("child", child.pid, flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def has_ended(pid: int, limit_s: float = 60.0) -> bool:
    """Whether the process ends within the limit: a killed process of another parent takes a moment to go."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], limit_s)[0])
    finally:
        os.close(descriptor)


def command(port: int, mood: str) -> list[str]:
    return [sys.executable, "-c", SERVER, str(port), mood]


def test_server_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    """A server that ends instead of starting is reported with its exit code and the end of its log, at once."""
    ended = [sys.executable, "-c", "print('no such model'); raise SystemExit(3)"]
    with (
        pytest.raises(ServerFailed, match=r"code 3[\s\S]*no such model"),
        run_server(ended, {}, tmp_path / "log", "http://127.0.0.1:1", "/"),
    ):
        pytest.fail("it never ran")


def test_server_that_is_never_ready_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not ready in time is reported and ended, with its children."""

    def ask_until_answered(address: str, request: Request, timeout_s: float) -> Answer:
        while True:
            with suppress(Unreachable):
                return exchange(address, request, timeout_s)
            select.select([], [], [], 0.01)

    monkeypatch.setattr(server, "exchange", ask_until_answered)
    port, log = free_port(), tmp_path / "log"
    with (
        pytest.raises(ServerFailed, match="did not answer 200 within"),
        run_server(command(port, "unready"), {}, log, f"http://127.0.0.1:{port}", "/", start_limit_s=0.2),
    ):
        pytest.fail("it never was ready")
    assert has_ended(int(log.read_text().split()[1]))


def test_failure_of_the_measurement_ends_the_server(tmp_path: Path) -> None:
    """When the block raises, the server and its children are gone before the error is seen."""
    port, log = free_port(), tmp_path / "log"
    pids: list[int] = []

    def measure() -> None:
        with run_server(command(port, "good"), {}, log, f"http://127.0.0.1:{port}", "/") as pid:
            pids.extend((pid, int(log.read_text().split()[1])))
            assert [os.getpgid(one) for one in pids] == [pid, pid]
            assert not any(has_ended(one, 0) for one in pids)
            raise RuntimeError("planned")

    with pytest.raises(RuntimeError, match="planned"):
        measure()
    assert all(has_ended(one) for one in pids)


def test_stubborn_server_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ignores SIGTERM is killed when its time is over."""
    monkeypatch.setattr("loadtests.bench.server.STOP_LIMIT_S", 0.2)
    port = free_port()
    with run_server(command(port, "stubborn"), {}, tmp_path / "log", f"http://127.0.0.1:{port}", "/") as pid:
        assert not has_ended(pid, 0)
    assert has_ended(pid)


def is_stopped(pid: int, wanted: bool) -> bool:
    """Whether the process comes to be stopped, or not to be, in time: a signal takes a moment to arrive."""
    for _ in range(3000):
        if (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T") == wanted:
            return wanted
        select.select([], [], [], 0.01)
    return not wanted


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_paused_server_and_its_children_use_no_core(tmp_path: Path) -> None:
    """A paused server is stopped with its children, answers again when resumed, and can be ended while paused."""
    port, log = free_port(), tmp_path / "log"
    address = f"http://127.0.0.1:{port}"
    with run_server(command(port, "good"), {}, log, address, "/") as pid:
        pids = (pid, int(log.read_text().split()[1]))
        pause(pid)
        assert all(is_stopped(one, wanted=True) for one in pids)
        resume(pid)
        assert exchange(address, Request("/")).status == 200
        assert not any(is_stopped(one, wanted=False) for one in pids)
        pause(pid)
    assert all(has_ended(one) for one in pids)


def test_tail_is_the_end(tmp_path: Path) -> None:
    """Only the last lines of a long log are shown, whatever bytes are in it."""
    (tmp_path / "log").write_bytes(b"first\n" + b"\xff line\n" * 30)
    assert read_tail(tmp_path / "log", lines=2) == "� line\n� line"
