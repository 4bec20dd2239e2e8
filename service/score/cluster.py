"""Runs on the nodes of a Ray cluster, with Ray Data.

Each row of the data set is a part of the output, with its position in the input. An actor on a node has a worker: it
reads the rows of the part, scores them, and writes the file of the part. So a part is the same as in a run on one
machine, on whichever node it is made, and also when it is made again after a node was lost. The run sends the models to
the nodes; input and output must be in a place that all nodes can reach.
"""

import asyncio
import io
import socket
import sys
import tarfile
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model_store import ModelVersion
from service.score.errors import ScoreError
from service.score.output.state import State, describe_input, write_state
from service.score.output.writing import render_part
from service.score.parts import Scorer, first_of
from service.score.progress import Progress
from service.score.sources.source import Position
from service.score.wanted import Prepared, Wanted, prepare

Batch = dict[str, np.ndarray]
_SHOWN = 12
"""Letters of the id of a node in messages. It is long enough to find the node with `ray list nodes`."""
_CONNECT_S = 5.0
Open = Callable[[Prepared, AsyncExitStack], Any]


def score_on_cluster(prepared: Prepared, state: State, open_scorer: Open) -> State:
    """Score the parts that are not done. Returns the state after the last one. Raises ScoreError."""
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ScoreError(f"--ray: {error.name} is not installed: pip install 'sluice-serving[ray]'") from None
    wanted = prepared.wanted
    address = wanted.ray or ""
    try:
        _check_address(address)
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError) as error:
        raise ScoreError(f"--ray {address}: expected HOST:PORT of a cluster that runs, or auto: {error}") from None
    try:
        return _score(prepared, state, open_scorer, ray)
    except ray.exceptions.RayError as error:
        raise ScoreError(f"--ray {address}: {_find_cause(error)}") from None
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raises OSError or ValueError. Ray itself would wait a minute for a cluster that does not exist."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), _CONNECT_S).close()


def _score(prepared: Prepared, state: State, open_scorer: Open, ray: Any) -> State:
    parts = [*_plan(prepared, state)]
    total = sum(part["rows"] for part in parts) + state.rows
    progress = Progress(state.rows, state.rows / max(1, total))
    if parts:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        actors = prepared.wanted.actors or gpus or sum(node["Alive"] for node in ray.nodes())
        files = describe_input(prepared.source.files)
        facts = (prepared.wanted, prepared.settings.to_environ(), ray.put(pack(prepared)), files)
        scored = ray.data.from_items(parts, override_num_blocks=len(parts)).map_batches(
            PartScorer,
            fn_constructor_args=(*facts, open_scorer),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(parts))),
            num_cpus=1,
            num_gpus=1 if gpus else 0,
            scheduling_strategy="SPREAD",
        )
        nodes: Counter[str] = Counter()
        for done in scored.iter_rows():
            nodes[str(done["node"])] += 1
            state = state.add(int(done["part"]), int(done["rows"]), int(done["errors"]), state.position)
            write_state(prepared.output.folder, state)
            progress.tell(state.rows, state.errors, state.rows / max(1, total))
        shares = ", ".join(f"{count} by {node[:_SHOWN]}" for node, count in nodes.most_common())
        print(f"sluice score: parts by node: {shares}", file=sys.stderr)
    progress.tell(state.rows, state.errors, 1.0, is_last=True)
    return state


def _plan(prepared: Prepared, state: State) -> Iterator[dict[str, int]]:
    """The parts that are not done. An empty input has one part, without rows."""
    planned = [*prepared.source.plan(prepared.part_rows)] or [(Position(0, 0), 0)]
    for number, (start, rows) in enumerate(planned):
        if not state.has(number):
            yield {"part": number, "file": start.file, "offset": start.offset, "rows": rows}


def _find_cause(error: BaseException) -> str:
    """The message of the error that an actor has raised."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ScoreError):
            return str(found)
        found = getattr(found, "cause", None) or found.__cause__
    return str(error)


def pack(prepared: Prepared) -> bytes:
    """A tar archive of a store with the versions that the run needs. Raises StoreError."""
    versions = {prepared.version.name: prepared.version, **_steps_of(prepared)}
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", dereference=True) as archive:
        for name, version in versions.items():
            archive.add(version.folder, f"{name}/{version.version}")
            for file in version.folder.parent.iterdir():  # aliases, and the configuration of all versions
                if file.is_file():
                    archive.add(file, f"{name}/{file.name}")
    return content.getvalue()


def _steps_of(prepared: Prepared) -> dict[str, ModelVersion]:
    """The versions of the models of a pipeline."""
    version, store = prepared.version, prepared.store
    facts = None if version.is_plain else version.read_manifest().pipeline
    steps = facts.steps.values() if facts is not None else ()
    return {step.model: store.find(step.model, step.version) for step in steps if step.model is not None}


class PartScorer:
    """An actor: it has a worker with the model, and scores the parts that it gets."""

    def __init__(
        self, wanted: Wanted, environ: Mapping[str, str], archive: Any, files: Mapping[str, Any], open_scorer: Open
    ) -> None:
        import ray

        self._node = str(ray.get_runtime_context().get_node_id())
        self._folder = tempfile.TemporaryDirectory(prefix="sluice-score-")
        with tarfile.open(fileobj=io.BytesIO(ray.get(archive))) as packed:
            packed.extractall(self._folder.name, filter="data")
        self._prepared = prepare(replace(wanted, store=Path(self._folder.name)), environ)
        here = describe_input(self._prepared.source.files)
        if here != files:
            raise ScoreError(
                f"{wanted.input}: a node sees other files than {wanted.input} has where the run began: put the input "
                "where all nodes see it, such as S3 or a shared folder"
            )
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="sluice score").start()
        self._stack = AsyncExitStack()
        self._scorer: Scorer = self._run(open_scorer(self._prepared, self._stack))

    def _run(self, work: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result()

    def __call__(self, batch: Batch) -> Batch:
        """Score one part and write its file. Raises ScoreError, OSError."""
        number, file, offset = (int(batch[name][0]) for name in ("part", "file", "offset"))
        rows, errors = self._run(self._score(number, Position(file, offset)))
        counts = {"part": number, "rows": rows, "errors": errors}
        return {**{name: np.array([count]) for name, count in counts.items()}, "node": np.array([self._node])}

    async def _score(self, number: int, start: Position) -> tuple[int, int]:
        """The rows of the part, and how many of them have an error."""
        prepared = self._prepared
        try:
            async with asyncio.TaskGroup() as group:
                part = await self._scorer.read(number, start, prepared.part_rows, group)
                scored = await part.gather()
        except* (ScoreError, OSError) as failed:
            raise first_of(failed) from None
        content = await asyncio.to_thread(render_part, scored.batches, self._scorer.schema, prepared.output.format)
        await asyncio.to_thread(prepared.output.part(number).write, content)
        return part.rows, scored.errors
