"""Answers that come as events: iterate for the steps, then take the answer."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Generic, Self, TypeVar

from sluice_client.calls import Call, StreamCall
from sluice_client.errors import NoAnswer, SluiceError
from sluice_client.meta import Meta
from sluice_client.wire.events import EventReader

A = TypeVar("A")
E = TypeVar("E")
_CUT = "the stream ended before its last event"
_CLOSED = "the stream was closed before its answer came"


class Stream(Generic[E, A]):
    """The events of a call, and then its ``answer``. The request is sent when the first event is asked for.

    ``for event in stream`` reads all of it. A stream that is left early is closed by ``with`` or ``close``, which tells
    the server to stop. Iterating raises what the call without a stream raises, and StreamFailed.
    """

    def __init__(
        self,
        call: StreamCall[E, A],
        connect: Callable[[Call[Any]], AbstractContextManager[tuple[Iterator[bytes], Meta]]],
    ) -> None:
        self._call, self._connect = call, connect
        self._answers: list[A] = []
        self._events = self._read()

    @property
    def answer(self) -> A:
        """The answer of the whole call. Events that were not read are skipped. Raises SluiceError."""
        for _ in self:
            pass
        if not self._answers:
            raise SluiceError(_CLOSED)
        return self._answers[0]

    def __iter__(self) -> Iterator[E]:
        return self

    def __next__(self) -> E:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._events.close()

    def _read(self) -> Generator[E, None, None]:
        reader = EventReader()
        with self._connect(self._call.call) as (chunks, meta):
            for chunk in chunks:
                for event in reader.feed(chunk):
                    step, answer = self._call.read(event, meta)
                    if answer is not None:
                        self._answers.append(answer)
                        return
                    yield step  # type: ignore[misc]  # one of the two is there
        raise NoAnswer(_CUT)


class AsyncStream(Generic[E, A]):
    """The same with asyncio or trio: ``async for``, ``async with``, ``await stream.answer()``."""

    def __init__(
        self,
        call: StreamCall[E, A],
        connect: Callable[[Call[Any]], AbstractAsyncContextManager[tuple[AsyncIterator[bytes], Meta]]],
    ) -> None:
        self._call, self._connect = call, connect
        self._answers: list[A] = []
        self._events = self._read()

    async def answer(self) -> A:
        """The answer of the whole call. Events that were not read are skipped. Raises SluiceError."""
        async for _ in self:
            pass
        if not self._answers:
            raise SluiceError(_CLOSED)
        return self._answers[0]

    def __aiter__(self) -> AsyncIterator[E]:
        return self

    async def __anext__(self) -> E:
        return await anext(self._events)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._events.aclose()

    async def _read(self) -> AsyncGenerator[E, None]:
        reader = EventReader()
        async with self._connect(self._call.call) as (chunks, meta):
            async for chunk in chunks:
                for event in reader.feed(chunk):
                    step, answer = self._call.read(event, meta)
                    if answer is not None:
                        self._answers.append(answer)
                        return
                    yield step  # type: ignore[misc]  # one of the two is there
        raise NoAnswer(_CUT)
