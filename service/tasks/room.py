"""What pictures may take that are held while they are cut into tiles and joined again."""

import threading
from types import TracebackType
from typing import Self

from service.errors import TryLater

DEFAULT_BYTES = 1 << 30


class PictureRoom:
    """How many bytes the large pictures of a worker may take, those of all requests together."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._lock = threading.Lock()

    def open(self) -> "PictureLease":
        """The part of one request, nothing as yet."""
        return PictureLease(self)

    def try_take(self, size_bytes: int) -> bool:
        """Take so many bytes if they are there. When nothing is held they are, however many."""
        with self._lock:
            if self.held_bytes and self.held_bytes + size_bytes > self.max_bytes:
                return False
            self.held_bytes += size_bytes
            return True

    def give_back(self, size_bytes: int) -> None:
        with self._lock:
            self.held_bytes -= size_bytes


class PictureLease:
    """A context manager: what a request has taken is given back when it ends, in whichever way.

    Its pictures are decoded in a thread, which may go on when the request has ended: it gets nothing more.
    """

    def __init__(self, room: PictureRoom) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._taken_bytes = 0
        self._is_closed = False

    def take(self, size_bytes: int) -> None:
        """Raises TryLater where others hold the room."""
        with self._lock:
            if self._is_closed or not self._room.try_take(size_bytes):
                raise TryLater(f"inputs: expected room for {size_bytes} bytes of pictures, but others hold it")
            self._taken_bytes += size_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_closed = True
            self._room.give_back(self._taken_bytes)
