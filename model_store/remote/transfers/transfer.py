"""Fetches the contents of files: parts in parallel, each with a few retries."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from model_store.errors import IntegrityError, RemoteAway, RemoteError, StoreError
from model_store.remote.contents import RemoteFile
from model_store.remote.stores.remote_store import NotThere, RemoteStore
from model_store.remote.transfers.blobs import PART_BYTES, Blobs
from model_store.remote.transfers.progress import Progress
from model_store.remote.transfers.retries import MOST_TRIES, find_waits

T = TypeVar("T")
AT_ONCE = 8
"""Requests at the same time. Each holds a part in memory."""


class Stopped(RemoteAway):
    """The transfer was told to stop."""


@dataclass(frozen=True, slots=True)
class Want:
    """A content to fetch. ``sha256`` "": any content of this size."""

    key: str
    name: str
    """Its name in messages, such as ``digits/3/main.onnx``."""
    file: RemoteFile
    size: int
    sha256: str


class Transfer:
    """Reads from a remote store. When ``stop`` is set, every method soon raises Stopped."""

    def __init__(self, remote: RemoteStore, blobs: Blobs, progress: Progress, stop: threading.Event) -> None:
        self.remote = remote
        self.blobs = blobs
        self.progress = progress
        self._stop = stop

    def read_small(self, file: RemoteFile, most_bytes: int, name: str) -> bytes:
        """The content of a small file. Raises IntegrityError if it is larger than ``most_bytes``, RemoteError."""
        if file.content is not None:
            return file.content
        if file.size is not None and file.size > most_bytes:
            raise IntegrityError(f"{name} has {file.size} bytes: expected at most {most_bytes}")
        content = self.retry(lambda: self.remote.read(file.where, 0, most_bytes + 1))
        if len(content) > most_bytes:
            raise IntegrityError(f"{name} has more than {most_bytes} bytes")
        if file.size is not None and len(content) != file.size:
            raise IntegrityError(f"{name}: expected {file.size} bytes, as the list says, got {len(content)}")
        return content

    def retry(self, ask: Callable[[], T], tries: int = MOST_TRIES) -> T:
        """Call ``ask``, and again, a few times, while the remote store is away. Raises RemoteError."""
        for wait_s in find_waits(tries):
            if self._stop.is_set():
                break
            try:
                return ask()
            except NotThere:
                raise
            except RemoteAway:
                self._stop.wait(wait_s)
        if self._stop.is_set():
            raise Stopped("told to stop")
        return ask()

    def map(self, work: Callable[[T], None], items: list[T]) -> None:
        """Call ``work`` for each item, in threads. Raises the first error."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="remote") as pool:
            try:
                for _ in pool.map(work, items):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def fetch(self, wants: Mapping[str, Want]) -> Iterator[tuple[Want, str, str]]:
        """Fetch contents. Yields each when it is done: with its digest and "", or with "" and why it cannot be had.

        Raises RemoteAway if the remote store no longer answers; what was fetched is kept for the next time. Raises
        OSError if it cannot be written.
        """
        if not wants:
            return
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="remote") as pool:
            try:
                yield from _Fetching(self, pool, wants).run()
            finally:
                pool.shutdown(cancel_futures=True)

    def fetch_part(self, want: Want, number: int) -> int:
        """Fetch one part. Returns its bytes. Raises RemoteError, IntegrityError, OSError."""
        count = min(PART_BYTES, want.size - number * PART_BYTES)
        content = self.retry(lambda: self.remote.read(want.file.where, number * PART_BYTES, count))
        if len(content) != count:
            raise IntegrityError(f"{want.name} is shorter than the {want.size} bytes that it should have")
        self.blobs.write_part(want.key, number, content)
        return count


class _Fetching:
    """One run of ``Transfer.fetch``."""

    def __init__(self, transfer: Transfer, pool: ThreadPoolExecutor, wants: Mapping[str, Want]) -> None:
        self._transfer = transfer
        self._blobs = transfer.blobs
        self._progress = transfer.progress
        self._pool = pool
        self._wants = wants
        self._parts: dict[Future[Any], Want] = {}
        self._ends: dict[Future[Any], Want] = {}
        self._open: dict[str, int] = {}
        """How many parts of each content are still missing."""
        self._again: set[str] = set()
        """Contents that had another digest, and are fetched a second time."""

    def run(self) -> Iterator[tuple[Want, str, str]]:
        missing = {key: self._blobs.begin(key, want.size) for key, want in self._wants.items()}
        left = sum(min(PART_BYTES, self._wants[key].size - n * PART_BYTES) for key in missing for n in missing[key])
        self._progress.begin(len(missing), left)
        for key, numbers in missing.items():
            self._submit(self._wants[key], numbers)
        while self._parts or self._ends:
            done, _ = wait((*self._parts, *self._ends), return_when=FIRST_COMPLETED)
            for future in done:
                if future in self._ends:
                    yield from self._end(self._ends.pop(future), future.result())
                elif future in self._parts:
                    yield from self._take(self._parts.pop(future), future)
        self._progress.end()

    def _submit(self, want: Want, numbers: list[int]) -> None:
        self._open[want.key] = len(numbers)
        if not numbers:
            self._finish(want)
        for number in numbers:
            self._parts[self._pool.submit(self._transfer.fetch_part, want, number)] = want

    def _finish(self, want: Want) -> None:
        self._ends[self._pool.submit(self._blobs.finish, want.key, want.sha256)] = want

    def _take(self, want: Want, future: "Future[Any]") -> Iterator[tuple[Want, str, str]]:
        """A part has arrived, or cannot be had."""
        if want.key not in self._open:  # another part of it could not be had
            return
        try:
            self._progress.advance(future.result(), time.monotonic())
        except RemoteAway:
            raise
        except (IntegrityError, RemoteError) as error:
            yield from self._give_up(want, error)
            return
        self._open[want.key] -= 1
        if not self._open[want.key]:
            self._finish(want)

    def _give_up(self, want: Want, error: StoreError) -> Iterator[tuple[Want, str, str]]:
        del self._open[want.key]
        for future, of in list(self._parts.items()):
            if of is want and future.cancel():
                del self._parts[future]
        yield want, "", str(error)

    def _end(self, want: Want, found: str) -> Iterator[tuple[Want, str, str]]:
        """All parts of a content have arrived. If it has another digest, it is fetched once more."""
        if want.sha256 in ("", found):
            yield want, found, ""
        elif want.key not in self._again:
            self._again.add(want.key)
            self._submit(want, self._blobs.begin(want.key, want.size))
        else:
            fault = (
                f"{want.name} is not the file that was published: expected sha256 {want.sha256[:12]}…, got "
                f"{found[:12]}…; publish a new version, or put the right file there"
            )
            yield want, "", fault
