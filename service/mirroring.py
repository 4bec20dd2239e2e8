"""Keeps the copy of a remote store up to date while a worker runs, in its own thread.

Only one worker of a server looks at the remote store (``model_store/remote/mirror.py``). All workers notice changes of
the copy as in any folder (``service/models/lifecycle/follower.py``).
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from model_store.errors import RemoteError
from model_store.remote.mirror import Mirror
from model_store.remote.state import Status, read_status
from service.settings import Settings
from service.settings.remote import open_mirror

logger = logging.getLogger("sluice.store")


class Mirroring:
    def __init__(self, settings: Settings) -> None:
        self._mirror: Mirror = open_mirror(settings.store_url, settings.store, settings.models)
        self._side = settings.store.parent
        self._every_s = settings.poll_s
        self._stop = threading.Event()
        self._status: Status | None = None
        self._status_s = 0.0

    async def start(self) -> None:
        """Start the thread. Returns after the first look at the remote store, by this worker or by another one."""
        looked, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(looked.set)

        # A daemon thread, because a thread of the executor would not let the process end while it waits.
        threading.Thread(target=self._run, args=(tell,), name="mirror", daemon=True).start()
        await looked.wait()

    def _run(self, tell: Callable[[], None]) -> None:
        self._try(self._mirror.refresh_first)
        tell()
        while not self._stop.wait(self._every_s):
            self._try(self._mirror.refresh_if_mine)

    @staticmethod
    def _try(look: Callable[[], object]) -> None:
        try:
            look()
        except (RemoteError, OSError):
            pass  # the mirror has logged it
        except Exception:  # the next look may succeed
            logger.exception("looking at the remote store failed unexpectedly")

    def close(self) -> None:
        """Let the thread end."""
        self._stop.set()
        self._mirror.close()

    def read_status(self) -> Status:
        """The state of the remote store at the last look of any worker. It is read at most once a second."""
        now_s = time.monotonic()
        if self._status is None or now_s - self._status_s >= 1.0:
            self._status, self._status_s = read_status(self._side), now_s
        return self._status

    def measure(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """A source of metrics."""
        status = self.read_status()
        yield "sluice_store_reachable", (), float(not status.away and status.looked_s > 0)
        yield "sluice_store_looked_seconds", (), status.looked_s
        yield "sluice_store_problems", (), float(sum(map(len, status.problems.values())))
