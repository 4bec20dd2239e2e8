"""The engine of the server in this process, without a port. It answers rows as a server does over HTTP."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import orjson

from model_store.errors import StoreError
from service.api.steps import check_steps, find_steps, wait_for_steps
from service.api.tasks import ROUTES
from service.errors import ServiceError
from service.models.entry import Model, Served
from service.models.pipeline import Pipeline
from service.protocol.large_json import parse_object
from service.score.errors import ScoreError
from service.score.rows import TEXT_SUFFIX, Fault, has_files, render_value
from service.score.sources.source import FileValue
from service.score.tensors import Answer, TensorRequests
from service.settings import Settings
from service.tasks.request import TaskOptions
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import INFER, Endpoint, Reply
from service.worker import Worker, open_worker

_PATIENCE_S = 3600.0
"""The deadline of a request. It is long, because rows wait for those before them."""
_ENOUGH_ROWS = 1 << 30
_READERS = 16
"""Files that are read at the same time: each read from S3 waits for the network."""
_TRY_LATER = (429, 503)
_OWN = ("model", "version", "stream", "inputs")


class Engine:
    """Answers rows by one model version. ``options`` are those of the task."""

    def __init__(self, worker: Worker, model: Served, task: str, options: Mapping[str, Any]) -> None:
        self.model = model
        self.task = task
        self.options = read_options(task, options)
        self._worker = worker
        self._fields = {**options, "model": model.name, "version": model.version}
        self._query = urlencode(
            {name: value if isinstance(value, str) else orjson.dumps(value) for name, value in self._fields.items()}
        ).encode()
        self.tensors = TensorRequests(_check_tensors(model)) if task == "tensors" else None
        self._running = 0
        self._ended = asyncio.Event()
        """Set when any running request ends. Then there is a new event."""
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="files")

    @property
    def rows_at_once(self) -> int:
        """The rows of one request. It is one, unless other rows of the request do not change the answer to a row."""
        model = self.model
        if isinstance(model, Pipeline) or model.loop is not None:
            return 1
        is_batched = all(graph.signature.batches for graph in model.graphs.values())
        return self._worker.settings.max_rows if is_batched else 1

    @property
    def rows_in_flight(self) -> int:
        """How many rows keep all lanes busy while other rows are read and written."""
        return 4 * self._worker.settings.max_rows

    @property
    def provider(self) -> str:
        """The execution provider of the model; "" for a pipeline."""
        return "" if isinstance(self.model, Pipeline) else str(self.model.loaded.session.provider)

    async def answer(self, rows: Sequence[Any]) -> list[Answer]:
        """The answer to each row. If a request of several rows fails, each of them is sent again, alone."""
        if len(rows) == 1:
            return [await self._answer_one(rows[0])]
        known = {i: row for i, row in enumerate(rows) if isinstance(row, Fault)}
        alone = {i for i, row in enumerate(rows) if has_files(row)}
        sent = [row for i, row in enumerate(rows) if i not in known and i not in alone]
        found = await self._send(sent) if sent else []
        if isinstance(found, Fault):
            found = [await self._answer_one(row) for row in sent]
        single = await asyncio.gather(*(self._answer_one(rows[i]) for i in sorted(alone)))
        answers, singles = iter(found), iter(single)
        return [
            row if isinstance(row, Fault) else next(singles if i in alone else answers) for i, row in enumerate(rows)
        ]

    async def _answer_one(self, row: Any) -> Answer:
        if isinstance(row, Fault):
            return row
        found = await (self._answer_file(row) if has_files(row) else self._send([row]))
        return found if isinstance(found, Fault) else found[0]

    async def _answer_file(self, row: Any) -> list[Answer] | Fault:
        """Answer a row that is a file or has files. They are read when there is memory for them."""
        budget = self._worker.handler.body_budget
        try:
            size_bytes = await self._measure(row)
        except (OSError, ScoreError) as error:
            return Fault(f"the file cannot be read: {error}")
        await budget.admit(size_bytes)
        try:
            content = await self._read_files(row)
        except (OSError, UnicodeDecodeError) as error:
            return Fault(f"the file cannot be read: {error}")
        else:
            return await (self._send_file(content) if isinstance(content, bytes) else self._send([content]))
        finally:
            budget.release(size_bytes)

    async def _send(self, rows: Sequence[Any]) -> list[Answer] | Fault:
        """Send rows in one request."""
        try:
            if self.tensors is not None:
                body = self.tensors.render(rows)
            else:
                body = orjson.dumps({"inputs": rows, **self._fields}, default=render_value)
        except TypeError as error:  # also for an integer of more than 64 bits, or half of a surrogate pair
            return Fault(f"expected a value that JSON has: {error}")
        if self.tensors is None:
            return self._read(await self._post(Endpoint(f"/{self.task}"), b"", {}, body), len(rows))
        endpoint = Endpoint(INFER, self.model.name, self.model.version)
        reply = await self._post(endpoint, b"", {}, body)
        if reply.status != 200:
            return self._read(reply, len(rows))
        length = dict(reply.headers).get(b"inference-header-content-length")
        try:
            return self.tensors.read(b"".join(reply.chunks), None if length is None else int(length), len(rows))
        except ValueError as error:
            return Fault(str(error))

    async def _send_file(self, content: bytes) -> list[Answer] | Fault:
        """Send a picture or sound as the body, which is shorter than JSON."""
        kind = b"audio/wav" if self.model.manifest.sound is not None else b"image/png"  # the content decides
        endpoint = Endpoint(f"/{self.task}")
        if self.tensors is not None:
            return Fault("expected numbers, got the bytes of a file: the model has no task that reads files")
        return self._read(await self._post(endpoint, self._query, {b"content-type": kind}, content), 1)

    async def _post(self, endpoint: Endpoint, query: bytes, headers: dict[bytes, bytes], body: bytes) -> Reply:
        """The reply. If there is no room beside other requests, the request is sent again when one of them ends."""
        while True:
            reply = await self._post_once(endpoint, query, headers, body)
            if reply.status not in _TRY_LATER or not self._running:
                return reply
            await self._ended.wait()

    async def _post_once(self, endpoint: Endpoint, query: bytes, headers: dict[bytes, bytes], body: bytes) -> Reply:
        request = AwaitedRequest(endpoint, query, headers)
        request.body = body
        self._running += 1
        try:
            self._worker.handler.start(request)
            return await request.answer
        except asyncio.CancelledError:
            request.give_up()
            raise
        finally:
            self._running -= 1
            ended, self._ended = self._ended, asyncio.Event()
            ended.set()

    def _read(self, reply: Reply, rows: int) -> list[Answer] | Fault:
        """The predictions, or the error. Raises ScoreError if no row at all can be answered."""
        content = parse_object(b"".join(reply.chunks))
        if reply.status == 200:
            found: list[Answer] = content["predictions"]
            if len(found) != rows:
                return Fault(f"expected {rows} predictions, got {len(found)}")
            return found
        text = str(content["error"])
        if reply.status == 503 and rows == 1:  # for several rows it may only mean that they need too much memory
            raise ScoreError(f"model {self.model.name!r} cannot answer any more: {text}")
        return Fault(text.removeprefix("inputs[0]").lstrip(".: "))

    async def _measure(self, row: Any) -> int:
        """The bytes of the files of a row. Raises ScoreError if a file does not exist."""
        sizes = [
            (await self._in_thread(value.place.describe)).size_bytes if value.size_bytes is None else value.size_bytes
            for value in _files_of(row)
        ]
        most = self._worker.settings.max_body_bytes
        if sum(sizes) > most:
            raise ScoreError(f"expected at most {most} bytes (SLUICE_MAX_BODY_BYTES), got {sum(sizes)}")
        return sum(sizes) if sizes else len(row)

    async def _read_files(self, row: Any) -> Any:
        if isinstance(row, FileValue):
            content = await self._in_thread(row.place.read)
            return content.decode() if row.place.suffix == TEXT_SUFFIX else content
        if isinstance(row, dict):
            return {name: await self._read_files(value) for name, value in row.items()}
        return row

    async def _in_thread(self, read: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._readers, read)

    def close(self) -> None:
        self._readers.shutdown(wait=False, cancel_futures=True)


def _files_of(row: Any) -> list[FileValue]:
    values = row.values() if isinstance(row, dict) else (row,)
    return [value for value in values if isinstance(value, FileValue)]


@contextlib.asynccontextmanager
async def open_engine(
    settings: Settings, name: str, version: str, task: str | None, options: Mapping[str, Any]
) -> AsyncIterator[Engine]:
    """Load a version and answer rows until the block ends. Raises ScoreError, SettingsError."""
    async with open_worker(settings.replace(follow=False)) as worker:  # the same version for all rows
        try:
            await worker.registry.load(name, version)
            model = worker.registry.find_served(name, version)
            if isinstance(model, Pipeline):
                await wait_for_steps(worker.registry, model)
                check_steps(worker.registry, model)
                find_steps(worker.registry, model)
            else:
                model.check_stateless()
            engine = Engine(worker, model, choose_task(model, task), options)
        except (ServiceError, StoreError) as error:
            raise ScoreError(str(error)) from None
        try:
            yield engine
        finally:
            engine.close()


def read_settings(store: Any, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the environment, changed for a worker without a port that loads only one model.

    Raises SettingsError.
    """
    logging.getLogger("sluice").setLevel(logging.ERROR)
    settings = Settings.from_environ(environ)
    settings = settings.replace(store=store) if store is not None else settings
    settings.check_store()
    return settings.replace(
        models=(),
        lazy=True,
        model_memory_bytes=0,
        keep_models=(),
        grpc_port=0,
        metrics_dir=None,
        workers=1,
        deadline_s=_PATIENCE_S,
        max_timeout_s=_PATIENCE_S,
        max_queue_rows=_ENOUGH_ROWS,
    )


def choose_task(model: Served, asked: str | None) -> str:
    """The given task, or that of the model. Raises ScoreError."""
    task = asked or model.manifest.task
    if task == "generate":
        raise ScoreError(
            f"model {model.name!r} makes rows from noise, so it has no input to score: POST to /generate of a server"
        )
    if task not in model.tasks and task != "tensors":
        raise ScoreError(f"--task {task}: expected what model {model.name!r} does: {', '.join(sorted(model.tasks))}")
    return task


def read_options(task: str, options: Mapping[str, Any]) -> TaskOptions | None:
    """The options of the task; None for tensors. Raises ScoreError for an unknown option or a bad value."""
    own = [name for name in options if name in _OWN]
    if own:
        raise ScoreError(f"--option {own[0]}: expected an option of the task {task}: the command sets this one")
    if task == "tensors":
        if options:
            raise ScoreError(f"--option {next(iter(options))}: expected none, for the task tensors has no options")
        return None
    try:
        parsed: TaskOptions = ROUTES[f"/{task}"].Options.parse(dict(options))
    except ServiceError as error:
        raise ScoreError(f"--option {error}") from None
    return parsed


def _check_tensors(model: Served) -> Model:
    if isinstance(model, Pipeline):
        raise ScoreError(f"--task tensors: model {model.name!r} is a pipeline, which takes no tensors: leave it out")
    return model
