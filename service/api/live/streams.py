"""The live streams of a worker: `/v2/models/NAME/stream`, a WebSocket on which each message is answered at once.

Rules
- A stream is one sequence: its rows run in order, and this worker keeps the model's state until the stream ends.
- A model with ``sound`` in its manifest takes binary messages with samples. Each complete row is answered. After the
  text message ``{"end": true}`` the rest is padded with silence and answered too.
- Other models take requests of the Open Inference Protocol as text messages.
- A message that cannot be answered ends the stream, because later rows would continue from a wrong state.
- When a version leaves service, its streams may go on for ``SLUICE_DRAIN_S``; then they are ended.
"""

import asyncio
import contextlib
import functools
import re
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from model_store.tasks import Sound
from service.api.live.answers import choose_answers, open_text
from service.api.live.messages import (
    StreamOptions,
    check_end,
    check_model,
    inputs_of,
    is_end,
    read_options,
    read_request,
)
from service.api.live.rows import StreamRows
from service.codecs.sound_stream import SoundRow, SoundStream
from service.engine.tensors import Arrays
from service.errors import (
    Draining,
    QueueFull,
    ServiceError,
    StillLoading,
    UnsupportedMedia,
)
from service.metrics.meters import Metrics
from service.models.entry import Model, Served
from service.models.registry import Registry
from service.protocol.infer_response import render_infer
from service.protocol.json import render_json
from service.protocol.large_json import LARGE_BYTES
from service.sequences.sequences import Sequences
from service.settings import Settings
from service.transport.channel import Channel, Converse, Streams
from service.transport.request import Endpoint
from service.transport.status import status_of

STREAM = "/v2/models/{model}/stream"
_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/stream")
_OPENED = 101
_SLOW_BYTES = 64 << 10
"""Larger messages are resampled, and larger outputs are rendered, in a thread."""

T = TypeVar("T")


class LiveStreams(Streams):
    """Used on the event loop's thread only. Slow work runs in ``parsing`` and ``threads``."""

    def __init__(
        self,
        registry: Registry,
        sequences: Sequences,
        settings: Settings,
        metrics: Metrics,
        threads: Executor,
        parsing: Executor,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._sequences = sequences
        self._settings = settings
        self._metrics = metrics
        self._threads = threads
        self._parsing = parsing
        self._clock = clock
        self._open: dict[Channel, Model | None] = {}
        self._ended = asyncio.Event()
        self._stopping = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def match(self, path: str) -> Endpoint | None:
        found = _PATH.fullmatch(path)
        return None if found is None else Endpoint(STREAM, found[1], found[2])

    def open(self, endpoint: Endpoint, query: bytes, headers: dict[bytes, bytes]) -> Converse:
        if self._stopping.is_set():
            raise Draining("the server is stopping")
        if len(self._open) >= self._settings.max_sequences:
            raise QueueFull(f"expected at most {self._settings.max_sequences} streams at once")
        options = read_options(query)
        with contextlib.suppress(StillLoading):  # the stream will wait for the model
            check_model(self._registry.find(endpoint.model, endpoint.version), options, query)
        return functools.partial(self._converse, endpoint, options, query)

    def use(self, model: Served) -> bool:
        """Whether the version has an open stream."""
        return any(used is model for used in self._open.values())

    def begin_stop(self) -> None:
        """Refuse new streams. A version that leaves service no longer waits for its streams."""
        self._stopping.set()
        self._wake()

    def _wake(self) -> None:
        """Wake everyone who waits for the end of a stream."""
        self._ended.set()
        self._ended.clear()

    async def release(self, model: Served) -> None:
        """Return when the streams of a version have ended: by themselves, or ended by the server after a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                while model in self._open.values() and not self._stopping.is_set():
                    await self._ended.wait()
        while streams := [channel for channel, used in self._open.items() if used is model]:
            for channel in streams:
                channel.end(Draining(f"this version of {model.name!r} goes out of service: connect again"))
            await self._ended.wait()

    async def _converse(self, endpoint: Endpoint, options: StreamOptions, query: bytes, channel: Channel) -> None:
        self._open[channel] = None
        opened: Model | None = None
        try:
            await self._registry.find_when_loaded(endpoint.model, endpoint.version)
            model = self._registry.find(endpoint.model, endpoint.version)
            check_model(model, options, query)
            self._open[channel] = opened = model
            self._metrics.numbers("sluice_requests", (STREAM, model.name, model.version, str(_OPENED))).add(1.0)
            self._metrics.numbers("sluice_streams", (model.name, model.version)).add(1.0)
            rows = StreamRows(model, self._sequences, self._settings.deadline_s, channel.charge, channel.trace)
            try:
                if model.manifest.sound is None:
                    await self._answer_requests(channel, rows)
                else:
                    await self._answer_sound(channel, rows, options, model.manifest.sound)
            except ServiceError as error:
                self._metrics.route(STREAM, model.name, model.version).answered(status_of(error), 0.0)
                raise
            finally:
                rows.close()
        finally:
            del self._open[channel]
            if opened is not None:
                self._metrics.numbers("sluice_streams", (opened.name, opened.version)).add(-1.0)
            self._wake()

    async def _answer_sound(self, channel: Channel, rows: StreamRows, options: StreamOptions, sound: Sound) -> None:
        model = rows.model
        context = model.context
        meter = self._metrics.route(STREAM, model.name, model.version)
        stream = SoundStream(sound, options.rate, options.format, rows.keeps_state)
        text = open_text(context, sound)
        answer = choose_answers(context, options.top_k, text)
        index = 0

        async def give(row: SoundRow) -> None:
            nonlocal index
            outputs = await rows.run(inputs_of(row, sound, model))
            found = await self._in_thread(functools.partial(answer, row, outputs), _count_bytes(outputs))
            times = {"start": row.begin / sound.rate, "end": row.end / sound.rate}
            await channel.send(render_json({"index": index, **times, **found}))
            index += 1

        while True:
            message = await channel.receive()
            began = self._clock()
            if isinstance(message, str):
                break
            size = len(message) if stream.resamples else 0
            await self._in_thread(functools.partial(stream.add, message), size)
            while (row := stream.take()) is not None:
                await give(row)
            meter.answered(200, self._clock() - began)
        check_end(message)
        while (row := stream.finish()) is not None:
            await give(row)
        last: dict[str, Any] = {"done": True, "rows": index}
        if text is not None:
            text.finish()
            last |= {"text": text.text, "probability": text.probability}
        await channel.send(render_json(last))
        meter.answered(200, self._clock() - began)

    async def _answer_requests(self, channel: Channel, rows: StreamRows) -> None:
        model = rows.model
        meter = self._metrics.route(STREAM, model.name, model.version)
        signature = model.signature
        most = max(self._settings.max_inputs, len(signature.public_inputs), len(signature.public_outputs))
        while True:
            message = await channel.receive()
            began = self._clock()
            if isinstance(message, bytes):
                raise UnsupportedMedia(
                    f"message: expected a text, got a binary one: the manifest of model {model.name!r} has no sound"
                )
            if is_end(message):
                await channel.send(render_json({"done": True}))
                return
            body = message.encode()
            read = functools.partial(read_request, body, most)
            size = len(body) if len(body) > LARGE_BYTES else 0
            request = await self._in_thread(read, size, self._parsing)
            outputs = await rows.run(request.inputs)
            render = functools.partial(render_infer, model.name, model.version, request.header, outputs)
            chunks, _ = await self._in_thread(render, _count_bytes(outputs), self._parsing)
            await channel.send(b"".join(chunks))
            meter.answered(200, self._clock() - began)

    async def _in_thread(self, do: Callable[[], T], size_bytes: int, threads: Executor | None = None) -> T:
        """Call ``do``: in a thread if it works on many bytes, else here."""
        if size_bytes <= _SLOW_BYTES:
            return do()
        return await asyncio.get_running_loop().run_in_executor(threads or self._threads, do)


def _count_bytes(outputs: Arrays) -> int:
    return sum(array.nbytes for array in outputs.values())
