"""What a task may ask for. A task is a generator: it yields requests to the engine and is sent the answers.

So it does no I/O, and does not depend on the path of the request or on how it is scheduled.
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
    """Run a graph once on some rows. The answer: the outputs by name."""

    inputs: Arrays
    graph: str = "main"


class Iterate(NamedTuple):
    """Run the loop of the model. The answer: a ``LoopResult``."""

    request: LoopRequest


class Admit(NamedTuple):
    """A request of this size: rows of a graph, or through this many steps of the loop."""

    rows: int
    steps: int = 0
    graph: str = "main"


class RunInThread(NamedTuple):
    """Call ``do``, which is slow, in a thread. The answer: what it returns.

    A request of the size ``admit`` that would not be answered in time is refused before.
    """

    do: Callable[[], Any]
    admit: Admit | None = None


class Result(NamedTuple):
    """The answer of a task, the last event of a stream: a value for JSON (``media_type`` None), or bytes.

    ``is_large``: it takes long to write as JSON.
    """

    body: Any
    media_type: str | None = None
    is_large: bool = False


Wanted = Infer | Iterate | RunInThread
Work = Generator[Wanted, Any, Result]
Emit = Callable[[Mapping[str, Any]], None]
"""Sends one event of a streamed answer."""

SLOW_BYTES = 32 << 10
"""Larger rows are read and written in a thread: they would hold up other requests."""
T = TypeVar("T")


def run_in_thread(do: Callable[[], T], size_bytes: int, admit: Admit | None = None) -> Generator[RunInThread, Any, T]:
    """Call ``do`` in a thread if it works on many bytes, else at once."""
    if size_bytes <= SLOW_BYTES:
        return do()
    result: T = yield RunInThread(do, admit)
    return result


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for. ``state_key`` signs states."""

    max_pixels: int
    max_rows: int = 65_536
    max_steps: int = 10_000
    max_generated: int = 1024
    state_key: bytes = b""
    row_checks: Mapping[str, CheckRow] = field(default_factory=dict)
    """By graph: a check of the size of a picture before it is decoded."""
    room: PictureRoom = field(default_factory=PictureRoom)
    """For pictures that are cut into tiles, of all requests together."""
    tiles_at_once: int = 1
    """How many tiles of one picture run at the same time; the next are cut later."""


def decode_rows(
    rows: Sequence[Any] | None, manifest: Manifest, limits: Limits, graph: str = "main", tiles: Tiles | None = None
) -> Generator[RunInThread, Any, list[Group]]:
    """The rows of a request for a graph. Pictures that ``tiles`` cuts stay pixel values.

    Raises InvalidInput, which names the row at fault, UnsupportedMedia, BodyTooLarge.
    """
    if rows is None:
        raise InvalidInput("inputs: expected an array of rows, got nothing")
    check_count(rows, limits.max_rows)  # before each row is looked at
    check_row = limits.row_checks.get(graph)
    over = threading.Event()
    size_bytes = count_bytes(rows, SLOW_BYTES)

    def read() -> list[Group]:
        try:
            return read_groups(rows, manifest, limits.max_pixels, limits.max_rows, graph, check_row, tiles, over.is_set)
        finally:
            if size_bytes > SLOW_BYTES:  # here, or the event loop would have to
                for row in rows:
                    release_large(row)

    try:
        return (yield from run_in_thread(read, size_bytes))
    finally:
        over.set()  # if the request has ended, the thread stops


def infer_groups(groups: Sequence[Group], graph: str = "main") -> Generator[Infer, Any, list[Arrays]]:
    """The outputs of each group."""
    outputs = []
    for group in groups:
        outputs.append((yield Infer(group.inputs, graph)))  # noqa: PERF401  # a comprehension cannot yield
    return outputs


def infer_rows(rows: Sequence[Arrays], graph: str) -> Generator[Infer, Any, list[Arrays]]:
    """The outputs of each row, without a batch axis."""
    outputs: dict[int, Arrays] = {}
    for positions in group_rows(rows):
        answer: Arrays = yield Infer(stack_rows(rows, positions), graph)
        for at, position in enumerate(positions):
            outputs[position] = {name: array[at] for name, array in answer.items()}
    return [outputs[i] for i in range(len(rows))]
