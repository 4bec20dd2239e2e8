"""The load of the benchmarks: callers of the engine in this process, without HTTP."""

import asyncio
import time

from service.engine.batching.queue import Answer
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.tensors import Rows
from service.errors import NotReady, ServiceError


class Load:
    """Callers of one row each, who send the next request when the last is answered, until the time is over."""

    def __init__(self, dispatcher: Dispatcher, rows: Rows, seconds: float) -> None:
        self._dispatcher, self._rows, self._seconds = dispatcher, rows, seconds
        self._ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._error: ServiceError | None = None
        self._asked = self._answered = 0
        self._began = 0.0

    async def run(self, callers: int) -> float:
        """Rows per second until the last caller is answered. Raises NotReady if a caller got an error."""
        self._began = time.perf_counter()
        for _ in range(callers):
            self._ask()
        elapsed = await self._ended
        if self._error is not None:
            raise NotReady(f"the engine failed on the benchmark's own rows: {self._error}")
        return self._answered / elapsed

    def _ask(self) -> None:
        self._asked += 1
        self._dispatcher.submit(self._rows, self._take)

    def _take(self, outcome: Answer | ServiceError) -> None:
        self._answered += 1
        if isinstance(outcome, ServiceError):
            self._error = outcome
        elapsed = time.perf_counter() - self._began
        if elapsed < self._seconds and self._error is None:
            self._ask()
        elif self._answered == self._asked:
            self._ended.set_result(elapsed)


async def run_load(device: Device, dispatcher: Dispatcher, rows: Rows, callers: int, seconds: float) -> float:
    """Rows per second of a load, after which the engine is closed. Raises NotReady if a caller got an error."""
    try:
        return await Load(dispatcher, rows, seconds).run(callers)
    finally:
        await dispatcher.drain()
        device.close()
