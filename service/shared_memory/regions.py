"""The regions that are registered, for all workers of a server.

Rules
- A region belongs to the caller that registered it, by the name of its key. Others cannot use, see or remove it.
- The list is a file in the folder that the workers share. A worker reads it when it does not know a region; so it also
  finds regions that were registered before it started.
- A worker opens a file at its first use. ``take_unregistered`` gives those that are no longer in the list, to be closed
  when their transfers have ended. When all workers have closed theirs, none reads or writes such a region any more.
- The number and the size of regions are limited. When the number is reached, regions whose file is gone are removed.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from model_store.files.staging import locked
from service.errors import InvalidInput
from service.settings import PREFIX, Settings, SettingsError
from service.shared_memory.files import FOLDER, OpenRegion, Registration, SharedFolder

RegionKey = tuple[str, str]
"""A region's owner and name."""

_LIST, _NEW_LIST = "list.regions", "new.regions"
MAX_NAME_CHARACTERS: Final = 255


class RegionList:
    """The registered regions, in a file of ``folder``; None: in memory, for a server with one worker."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: Mapping[RegionKey, Registration] = {}
        self._seen: tuple[int, int] | None = None

    def read(self) -> Mapping[RegionKey, Registration]:
        if self._folder is None:
            return self._known
        path = self._folder / _LIST
        try:
            found = path.stat()
            if (found.st_ino, found.st_mtime_ns) != self._seen:
                rows = json.loads(path.read_text())
                kept = [Registration._make((*row, tuple(file))) for *row, file in rows]
                self._known = {(each.owner, each.name): each for each in kept}
                self._seen = found.st_ino, found.st_mtime_ns
        except FileNotFoundError:
            self._known, self._seen = {}, None
        return self._known

    def change(self, change: Callable[[dict[RegionKey, Registration]], None]) -> None:
        """Let ``change`` modify the registered regions. If it raises, nothing changes. One worker at a time does it."""
        with self._lock():
            changed = dict(self.read())
            change(changed)
            if self._folder is None:
                self._known = changed
                return
            new = self._folder / _NEW_LIST
            new.write_text(json.dumps(list(changed.values())))
            now = time.time_ns()
            os.utime(new, ns=(now, now))  # file systems round times and reuse inodes, so a change could be missed
            os.replace(new, self._folder / _LIST)

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        if self._folder is None:
            return contextlib.nullcontext()
        self._folder.mkdir(parents=True, exist_ok=True)
        return locked(self._folder)


class Regions:
    """The regions of one worker. Used on the event loop, except where a method says otherwise."""

    def __init__(self, settings: Settings, folder: Path = FOLDER) -> None:
        """Raises SettingsError if the system has no such folder."""
        if not folder.is_dir():
            raise SettingsError(f"{PREFIX}SHARED_MEMORY: expected Linux, with shared memory at {folder}, there is none")
        self._files = SharedFolder(settings.shared_memory, folder)
        self._list = RegionList(settings.metrics_dir)
        self._most, self._most_bytes = settings.max_regions, settings.max_region_bytes
        self._open: dict[RegionKey, OpenRegion] = {}

    def register(self, name: str, key: str, offset: int, size_bytes: int, owner: str) -> None:
        """Register a region. In any thread, because it may wait for other workers. Raises Forbidden, InvalidInput."""
        if not 0 < len(name) <= MAX_NAME_CHARACTERS:
            raise InvalidInput(f"name: expected 1 to {MAX_NAME_CHARACTERS} characters, got {len(name)}")
        if not 0 < size_bytes <= self._most_bytes:
            raise InvalidInput(f"byte_size: expected 1 to {self._most_bytes}, got {size_bytes}")
        file = self._files.identify(key, offset + size_bytes)
        made = Registration(name, key, offset, size_bytes, owner, file)

        def add(kept: dict[RegionKey, Registration]) -> None:
            if len(kept) >= self._most:
                for place in [place for place, each in kept.items() if not self._files.is_there(each)]:
                    del kept[place]
            if kept.get((owner, name), made) != made:
                raise InvalidInput(f"region {name!r:.60} is registered already, as another one: unregister it first")
            if len(kept) >= self._most and (owner, name) not in kept:
                raise InvalidInput(f"expected at most {self._most} regions at once: unregister one first")
            kept[owner, name] = made

        self._list.change(add)

    def unregister(self, name: str | None, owner: str) -> None:
        """Remove a region of an owner, or all of them, if they exist. In any thread."""

        def remove(kept: dict[RegionKey, Registration]) -> None:
            for place in [place for place in kept if place[0] == owner and name in (None, place[1])]:
                del kept[place]

        self._list.change(remove)

    def list_of(self, owner: str) -> list[Registration]:
        return [each for each in self._list.read().values() if each.owner == owner]

    def find(self, name: str, owner: str) -> OpenRegion:
        """Raises Forbidden, InvalidInput."""
        region = self._open.get((owner, name))
        if region is not None:
            return region
        found = self._list.read().get((owner, name))
        if found is None:
            raise InvalidInput(f"shared_memory_region {name!r:.60}: expected one that you have registered")
        region = self._open[owner, name] = self._files.open(found)
        return region

    def take_unregistered(self) -> Iterable[OpenRegion]:
        """The open regions that are no longer in the list. The caller closes them, which may wait for a transfer."""
        kept = self._list.read()
        gone = {place: each for place, each in self._open.items() if kept.get(place) != each.registration}
        for place in gone:
            del self._open[place]
        return gone.values()

    def close(self) -> None:
        for region in self._open.values():
            region.close()
        self._open.clear()
