"""Limits the memory of large pictures, which are held in memory while their tiles run."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from service.errors import TryLater

DEFAULT_BYTES = 1 << 30
Take = Callable[[int], None]


class PictureRoom:
    """The memory for the large pictures of all requests to a worker."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.held_bytes = 0
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def open(self) -> Iterator[Take]:
        """Yields a function that reserves bytes for one request. They are released at the end of the block.

        The function raises TryLater if other requests hold the memory. A single picture always has room. Pictures are
        decoded in a thread that may outlive the request; then it gets no more memory.
        """
        taken = 0
        is_closed = False

        def take(size_bytes: int) -> None:
            nonlocal taken
            with self._lock:
                if is_closed or (self.held_bytes and self.held_bytes + size_bytes > self._max_bytes):
                    raise TryLater(f"inputs: expected room for {size_bytes} bytes of pictures, but others hold it")
                self.held_bytes += size_bytes
                taken += size_bytes

        try:
            yield take
        finally:
            with self._lock:
                is_closed = True
                self.held_bytes -= taken
