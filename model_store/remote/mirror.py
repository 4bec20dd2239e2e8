"""Keeps a folder equal to a remote store.

A refresh lists the remote store, makes a plan (``plan.py``, pure) and carries it out (``synchronizer.py``): it reads
manifests, fetches contents, lets each version appear when it is whole, then writes the files that name versions, and at
last drops what is gone. A failure leaves the folder as it was. Several processes may share the folder; one of them, the
leader, refreshes it.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from model_store.errors import RemoteAway, RemoteError
from model_store.remote.address import Address
from model_store.remote.contents import RemoteModel, sort_files
from model_store.remote.folder import Folder
from model_store.remote.plan import make_plan
from model_store.remote.state import State, Status, read_state, read_status, write_state, write_status
from model_store.remote.stores.opening import open_remote
from model_store.remote.stores.remote_store import RemoteStore
from model_store.remote.synchronizer import Synchronizer
from model_store.remote.transfers.progress import LogProgress, Progress
from model_store.remote.transfers.retries import MOST_TRIES, Backoff
from model_store.remote.transfers.transfer import Stopped, Transfer

logger = logging.getLogger("sluice.store")
_FIRST_WAIT_S = 30.0
_LIST_TRIES = 3
"""Tries to list the files: they can be few, because the next refresh comes soon."""


class Mirror:
    """``root`` is the folder of the store. ``side``, in the same file system, holds contents and the state.

    ``only``: the models to mirror; empty: all. ``remote``: used in place of that of the address.
    """

    def __init__(
        self,
        address: Address,
        root: Path,
        side: Path,
        *,
        only: Collection[str] = (),
        progress: Progress | None = None,
        remote: RemoteStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.address = address
        self._side = side
        self._only = only
        self._folder = Folder(root, side)
        self._stop = threading.Event()
        self._progress = progress or LogProgress()
        self._remote = remote
        self._clock = clock
        self._backoff = Backoff(_FIRST_WAIT_S)
        self._logged: set[str] = set()

    def check(self) -> None:
        """Raises RemoteError if there is no copy to serve and the remote store does not answer."""
        if not self._has_copy:
            transfer = self._open()
            transfer.retry(lambda: transfer.remote.list_files(self._only))

    def _open(self) -> Transfer:
        """Raises RemoteError if a package is missing. Only a process that refreshes imports the libraries."""
        if self._remote is None:
            self._remote = open_remote(self.address)
        return Transfer(self._remote, self._folder.blobs, self._progress, self._stop)

    @property
    def _has_copy(self) -> bool:
        return read_status(self._side).looked_s > 0 and any(self._folder.root.glob("*/*"))

    def refresh(self) -> frozenset[str]:
        """Make the folder equal to the remote store, after any other process that does so. Returns the changed models.

        Raises RemoteAway if the remote store does not answer, RemoteError, OSError if the folder cannot be written.
        """
        with self._folder.locked():
            return self._refresh()

    def refresh_first(self) -> frozenset[str]:
        """As ``refresh``, unless another process is the leader: then that has refreshed once when this returns.

        The leader refreshes until it ends, so the other processes need neither the memory for the libraries of the
        store nor the time.
        """
        with self._folder.locked():
            if not self._folder.become_leader():
                return frozenset()
            # If there is a copy, it serves at once although the remote store is away.
            return self._refresh(tries=1 if self._has_copy else MOST_TRIES)

    def refresh_if_leader(self) -> frozenset[str]:
        """As ``refresh``, unless another process is the leader and has not ended."""
        return self.refresh() if self._folder.become_leader() else frozenset()

    def close(self) -> None:
        """Stop a running refresh soon, and let another process become the leader."""
        self._stop.set()
        self._folder.resign()

    def _refresh(self, tries: int = _LIST_TRIES) -> frozenset[str]:
        status = read_status(self._side)
        status.url = str(self.address)
        try:
            changed = self._refresh_once(status, tries)
        except Stopped:
            return frozenset()
        except (RemoteError, OSError) as error:
            now_s = self._clock()
            if not status.away:
                status.away_since_s = now_s
                logger.warning("the store cannot be followed, its copy serves: %s", error)
            status.away, status.tried_s = str(error).removeprefix(f"{self.address}: "), now_s
            write_status(self._side, status)
            raise
        if status.away:
            logger.info("the store %s is back", self.address)
        status.away, status.away_since_s = "", 0.0
        status.tried_s = status.looked_s = self._clock()
        write_status(self._side, status)
        return changed

    def _refresh_once(self, status: Status, tries: int) -> frozenset[str]:
        now_s = self._clock()
        transfer = self._open()
        state = read_state(self._side)
        before = state.model_dump()
        if state.url != str(self.address):
            state = State(url=str(self.address))
        contents = sort_files(transfer.retry(lambda: transfer.remote.list_files(self._only), tries))
        found = {name: model for name, model in contents.models.items() if not self._only or name in self._only}
        if not found and state.versions:
            raise RemoteAway("it lists no models: none of the copy is removed")
        for complaint in contents.complaints:
            self._log_once(complaint)
        here = self._folder.list_versions()
        plan = make_plan(found, here, state, self._backoff, now_s, only=self._only)
        synchronizer = Synchronizer(transfer, self._folder, found, here, state, self._backoff, now_s)
        self._folder.sweep()
        try:
            synchronizer.carry_out(plan)
        finally:
            if state.model_dump() != before:
                write_state(self._side, state)
            self._note_problems(status, found, synchronizer.problems)
        self._folder.blobs.sweep()
        for name, numbers in sorted(synchronizer.changed.items()):
            shown = ", ".join(map(str, sorted(numbers)))
            logger.info("%s has changed in the store%s", name, f"; fetched: version {shown}" if numbers else "")
        return frozenset(synchronizer.changed)

    def _note_problems(
        self, status: Status, found: Mapping[str, RemoteModel], new: Mapping[tuple[str, int], str]
    ) -> None:
        """Keep the old problems of versions that were not tried again, and forget those that are solved or gone."""
        problems: dict[str, dict[int, str]] = {}
        for name, model in found.items():
            for number in model.versions:
                old = status.problems.get(name, {}).get(number, "")
                problem = new.get((name, number)) or (old if self._backoff.has((name, number)) else "")
                if problem:
                    problems.setdefault(name, {})[number] = problem
                    self._log_once(f"{name} version {number} cannot be fetched: {problem}")
        status.problems = problems

    def _log_once(self, text: str) -> None:
        if text not in self._logged:
            self._logged.add(text)
            logger.error("%s", text)
