"""Makes SIGTERM an ordinary exit; otherwise Python would leave the processes that it started running."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Within the block, SIGTERM raises SystemExit(143), so that every ``finally`` runs. Afterwards all is as before."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can set signal handlers, and only it is interrupted
        return
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
