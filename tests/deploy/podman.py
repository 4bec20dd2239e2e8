"""Podman for tests of images and pods: everything lies in one folder, and no registry is asked.

The base image is made of Debian's packages on this machine, and called what the Dockerfile calls its own.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pytest

PROGRAMS = {"podman": "podman", "runc": "runc", "conmon": "conmon", "mmdebstrap": "mmdebstrap"}
"""Program -> Debian's package."""
BASE = "localhost/python:3.11-slim"
WITHOUT_PYTHON = "localhost/debian:12-slim"
"""Like NVIDIA's images with CUDA: a distribution without Python."""
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
REPOSITORY = Path(__file__).resolve().parents[2]
BUILD_S = 1800.0


def find_missing() -> str:
    """Why no container runs here, or ""."""
    if os.geteuid() != 0:
        return "containers are tested as root"
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        return f"not installed: apt-get install {' '.join(missing)}"
    if not SOURCES.is_file():
        return f"the base image is made of Debian's packages: {SOURCES} is missing"
    return ""


NEEDS_CONTAINERS = [
    pytest.mark.deploy,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(find_missing()), reason=find_missing()),
]
"""The marks of tests that run containers."""


class Podman:
    """Podman with its images in ``SLUICE_PODMAN``, or in a folder of the machine that later runs find again."""

    def __init__(self) -> None:
        self.folder = Path(os.environ.get("SLUICE_PODMAN", Path(tempfile.gettempdir()) / "sluice-podman"))
        self.folder.mkdir(parents=True, exist_ok=True)
        containers, storage = self.folder / "containers.conf", self.folder / "storage.conf"
        # A process here may not raise its limits, and there may be no systemd and no network of its own.
        containers.write_text(
            '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\nnetns = "host"\n'
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        )
        storage.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.folder / "store"}"\nrunroot = "{self.folder / "run"}"\n'
        )
        self.variables = {
            **os.environ,
            "CONTAINERS_CONF": str(containers),
            "CONTAINERS_STORAGE_CONF": str(storage),
            "BUILDAH_ISOLATION": "chroot",
        }

    def run(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """What a command prints. Raises AssertionError with its complaint if it fails."""
        return _run(["podman", *arguments], self.variables, timeout_s)

    def has(self, image: str) -> bool:
        known = ["podman", "image", "exists", image]
        return subprocess.run(known, env=self.variables, check=False, timeout=60).returncode == 0

    def inspect(self, image: str) -> dict[str, Any]:
        [described] = json.loads(self.run("image", "inspect", image))
        return dict(described)

    def make_base(self, image: str = BASE) -> str:
        """Make the base image if it is not there; returns its name.

        It trusts what this machine trusts, so that pip works behind a proxy with a certificate of its own.
        """
        if not self.has(image):
            python = ["--include=python3,python3-venv,python3-pip"] if image == BASE else []
            hooks = [f'cp {AUTHORITIES} "$1{AUTHORITIES}"']
            if python:
                hooks.append('rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED')
            archive = self.folder / f"{uuid4().hex}.tar"
            customise = [f"--customize-hook={hook}" for hook in hooks]
            command = ["mmdebstrap", "-q", "--variant=minbase", "--include=ca-certificates", *python, *customise]
            _run([*command, "bookworm", str(archive), str(SOURCES)], self.variables, BUILD_S)
            trust = [f"--change=ENV {name}={AUTHORITIES}" for name in ("PIP_CERT", "SSL_CERT_FILE")]
            self.run("import", "-q", *trust, str(archive), image, timeout_s=BUILD_S)
            archive.unlink()
        return image

    def build(self, image: str, *arguments: str, base: str = BASE) -> str:
        """Build the Dockerfile of the repository; returns the image's name."""
        options = ["--format", "docker", "--pull=never", "--build-arg", f"BASE_IMAGE={self.make_base(base)}"]
        self.run("build", *options, *arguments, "-t", image, str(REPOSITORY), timeout_s=BUILD_S)
        return image

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """The files of an image."""
        yield Path(self.run("image", "mount", image).strip())
        self.run("image", "unmount", image)

    @contextmanager
    def started(self, image: str, *arguments: str, options: tuple[str, ...] = ()) -> Iterator["Container"]:
        """A container, which is removed when the block ends."""
        name = f"sluice-test-{uuid4().hex[:8]}"
        self.run("run", "--detach", "--name", name, *options, image, *arguments)
        try:
            yield Container(self, name)
        finally:
            self.run("rm", "--force", "--time", "0", name)


class Container:
    def __init__(self, podman: Podman, name: str) -> None:
        self._podman, self.name = podman, name

    def execute(self, *command: str) -> str:
        """What a command inside prints. There need not be a shell."""
        return self._podman.run("exec", self.name, *command)

    def log(self) -> str:
        done = subprocess.run(
            ["podman", "logs", self.name],
            env=self._podman.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    def read_until(self, text: str, timeout_s: float = 120.0) -> Self:
        """Follow the log until a line has this text. Raises AssertionError with the log if the container ends first."""
        command = ["podman", "logs", "--follow", self.name]
        with subprocess.Popen(
            ["timeout", str(timeout_s), *command],
            env=self._podman.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as following:
            assert following.stdout is not None
            for line in following.stdout:
                if text in line:
                    following.terminate()
                    return self
        raise AssertionError(f"the container never said {text!r}:\n{self.log()}")

    def is_healthy(self) -> bool:
        """What its health check says now. Nothing runs it regularly where there is no systemd."""
        command = ["podman", "healthcheck", "run", self.name]
        return subprocess.run(command, env=self._podman.variables, check=False, timeout=60).returncode == 0

    def stop(self, grace_s: int = 60) -> int:
        """SIGTERM, and SIGKILL after the grace; returns the exit code, which is then 137."""
        self._podman.run("stop", "--time", str(grace_s), self.name, timeout_s=grace_s + 60)
        return self.wait()

    def wait(self) -> int:
        return int(self._podman.run("wait", self.name))


def _run(command: list[str], variables: Mapping[str, str], timeout_s: float) -> str:
    done = subprocess.run(command, env=dict(variables), capture_output=True, text=True, check=False, timeout=timeout_s)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout
