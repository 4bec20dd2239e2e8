"""What the comparison needs to install, start, ask and check a server. Each file in ``peers/`` defines one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.bench.models.model import BenchModel
from loadtests.http_client import Answer, Request

JSON, BINARY = "json", "binary"
ENCODINGS = (JSON, BINARY)


@dataclass(frozen=True)
class Site:
    """Where one server runs: its interpreter, its port on 127.0.0.1, its model and its folder.

    ``repository`` holds only ``<model>/1/model.onnx``. ``source`` is the file with the peer's source. ``spare_ports``
    are for ports that a peer opens besides HTTP.
    """

    python: Path
    port: int
    model: BenchModel
    repository: Path
    source: Path
    threads: int
    spare_ports: tuple[int, int] = (0, 0)

    @property
    def model_file(self) -> Path:
        return self.repository / self.model.name / "1" / "model.onnx"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _prepare_nothing(_: Site) -> None:
    """Most peers serve the file as it is."""


@dataclass(frozen=True)
class Peer:
    """A server in the comparison.

    requirements   what pip installs into the peer's own environment; None for the environment that runs us. A
                   requirement may name ``{onnxruntime}``, ``{numpy}`` or ``{pillow}`` to get the versions here
    environment_of the peer in whose environment it runs, which has the same requirements; empty for its own
    distributions  distributions whose versions are written into the result
    source         Python text of the server, written to ``Site.source`` before the start; may be empty
    command        how to start it, in the foreground; ``environment`` is added to ours
    ready_path     a GET on it answers 200 when the server is ready
    request        a request with these rows in one of the ``encodings``
    read_scores    the scores (rows x classes) in an answer to such a request; raises WrongAnswer
    prepare        what is done once before the start; raises ServerFailed
    facts          other facts that decide its speed, written into the result beside its versions
    is_busy_when_idle       it polls, so it is paused while others are measured
    needs_private_network   it opens ports that others could reach, so it runs only in a private network
    """

    name: str
    requirements: tuple[str, ...] | None
    distributions: tuple[str, ...]
    encodings: tuple[str, ...]
    source: str
    command: Callable[[Site], list[str]]
    environment: Callable[[Site], Mapping[str, str]]
    ready_path: str
    request: Callable[[BenchModel, str, np.ndarray], Request]
    read_scores: Callable[[Answer], np.ndarray]
    environment_of: str = ""
    prepare: Callable[[Site], None] = _prepare_nothing
    facts: Callable[[], Mapping[str, str]] = dict
    needs_private_network: bool = False
    is_busy_when_idle: bool = False
