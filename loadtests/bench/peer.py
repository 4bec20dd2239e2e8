"""What the comparison must know of a server to install, start, ask and check it. One file in ``peers/`` holds each."""

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
    """Where one server runs: its interpreter, its port on 127.0.0.1, the model it serves and a folder of its own.

    ``repository`` holds ``<model>/1/model.onnx`` and nothing else; ``source`` is the peer's source, written to a file.
    ``spare_ports`` are for what a peer opens beside HTTP.
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


@dataclass(frozen=True)
class Peer:
    """A server in the comparison.

    requirements   what pip installs into the peer's own environment; None for the environment that runs us. A
                   requirement may name ``{onnxruntime}``, ``{numpy}`` or ``{pillow}``: the versions here, so that all
                   run the same.
    distributions  whose versions are written into the result
    source         Python text of the server, written to ``Site.source`` before the start; may be empty
    command        how to start it, in the foreground; ``environment`` is added to ours
    ready_path     a GET on it answers 200 when the server can be asked
    request        a request with these rows in one of the ``encodings``
    read_scores    the scores (rows x classes) in an answer to such a request; raises WrongAnswer
    facts          what else decides its speed, written into the result beside its versions
    is_busy_when_idle       it polls, and is paused while others are measured
    needs_private_network   it opens ports that others could reach, so it only runs where there are no others
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
    facts: Callable[[], Mapping[str, str]] = dict
    needs_private_network: bool = False
    is_busy_when_idle: bool = False
