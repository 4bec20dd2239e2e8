"""A task as a generator: it yields what it wants of the engine and is sent the answers; whoever drives it does the I/O.

So a task is a plain function of its request, its model's manifest and these answers, whichever path the request came
in by and however it is scheduled.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from model_store.manifest import Manifest
from service.engine.loop.request import LoopRequest
from service.engine.tensors import Arrays


class Infer(NamedTuple):
    """Run a graph once on some rows; sent back: the outputs by name."""

    inputs: Arrays
    graph: str = "main"


class Iterate(NamedTuple):
    """Run the loop of the model; sent back: a ``LoopResult``."""

    request: LoopRequest


class Aside(NamedTuple):
    """Do something slow, such as decoding a picture, where it holds nobody up; sent back: what ``do`` returns."""

    do: Callable[[], Any]


class Result(NamedTuple):
    """The end: a value for JSON (``media_type`` None) or bytes. Of a streamed answer it is the last event."""

    body: Any
    media_type: str | None = None


Work = Generator[Infer | Iterate | Aside, Any, Result]
Emit = Callable[[Mapping[str, Any]], None]
"""Sends one event of a streamed answer."""

SLOW_BYTES = 32 << 10
"""Pictures of more bytes than this are decoded and encoded aside: they would hold up everybody else."""
T = TypeVar("T")


def call_aside(do: Callable[[], T], size_bytes: int) -> Generator[Aside, Any, T]:
    """What ``do`` returns: called aside if it works on many bytes, else at once."""
    if size_bytes <= SLOW_BYTES:
        return do()
    result: T = yield Aside(do)
    return result


@dataclass(frozen=True, slots=True)
class Subject:
    """The model version that a task works on."""

    name: str
    version: str
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for. ``state_key`` signs the states that are handed out."""

    max_pixels: int
    max_rows: int = 65_536
    max_steps: int = 10_000
    max_generated: int = 1024
    state_key: bytes = b""
