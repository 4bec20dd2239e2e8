"""A reader of a page: writes its files, runs its commands, and starts and stops its servers."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.support.pages.blocks import Block, is_printed

PORT = "3000"
"""The port that the pages name. A session takes another one."""
COMMAND_S = 300.0
START_S = 300.0
STOP_S = 60.0
BETWEEN_TRIES_S = 0.2
_SERVE = ("make serve", "sluice serve")
_WRAPPED = "trap 'pwd > \"$SESSION_FOLDER\"' EXIT\nset -e\n"


class PageError(Exception):
    """A block does not do what its page says."""


class Session:
    """Runs blocks in ``folder``. A later block begins in the folder in which the one before it ended.

    ``prelude`` is run before each command. Only one server runs at a time: the next one ends it, as does ``close``.
    """

    def __init__(self, folder: Path, port: int, environ: Mapping[str, str], prelude: str = "") -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self._ends_in = folder / ".session"
        own = {"PORT": str(port), "SLUICE_PORT": str(port), "SESSION_FOLDER": str(self._ends_in)}
        self._environ = {**environ, **own}
        self._port = str(port)
        self._prelude = prelude
        self._server: Server | None = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, of: TracebackType | None) -> None:
        if error is not None and self._server is not None:
            print(self._server.read_log(), file=sys.stderr)
        self.close()

    def run(self, block: Block) -> None:
        """Write the file, or run the command. Raises PageError."""
        if block.file:
            (self.folder / block.file).write_text(self._point(block.text))
            return
        command = self._point(block.text)
        *lines, last = command.strip().splitlines()
        if last.startswith(_SERVE):
            self._run("\n".join(lines), block)
            self.close()
            self._server = Server(f"{self._prelude}\n{last}", self.folder, self._environ, f"{self.url}/readyz")
        else:
            printed = self._run(command, block)
            if not is_printed(block.output, printed):
                raise PageError(f"{block.page}: {block.name}: it prints otherwise:\n{printed}")

    def _point(self, text: str) -> str:
        """The text with the address of this session's servers."""
        return text.replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{self._port}")

    def _run(self, command: str, block: Block) -> str:
        done = subprocess.run(
            ["bash", "-c", f"{_WRAPPED}{self._prelude}\n{command}"],
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode:
            server = "" if self._server is None else f"\nthe server:\n{self._server.read_log()}"
            raise PageError(f"{block.page}: {block.name}: exit code {done.returncode}\n{done.stdout}{server}")
        self.folder = Path(self._ends_in.read_text().strip())
        return done.stdout

    def close(self) -> None:
        """Stop the server, if one runs. Raises PageError if it did not end well."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()


class Server:
    """A server that a page starts. The constructor waits until it is ready. Raises PageError if it never is."""

    def __init__(self, command: str, folder: Path, environ: Mapping[str, str], ready_url: str) -> None:
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until = time.monotonic() + START_S
        while not is_ready(ready_url):
            if self._ended.wait(BETWEEN_TRIES_S) or time.monotonic() > until:
                self._kill()
                raise PageError(f"{command}: no server became ready:\n{self.read_log()}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.append(line)
        self._ended.set()

    def read_log(self) -> str:
        return "".join(self._lines)

    def stop(self) -> None:
        """Ask it to stop, and wait until it has. Raises PageError if it does not, or if its log has a traceback."""
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._kill()
            raise PageError(f"the server did not stop within {STOP_S:.0f} s:\n{self.read_log()}") from None
        self._reader.join(STOP_S)
        if "Traceback" in self.read_log():
            raise PageError(f"the server ended with a traceback:\n{self.read_log()}")

    def _kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
