"""A task as a generator: it yields what it wants of the engine and is sent the answers; whoever drives it does the I/O.

So a task is a plain function of its request, its model's manifest and these answers, whichever path the request came
in by and however it is scheduled.
"""

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from model_store.manifest import Manifest
from model_store.tasks import Tiles
from service.codecs.picture_reader import CheckRow
from service.codecs.rows import Group, check_count, count_bytes, group_rows, read_groups, stack_rows
from service.engine.loop.request import LoopRequest
from service.engine.tensors import Arrays
from service.errors import InvalidInput
from service.protocol.large_json import release_large
from service.tasks.room import PictureRoom


class Infer(NamedTuple):
    """Run a graph once on some rows; sent back: the outputs by name."""

    inputs: Arrays
    graph: str = "main"


class Iterate(NamedTuple):
    """Run the loop of the model; sent back: a ``LoopResult``."""

    request: LoopRequest


class Admit(NamedTuple):
    """Whether so many rows, through so many steps of the loop, would be answered in time."""

    rows: int
    steps: int = 0
    graph: str = "main"


class RunInThread(NamedTuple):
    """Do something slow, such as decoding a picture, where it holds nobody up; sent back: what ``do`` returns.

    Not for a request that is refused by ``admit``, which is looked at before.
    """

    do: Callable[[], Any]
    admit: Admit | None = None


class Result(NamedTuple):
    """The end: a value for JSON (``media_type`` None) or bytes. Of a streamed answer it is the last event.

    ``is_large``: to write it as JSON takes long, whatever the request was.
    """

    body: Any
    media_type: str | None = None
    is_large: bool = False


Wanted = Infer | Iterate | RunInThread
Work = Generator[Wanted, Any, Result]
Emit = Callable[[Mapping[str, Any]], None]
"""Sends one event of a streamed answer."""

SLOW_BYTES = 32 << 10
"""Rows of more bytes than this are read and written in a thread: they would hold up everybody else."""
T = TypeVar("T")


def run_in_thread(do: Callable[[], T], size_bytes: int, admit: Admit | None = None) -> Generator[RunInThread, Any, T]:
    """What ``do`` returns: called in a thread if it works on many bytes, else at once."""
    if size_bytes <= SLOW_BYTES:
        return do()
    result: T = yield RunInThread(do, admit)
    return result


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for. ``state_key`` signs the states that are handed out."""

    max_pixels: int
    max_rows: int = 65_536
    max_steps: int = 10_000
    max_generated: int = 1024
    state_key: bytes = b""
    row_checks: Mapping[str, CheckRow] = field(default_factory=dict)
    """By graph: what looks at the size of a picture before it is decoded."""
    room: PictureRoom = field(default_factory=PictureRoom)
    """What the pictures that are cut into tiles take, those of all requests together."""
    tiles_at_once: int = 1
    """Of one picture: so many run at the same time, and the others are not cut yet."""


def decode_rows(
    rows: Sequence[Any] | None, manifest: Manifest, limits: Limits, graph: str = "main", tiles: Tiles | None = None
) -> Generator[RunInThread, Any, list[Group]]:
    """The rows of a request for a graph; pictures that ``tiles`` cuts stay pixel values.

    Raises InvalidInput, which names the row at fault, UnsupportedMedia, BodyTooLarge.
    """
    if rows is None:
        raise InvalidInput("inputs: expected an array of rows, got nothing")
    check_count(rows, limits.max_rows)  # before each of many is looked at
    check_row = limits.row_checks.get(graph)
    over = threading.Event()
    size_bytes = count_bytes(rows, SLOW_BYTES)

    def read() -> list[Group]:
        try:
            return read_groups(rows, manifest, limits.max_pixels, limits.max_rows, graph, check_row, tiles, over.is_set)
        finally:
            if size_bytes > SLOW_BYTES:  # before the event loop would have to
                for row in rows:
                    release_large(row)

    try:
        return (yield from run_in_thread(read, size_bytes))
    finally:
        over.set()  # the request may have ended: then the thread is there for others


def infer_groups(groups: Sequence[Group], graph: str = "main") -> Generator[Infer, Any, list[Arrays]]:
    """Run each group; the outputs, group by group."""
    outputs = []
    for group in groups:
        outputs.append((yield Infer(group.inputs, graph)))  # noqa: PERF401  # a comprehension cannot yield
    return outputs


def infer_rows(rows: Sequence[Arrays], graph: str) -> Generator[Infer, Any, list[Arrays]]:
    """The outputs of each row, without a batch axis. What a row gives does not depend on the others."""
    outputs: dict[int, Arrays] = {}
    for positions in group_rows(rows):
        answer: Arrays = yield Infer(stack_rows(rows, positions), graph)
        for at, position in enumerate(positions):
            outputs[position] = {name: array[at] for name, array in answer.items()}
    return [outputs[i] for i in range(len(rows))]
