"""Time for tests: an event loop whose clock jumps to the next timer instead of waiting for it."""

import asyncio
import functools
import inspect
import selectors
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

T = TypeVar("T")
Decorator = Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., None]]


class _JumpingSelector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            return super().select(30)  # only a thread can wake the loop now, so really wait for it
        ready = super().select(0)
        if not ready and any(thread.name.startswith("load ") for thread in threading.enumerate()):
            return super().select(0.01)  # a version is being loaded, which takes real time
        if not ready:
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0 seconds. A timer that is due in an hour fires at once, an hour later by ``time()``."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def pass_s(self, seconds: float) -> None:
        """Move the clock on, as if something had run on the loop for that long."""
        self._jumping.now += seconds


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a VirtualLoop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine function: it runs on a VirtualLoop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_virtual(test(*args, **kwargs))

    return run


def virtual_with(opened: Callable[..., AbstractAsyncContextManager[tuple[Any, ...]]], *fixtures: str) -> Decorator:
    """Make a test of a coroutine function: it runs on a VirtualLoop, and its positional arguments are what is opened.

    ``fixtures`` are the names of those that ``opened`` takes.
    """

    def decorate(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        @virtual
        async def run(**kwargs: Any) -> None:
            async with opened(*map(kwargs.pop, fixtures)) as first:
                await test(*first, **kwargs)

        own = inspect.signature(test).parameters.values()
        taken = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in fixtures]
        rest = [each for each in own if each.kind is not inspect.Parameter.POSITIONAL_ONLY]
        functools.update_wrapper(run, test).__signature__ = inspect.Signature([*rest, *taken])  # type: ignore[attr-defined]
        return run

    return decorate
