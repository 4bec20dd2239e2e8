"""Keeps the local copy of a remote store up to date while a worker runs, in a thread of its own.

One worker of a server does this until it ends (``model_store/remote/mirror.py``). The server notices changes of the
copy as in any folder (``service/models/lifecycle/follower.py``).
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
        """Begin. Returns when this worker, or another one, has refreshed the copy once."""
        refreshed, loop = asyncio.Event(), asyncio.get_running_loop()

        def run() -> None:
            self._try(self._mirror.refresh_first)
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(refreshed.set)
            while not self._stop.wait(self._every_s):
                self._try(self._mirror.refresh_if_leader)

        # A thread of the executor would keep the process from ending while it waits for another worker.
        threading.Thread(target=run, name="mirror", daemon=True).start()
        await refreshed.wait()

    @staticmethod
    def _try(refresh: Callable[[], object]) -> None:
        try:
            refresh()
        except (RemoteError, OSError):
            pass  # the mirror has logged it
        except Exception:  # the next one may succeed
            logger.exception("refreshing the copy of the remote store failed unexpectedly")

    def close(self) -> None:
        """Stop soon."""
        self._stop.set()
        self._mirror.close()

    def read_status(self) -> Status:
        """The status that the last refresh of any worker has found; read at most once a second."""
        now_s = time.monotonic()
        if self._status is None or now_s - self._status_s >= 1.0:
            self._status, self._status_s = read_status(self._side), now_s
        return self._status

    def measure(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """The metrics of the remote store."""
        status = self.read_status()
        yield "sluice_store_reachable", (), float(not status.away and status.looked_s > 0)
        yield "sluice_store_looked_seconds", (), status.looked_s
        yield "sluice_store_problems", (), float(sum(map(len, status.problems.values())))
