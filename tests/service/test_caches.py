"""What a server remembers of what callers send is bounded in bytes, not only in number."""

import asyncio
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from service.api.handler import RequestHandler
from service.engine.tensors import BatchBuffer
from service.metrics.meters import Metrics
from service.protocol.compression import choose_coding
from service.settings import Settings

LONG = 60_000


def find_path(handler: RequestHandler, number: int) -> object:
    return handler.match(f"/v2/models/{number:08}{'a' * LONG}/infer")


def find_coding(_: RequestHandler, number: int) -> object:
    return choose_coding(b"gzip, " + b"%08d" % number + b"x" * LONG)


@pytest.fixture
def handler() -> Iterator[RequestHandler]:
    loop = asyncio.new_event_loop()
    handler = RequestHandler(Settings(), Metrics(), loop)
    yield handler
    handler.close()
    loop.close()


@pytest.mark.parametrize("ask", [find_path, find_coding])
def test_long_keys_are_not_kept(handler: RequestHandler, ask: Callable[[RequestHandler, int], object]):
    """Hundreds of long paths or headers, each another one, leave no memory behind."""
    ask(handler, 0)
    tracemalloc.start()
    try:
        for number in range(500):
            assert ask(handler, number) is not None
        assert tracemalloc.get_traced_memory()[0] < 2 << 20
    finally:
        tracemalloc.stop()


def test_batches_of_ever_new_shapes_keep_few_bytes():
    """The arrays that a lane keeps for the shapes that callers choose are bounded in all, but for the newest."""
    buffer = BatchBuffer()
    made: list[int] = []

    def count() -> int:
        return sum(array.nbytes for array in buffer._arrays.values())

    for length in (1 << 20, 1 << 21, 1 << 22, 1000, 1 << 20, 9 << 20):
        parts = [np.full((1, length), value, np.float32) for value in (1, 2)]
        batch = buffer.join("x", parts, 2)
        assert (batch[0, 0], batch[1, -1]) == (1, 2)
        made.append(count())
        assert made[-1] <= max(64 << 20, batch.nbytes)
    assert made[4] > made[0]  # small ones lie side by side
