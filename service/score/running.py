"""A run, from the input to the output.

Rules
- A part has the same rows in each run, so its file is the same too. The state is written after the file of each part.
- The next part is read while the answers of a part are awaited and written, so that the engine is always busy.
- There are limits for the rows in flight, the open parts (two), and the files that are read at the same time.
"""

import asyncio
import contextlib
import fcntl
import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from service.score.cluster import score_on_cluster
from service.score.engine import Engine, open_engine
from service.score.errors import ScoreError
from service.score.output.columns import Columns, describe_columns
from service.score.output.state import FILE, Job, State, check_same, read_state, write_state
from service.score.output.writing import Output, join_parts, render_part
from service.score.parts import Part, Scorer, first_of
from service.score.progress import Progress
from service.score.rows import RowMaker
from service.score.selection import choose_kept, select_columns
from service.score.wanted import Prepared, Wanted, prepare


@dataclass(frozen=True)
class Summary:
    """The result of a run. ``was_done``: an earlier run had done everything."""

    rows: int
    errors: int
    output: str
    left_out: int = 0
    was_done: bool = False


def run(wanted: Wanted) -> Summary:
    """Score everything that was not scored before. Raises ScoreError, SettingsError, StoreError, OSError."""
    return asyncio.run(_run(wanted))


async def _run(wanted: Wanted) -> Summary:
    prepared = prepare(wanted)
    output = prepared.output
    async with open_prepared(prepared) as engine:
        scorer = make_scorer(prepared, engine)
        with _claimed(output):
            state = _begin(prepared, prepared.describe(engine))
            before = state
            if not state.is_done:
                if wanted.ray is not None:
                    state = await asyncio.to_thread(score_on_cluster, prepared, state, open_scorer)
                else:
                    state = await _score(prepared, scorer, state)
            _finish(output, state, scorer.schema)
    return Summary(state.rows, state.errors, output.shown, prepared.left_out, before.is_done)


def open_prepared(prepared: Prepared) -> "contextlib.AbstractAsyncContextManager[Engine]":
    """The engine that answers the rows. Raises ScoreError."""
    wanted, version = prepared.wanted, prepared.version
    return open_engine(prepared.settings, version.name, str(version.version), wanted.task, wanted.options)


def make_scorer(prepared: Prepared, engine: Engine) -> Scorer:
    """Select the columns of the input, and make a scorer for them. Raises ScoreError."""
    source, wanted = prepared.source, prepared.wanted
    selection = select_columns(engine.model, engine.task, source, wanted.columns)
    source.select(list(dict.fromkeys(selection.columns.values())), choose_kept(source, wanted.keep))
    maker = RowMaker(engine.model, engine.task, source, selection)
    columns = Columns(describe_columns(engine), source.kept_schema)
    return Scorer(engine, source, maker, columns, is_strict=wanted.is_strict)


async def open_scorer(prepared: Prepared, stack: contextlib.AsyncExitStack) -> Scorer:
    """A scorer with its own engine, until the stack is closed. Raises ScoreError."""
    return make_scorer(prepared, await stack.enter_async_context(open_prepared(prepared)))


async def _score(prepared: Prepared, scorer: Scorer, state: State) -> State:
    """Score the parts that are not done. Returns the state after the last one. Raises ScoreError, OSError."""
    source, rows, errors = prepared.source, state.rows, state.errors
    progress = Progress(rows, source.fraction(state.position))

    def tell(more: int, faulty: int) -> None:
        nonlocal rows, errors
        rows, errors = rows + more, errors + faulty
        progress.tell(rows, errors, source.fraction(scorer.position))

    async def write(part: Part, before: State) -> State:
        scored = await part.gather()
        place = prepared.output.part(part.number)
        await asyncio.to_thread(lambda: place.write(render_part(scored.batches, scorer.schema, prepared.output.format)))
        after = before.add(part.number, part.rows, scored.errors, part.end)
        await asyncio.to_thread(write_state, prepared.output.folder, after)
        return after

    scorer.tell = tell
    try:
        async with asyncio.TaskGroup() as group:
            number, position, writing = state.parts, state.position, None
            is_last = False
            while not is_last:
                part = await scorer.read(number, position, prepared.part_rows, group)
                if writing is not None:
                    state = await writing
                is_last = part.rows < prepared.part_rows
                if part.rows or not number:  # an empty input has one part too, which shows the columns
                    writing = group.create_task(write(part, state))
                    number, position = number + 1, part.end
            if writing is not None:
                state = await writing
    except* (ScoreError, OSError) as failed:
        raise first_of(failed) from None
    progress.tell(state.rows, state.errors, 1.0, is_last=True)
    return state


@contextlib.contextmanager
def _claimed(output: Output) -> Iterator[None]:
    """Lock the folder of a local output, and make it if necessary. Raises ScoreError if another run has locked it."""
    folder = output.folder
    if not folder.is_local:
        yield
        return
    is_new = not folder.kind()
    if folder.kind() == "file":
        raise ScoreError(f"{folder.shown}: expected a folder for the output, there is a file: choose another name")
    folder.make_folder()
    number = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ScoreError(f"{output.shown}: another run writes it: wait until it has ended") from None
        for name in ("part-", f"{FILE}.", *([f"{output.file.name}."] if output.file is not None else [])):
            for left in Path(folder.path).glob(f".{glob.escape(name)}*"):
                left.unlink()  # unfinished, from a run that was killed
        yield
    finally:
        os.close(number)
        if is_new:
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(folder.path)


def _begin(prepared: Prepared, job: Job) -> State:
    """The state of an earlier run, or a new one. Raises ScoreError."""
    output, restarts = prepared.output, prepared.wanted.restarts
    if restarts and output.folder.join(FILE).kind():  # otherwise the folder is not that of a run
        for entry in [*output.folder.walk()]:
            if entry.name.startswith("part-"):
                output.folder.join(entry.name).remove()
        output.folder.join(FILE).remove()
    state = read_state(output.folder)
    if state is not None:
        check_same(state.job, job, output.folder)
        return state
    if output.file is not None and output.file.kind() and not restarts:
        raise ScoreError(f"{output.file.shown} exists: choose another output, or replace it by --restart")
    if output.folder.kind() and next(output.folder.walk(), None) is not None:
        raise ScoreError(f"{output.folder.shown}: expected a new or empty folder, it has files: choose another output")
    state = State(job)
    write_state(output.folder, state)
    return state


def _finish(output: Output, state: State, schema: pa.Schema) -> None:
    """Join the parts into one file if that is wanted, and record that all is done."""
    if output.file is not None and not state.is_done:
        join_parts(output, output.file, state.parts, schema)
    if not state.is_done:
        write_state(output.folder, replace(state, is_done=True))
    if output.file is not None:
        for number in range(state.parts):
            output.part(number).remove()
        output.folder.join(FILE).remove()  # at the end, so that until then the next run goes on here
        output.folder.remove_folder()
