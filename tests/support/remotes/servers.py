"""Real servers of S3 and of an OCI registry, in processes of their own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.support.processes import free_port

START_S = 60.0


class ServerProcess:
    """A server that can be stopped and started again on the same port."""

    def __init__(
        self, command: list[str], port: int, ready_path: str, environ: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._command = command
        self._ready_path = ready_path
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        environ = {name: text for name, text in (self._environ or os.environ).items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            self._command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until, pause = time.monotonic() + START_S, threading.Event()
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(self.url + self._ready_path)
                return
            pause.wait(0.1)
        raise AssertionError(f"{self._command[0]} does not answer within {START_S} s")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Bucket(ServerProcess):
    """S3 by moto, in a process of its own. It forgets everything when it is stopped."""

    address = "s3://models/team"

    def __init__(self) -> None:
        program = shutil.which("moto_server", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if program is None:
            pytest.skip("needs moto[server]")
        port = free_port()
        super().__init__([program, "-H", "127.0.0.1", "-p", str(port)], port, "/")

    @classmethod
    @contextlib.contextmanager
    def running(cls, monkeypatch: pytest.MonkeyPatch) -> Iterator[Self]:
        """A server, and an environment in which clients find it."""
        with cls() as bucket:
            environ = {
                "AWS_ENDPOINT_URL": bucket.url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
            for name, value in environ.items():
                monkeypatch.setenv(name, value)
            yield bucket

    def start(self) -> None:
        super().start()
        self.files().create_dir("models")

    def write(self, path: str, content: bytes) -> None:
        """An object, by its path in the store."""
        with self.files().open_output_stream(f"{self.address.removeprefix('s3://')}/{path}") as file:
            file.write(content)

    def files(self) -> Any:
        from pyarrow import fs

        return fs.S3FileSystem(
            access_key="test",
            secret_key="test",
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
            allow_bucket_deletion=True,
        )


class Registry(ServerProcess):
    """A registry by docker-registry, in a process of its own. Its blobs are in a folder and stay."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("docker-registry")
        if program is None:
            pytest.skip("needs docker-registry: apt-get install docker-registry")
        port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "config.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'data'}}}, "
            f"delete: {{enabled: true}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n"
        )
        super().__init__([program, "serve", str(config)], port, "/v2/")
        self.address = f"oci://127.0.0.1:{port}/team"


@contextlib.contextmanager
def running(server: ServerProcess) -> Iterator[ServerProcess]:
    try:
        yield server
    finally:
        server.stop()
