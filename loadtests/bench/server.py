"""A server process of the comparison, started in its own session, waited for, and always ended by its id.

A server that polls can be paused while others are measured, so that it does not take their cores. Not every server
survives that: the stubs of Triton's Python backend do not.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from loadtests.http_client import Request, Unreachable, exchange

START_LIMIT_S = 90.0
STOP_LIMIT_S = 15.0
ASK_INTERVAL_S = 0.2
LOG_LINES = 20

NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}
"""ONNX Runtime uploads events and stores an identifier unless it is told not to before the import."""


class ServerFailed(Exception):
    """A server, or what prepares it, failed or took too long; the text has the end of its log."""


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_to_end(command: Sequence[str], environment: Mapping[str, str], limit_s: float) -> None:
    """A command that prepares a server. Raises ServerFailed, with the end of its output."""
    environment = {**os.environ, **NO_TELEMETRY, **environment}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise ServerFailed(f"{' '.join(command)}\ntook more than {limit_s} s") from None
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise ServerFailed(f"{' '.join(command)}\nended with code {done.returncode}:\n{tail}")


@contextmanager
def run_server(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    address: str,
    ready_path: str,
    start_limit_s: float = START_LIMIT_S,
) -> Iterator[int]:
    """The process id of a server that is ready. When the block ends, so has it, and its children have been killed.

    Raises ServerFailed. The log stays where it is.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **NO_TELEMETRY, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _await_ready(process, log, address, ready_path, start_limit_s)
            yield process.pid
        finally:
            _end(process)


def pause(server: int) -> None:
    """Stop the server and what it started, until ``resume``."""
    _signal_session(server, signal.SIGSTOP)


def resume(server: int) -> None:
    _signal_session(server, signal.SIGCONT)


def read_tail(log: Path, lines: int = LOG_LINES) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:])


def _await_ready(process: "subprocess.Popen[bytes]", log: Path, address: str, ready_path: str, limit_s: float) -> None:
    for _ in range(max(1, int(limit_s / ASK_INTERVAL_S))):
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(ASK_INTERVAL_S)
            raise ServerFailed(
                f"the server ended with code {code} before it was ready; the end of {log}:\n{read_tail(log)}"
            )
        with suppress(Unreachable):
            if exchange(address, Request(ready_path), timeout_s=5).status == 200:
                return
    raise ServerFailed(
        f"{address}{ready_path} did not answer 200 within {limit_s:.0f} s; the end of {log}:\n{read_tail(log)}"
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask the server to stop, which stops its workers. The rest of its session is killed afterwards."""
    resume(process.pid)
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)
    _signal_session(process.pid, signal.SIGKILL)
    process.wait()


def _signal_session(server: int, number: signal.Signals) -> None:
    """Signal the server's process group and, if /proc lists them, the other groups of its session."""
    with suppress(ProcessLookupError):
        os.killpg(server, number)
    for pid in _list_session(server):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _list_session(leader: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                found.append(int(status.parent.name))
    return found
