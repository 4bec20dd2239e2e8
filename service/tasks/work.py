"""What a task works on, and what it may await: a run of a graph, the loop, slow work in a thread, a step of a pipeline.

A task does no I/O, and knows nothing of transports, scheduling or event loops. The driver of its coroutine
(``service/api/task_run.py``) does what the task awaits.
"""

import threading
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from model_store.datatypes import datatype_of
from model_store.tasks import Tiles
from service.codecs.model_context import ModelContext
from service.codecs.pictures.reader import CheckRow
from service.codecs.rows import (
    DEFAULT_SAMPLES,
    Group,
    check_count,
    count_bytes,
    group_rows,
    read_groups,
    stack_rows,
)
from service.codecs.texts.tokens import count_bytes_of_texts, count_tokens, read_texts
from service.engine.loop.request import LoopRequest, LoopResult
from service.engine.tensors import Arrays, are_finite
from service.errors import InvalidInput, ServiceError
from service.protocol.large_json import release_large
from service.tasks.request import TaskOptions
from service.tasks.room import PictureRoom

T = TypeVar("T")
Options = TypeVar("Options", bound=TaskOptions, covariant=True)


class Infer(NamedTuple):
    """Run a graph once on some rows. The result is the outputs by name."""

    inputs: Arrays
    graph: str = "main"

    def __await__(self) -> Generator[Any, Arrays, Arrays]:
        return (yield self)


class Iterate(NamedTuple):
    """Run the loop of the model."""

    request: LoopRequest

    def __await__(self) -> Generator[Any, LoopResult, LoopResult]:
        return (yield self)


class Admit(NamedTuple):
    """The size of a request: rows of one run of a graph, or of this many steps of the loop."""

    rows: int
    steps: int = 0
    graph: str = "main"


class RunInThread(NamedTuple, Generic[T]):
    """Call ``do``, which is slow, in a thread. The result is what it returns.

    ``admit``: refuse the request first if a request of this size would not be answered in time.
    """

    do: Callable[[], T]
    admit: Admit | None = None

    def __await__(self) -> Generator[Any, T, T]:
        return (yield self)


class BeginStep(NamedTuple):
    """Begin a step of a pipeline beside those that run. The task goes on at once.

    ``tell`` turns an error of the step into the error for the caller.
    """

    step: str
    work: "Work"
    tell: Callable[[ServiceError], ServiceError]

    def __await__(self) -> Generator[Any, None, None]:
        return (yield self)


class StepEnd(NamedTuple):
    """A step that has ended, its result, and how long it waited, computed and took in all."""

    step: str
    result: "Result"
    queue_s: float
    compute_s: float
    total_s: float


class AwaitStep(NamedTuple):
    """Wait until one of the steps that were begun has ended."""

    def __await__(self) -> Generator[Any, StepEnd, StepEnd]:
        return (yield self)


class Result(NamedTuple):
    """The answer of a task, or the last event of a stream: a value for JSON (``media_type`` None), or bytes.

    ``is_large``: it is slow to write as JSON.
    """

    body: Any
    media_type: str | None = None
    is_large: bool = False


Awaited = Infer | Iterate | RunInThread[Any] | BeginStep | AwaitStep
Work = Coroutine[Awaited, Any, Result]
IsOver = Callable[[], bool]
"""Whether nobody waits for a request any more."""
Emit = Callable[[Mapping[str, Any]], None]
"""Sends one event of a streamed answer."""

_WINDOWS_AT_ONCE, _WINDOW_BYTES_AT_ONCE = 256, 16 << 20
"""The most windows of a request that wait or run at the same time, and their bytes."""
SLOW_BYTES = 32 << 10
"""Work on more bytes runs in a thread, because it would hold up other requests."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a request. ``state_key`` signs states."""

    max_pixels: int
    max_rows: int = 65_536
    max_steps: int = 10_000
    max_generated: int = 1024
    max_samples: int = DEFAULT_SAMPLES
    """In one sound, over all channels, and in the rows of all sounds of a request."""
    state_key: bytes = b""
    room: PictureRoom = field(default_factory=PictureRoom)
    """The memory for large pictures, which all requests share."""
    tiles_at_once: int = 1
    """How many tiles of a picture run at the same time."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Options]):
    """A request to a task: its options and rows, and the model that answers. ``emit`` is None unless it streams."""

    options: Options
    rows: Sequence[Any] | None
    model: ModelContext
    limits: Limits
    wants_picture: bool = False
    emit: Emit | None = None
    wants_sound: bool = False
    owns_rows: bool = True
    """Whether the memory of rows may be freed after they are read. The steps of a pipeline share their rows."""

    def answer(self, is_large: bool = False, **fields: Any) -> Result:
        """A result with the name and version of the model, and these fields."""
        return Result({"model": self.model.name, "version": self.model.version, **fields}, is_large=is_large)


async def run_in_thread(do: Callable[[], T], size_bytes: int, admit: Admit | None = None) -> T:
    """Call ``do`` in a thread if it works on many bytes, else here.

    ``size_bytes`` is the cost of ``do``: it takes about as long as decoding so many bytes of a picture.
    """
    return do() if size_bytes <= SLOW_BYTES else await RunInThread(do, admit)


async def run_stoppable(do: Callable[[IsOver], T], size_bytes: int = SLOW_BYTES + 1) -> T:
    """As ``run_in_thread``. The argument of ``do`` says whether the request has ended; ``do`` should then raise."""
    over = threading.Event()
    try:
        return await run_in_thread(lambda: do(over.is_set), size_bytes)
    finally:
        over.set()


async def decode_rows(
    call: Call[TaskOptions],
    graph: str = "main",
    tiles: Tiles | None = None,
    check_row: CheckRow | None = None,
    field: str = "inputs",
    one_window: bool = True,
) -> list[Group]:
    """The rows of a call as inputs of a graph. ``field`` is where they are in the request, for messages.

    Pictures that ``tiles`` will cut stay pixels. ``check_row`` replaces the model's own check. A long sound becomes
    several rows, whose answers ``service/tasks/windows.py`` joins; with ``one_window`` it is refused. Raises
    InvalidInput, which names the row at fault; UnsupportedMedia, BodyTooLarge.
    """
    rows, model, limits = call.rows, call.model, call.limits
    if rows is None:
        raise InvalidInput(f"{field}: expected an array of rows, got nothing")
    check_count(rows, limits.max_rows, field)  # before each row is looked at
    check_row = check_row or model.row_checks.get(graph)
    tokens = model.manifest.tokens
    has_texts = tokens is not None and tokens.graph == graph
    size_bytes = (count_bytes_of_texts if has_texts else count_bytes)(rows, SLOW_BYTES)

    def read(is_over: IsOver) -> list[Group]:
        try:
            if has_texts:
                return read_texts(rows, model, field, is_over)
            return read_groups(
                rows,
                model.manifest,
                limits.max_pixels,
                graph,
                check_row,
                tiles,
                is_over,
                field,
                limits.max_samples,
                one_window,
            )
        finally:
            if size_bytes > SLOW_BYTES and call.owns_rows:  # free large rows in this thread, not on the event loop
                for row in rows:
                    release_large(row)

    groups = await run_stoppable(read, size_bytes)
    if has_texts:
        model.count_tokens(*count_tokens(groups))
    return groups


async def infer_group(group: Group, graph: str = "main", field: str = "inputs") -> Arrays:
    """The outputs of the rows of a group. Raises InvalidInput if NaN or infinity in a row has spread to its outputs."""
    if group.windows:
        return await _infer_windows(group, graph)
    outputs = await Infer(group.inputs, graph)
    if group.placements and None not in group.placements:  # all are pictures, whose numbers are finite
        return outputs
    answers = [array for array in outputs.values() if len(array) == len(group.places)]
    if not all(_are_finite(array) for array in answers):
        for row, place in enumerate(group.places):
            given = all(_are_finite(array[row]) for array in group.inputs.values())
            if not given and not all(_are_finite(array[row]) for array in answers):
                raise InvalidInput(
                    f"{field}[{place}]: expected finite numbers: the model has no answer to NaN or infinity"
                )
    return outputs


async def _infer_windows(group: Group, graph: str) -> Arrays:
    """The outputs for sounds. Only some windows run at a time, so that a long sound does not fill the queue."""
    count = len(group.places)
    size_bytes = sum(array.nbytes for array in group.inputs.values())
    at_once = max(1, min(_WINDOWS_AT_ONCE, _WINDOW_BYTES_AT_ONCE * count // size_bytes))
    parts = [
        await Infer({name: array[begin : begin + at_once] for name, array in group.inputs.items()}, graph)
        for begin in range(0, count, at_once)
    ]
    if len(parts) == 1:
        return parts[0]

    def join() -> Arrays:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return await run_in_thread(join, sum(array.nbytes for part in parts for array in part.values()))


def _are_finite(array: np.ndarray) -> bool:
    return not datatype_of(array).is_float or are_finite(array)


async def infer_rows(rows: Sequence[Arrays], graph: str) -> list[Arrays]:
    """The outputs of each row, without a batch axis."""
    outputs: dict[int, Arrays] = {}
    for positions in group_rows(rows):
        answer = await Infer(stack_rows(rows, positions), graph)
        for at, position in enumerate(positions):
            outputs[position] = {name: array[at] for name, array in answer.items()}
    return [outputs[i] for i in range(len(rows))]
