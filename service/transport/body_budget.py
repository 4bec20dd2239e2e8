"""How many bytes of request bodies a worker holds at a time, over all its connections."""

from collections import deque
from collections.abc import Callable


class BodyBudget:
    """Room is reserved by the declared length before a body is read, and given back when its answer is written.

    When nothing is held, a body is let in whatever its size, so waiting cannot come to a standstill.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def admit(self, size_bytes: int, retry: Callable[[], None]) -> bool:
        """Reserve room; if there is none, ``retry`` is called once when it is worth asking again."""
        if self.try_admit(size_bytes):
            return True
        self._waiting.append(retry)
        return False

    def try_admit(self, size_bytes: int) -> bool:
        """Reserve room if there is some."""
        if self.held_bytes and self.held_bytes + size_bytes > self.max_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def grow(self, size_bytes: int) -> None:
        """A body without a declared length got larger; it is bounded by the limit of one body."""
        self.held_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        self.held_bytes -= size_bytes
        for _ in range(len(self._waiting)):  # each may line up again, so only those that wait now are asked
            if not self._waiting:
                break  # one of them was answered at once: what it released has asked the others
            self._waiting.popleft()()
