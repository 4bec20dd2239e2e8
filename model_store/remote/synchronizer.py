"""Carries out the plan of a refresh."""

import hashlib
import json
import logging
import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence

from model_store.display.size import write_size
from model_store.errors import IntegrityError, RemoteAway, RemoteError
from model_store.files.aliases import ALIASES_FILE
from model_store.files.reading import MOST_TEXT_BYTES
from model_store.manifest import MANIFEST_FILE
from model_store.remote.contents import LAST_FILES, RemoteModel
from model_store.remote.folder import Folder
from model_store.remote.incoming import Incoming, read_incoming
from model_store.remote.plan import Plan, find_marks, mark_of
from model_store.remote.state import Kept, KeptFile, State
from model_store.remote.transfers.retries import Backoff
from model_store.remote.transfers.transfer import Transfer, Want

logger = logging.getLogger("sluice.store")
Key = tuple[str, int]


class Synchronizer:
    """``found`` is what the remote store has, ``here`` the versions of the folder. ``here`` and ``state`` are updated.

    ``verifies``: files in the folder are also checked against their digests, and fetched again if they are damaged.
    """

    def __init__(
        self,
        transfer: Transfer,
        folder: Folder,
        found: Mapping[str, RemoteModel],
        here: dict[str, set[int]],
        state: State,
        backoff: Backoff,
        now_s: float,
        *,
        verifies: bool = False,
    ) -> None:
        self._transfer = transfer
        self._folder = folder
        self._found = found
        self._here = here
        self._state = state
        self._backoff = backoff
        self._now_s = now_s
        self._verifies = verifies
        self._beside: dict[str, dict[str, bytes]] = {}
        self._lock = threading.Lock()
        self.changed: dict[str, set[int]] = {}
        """The models that have changed, each with the versions that were fetched."""
        self.problems: dict[Key, str] = {}

    def carry_out(self, plan: Plan) -> None:
        """Raises RemoteAway or OSError if it cannot continue. Versions that were whole by then are in the folder."""
        incoming = self._read_all(plan.fetch)
        self._read_beside(plan.read)
        for name in sorted(self._beside.keys() & self._here.keys()):
            self._write_beside(name, self._beside[name].keys() - LAST_FILES)
        self._fetch(incoming)
        for name in sorted(self._beside.keys() & self._here.keys()):
            self._write_beside(name, self._beside[name].keys() & LAST_FILES)
        self._drop(plan)

    def _read_all(self, bring: Sequence[Key]) -> list[Incoming]:
        """Read what is to be fetched. A version that cannot be fetched becomes a problem."""
        read: list[Incoming] = []

        def work(key: Key) -> None:
            name, number = key
            try:
                incoming = read_incoming(
                    self._transfer, self._folder.blobs, name, number, self._found[name].versions[number]
                )
                self._skip_present(incoming)
            except RemoteAway:
                raise
            except (IntegrityError, RemoteError) as error:
                self._note(key, str(error))
            else:
                with self._lock:
                    read.append(incoming)

        self._transfer.map(work, list(bring))
        return sorted(read, key=lambda each: (each.name, -each.number))

    def _note(self, key: Key, problem: str) -> None:
        name, number = key
        with self._lock:
            self.problems[key] = problem
            self._backoff.fail(key, mark_of(find_marks(self._found[name].versions[number])), self._now_s)

    def _skip_present(self, incoming: Incoming) -> None:
        """Leave out files that are here already. Raises IntegrityError if another version has this number here."""
        name, number = incoming.key
        if number not in self._here.get(name, ()):
            return
        manifest = self._folder.digest(name, number, MANIFEST_FILE)
        if not (incoming.manifest and manifest):
            return  # a version without a manifest may change, so all of it is fetched again
        kept = self._state.versions.get(name, {}).get(number)
        if manifest != incoming.manifest and not (kept and kept.manifest == incoming.manifest):
            raise IntegrityError(
                f"{name}/{number} is another version there than here, but versions never change: publish it under "
                f"a new number, or remove {name}/{number} here to take the other one"
            )
        incoming.is_here = True
        for path, want in list(incoming.wants.items()):
            is_fine = self._folder.has(name, number, path, want.size)
            if is_fine and self._verifies:
                is_fine = self._folder.digest(name, number, path) == want.sha256
            if is_fine:
                del incoming.wants[path]
        for path, sha256 in list(incoming.here.items()):
            if self._folder.digest(name, number, path) == sha256:
                del incoming.here[path]

    def _read_beside(self, files: Sequence[tuple[str, str]]) -> None:
        def work(key: tuple[str, str]) -> None:
            name, file = key
            try:
                content = self._transfer.read_small(self._found[name].beside[file], MOST_TEXT_BYTES, f"{name}/{file}")
            except RemoteAway:
                raise
            except (IntegrityError, RemoteError) as error:
                logger.error("%s", error)
            else:
                with self._lock:
                    self._beside.setdefault(name, {})[file] = content

        self._transfer.map(work, list(files))

    def _fetch(self, incoming: list[Incoming]) -> None:
        """Fetch contents, and let each version appear when it is whole; those of a new model together."""
        wants = {want.key: want for each in incoming for want in each.wants.values()}
        fetched = self._find_blobs(wants)
        left = {key: want for key, want in wants.items() if key not in fetched}
        failed = self._find_too_large(incoming, left)
        for key in failed:
            del left[key]
        groups = _group(incoming, set(self._here))

        def settle() -> None:
            for group in [group for group in groups if group.is_settled(fetched, failed)]:
                groups.remove(group)
                self._appear(group.versions, fetched, failed)

        settle()
        for want, digest, fault in self._transfer.fetch(left):
            if fault:
                failed[want.key] = fault
            else:
                fetched[want.key] = digest
            settle()

    def _find_blobs(self, wants: Mapping[str, Want]) -> dict[str, str]:
        """The wanted contents that are here already. Damaged ones are dropped."""
        found, blobs = {}, self._folder.blobs
        for key, want in wants.items():
            if want.sha256 and blobs.has(want.sha256):
                if blobs.verify(want.sha256):
                    found[key] = want.sha256
                else:
                    blobs.drop(want.sha256)
        return found

    def _find_too_large(self, incoming: Iterable[Incoming], left: Mapping[str, Want]) -> dict[str, str]:
        """The contents for which there is no space, with the reasons by their keys.

        The smallest versions get the space, so that a version which is too large, or claims to be, blocks no other one.
        """
        free = shutil.disk_usage(self._folder.side).free
        needs = [({want.key for want in each.wants.values() if want.key in left}, each) for each in incoming]
        fits: set[str] = set()
        failed: dict[str, str] = {}
        for keys, each in sorted(needs, key=lambda need: sum(left[key].size for key in need[0])):
            needed = sum(left[key].size for key in keys - fits)
            if needed <= free:
                free -= needed
                fits |= keys
            else:
                why = f"{each.name}/{each.number}: {write_size(needed)} are to be fetched, {write_size(free)} are free"
                failed |= dict.fromkeys(keys - fits, f"{why}: make room")
        return {key: why for key, why in failed.items() if key not in fits}

    def _appear(self, versions: Sequence[Incoming], fetched: Mapping[str, str], failed: Mapping[str, str]) -> None:
        """Let versions appear whose files have all arrived, and record problems of the others."""
        whole = []
        for each in versions:
            faults = [failed[want.key] for want in each.wants.values() if want.key in failed]
            if faults:
                self._note(each.key, faults[0])
            else:
                whole.append(each)
        if not whole:
            return
        name = whole[0].name
        if self._folder.is_new(name):
            numbers = {each.number for each in whole}
            beside = {f: c for f, c in self._beside.pop(name, {}).items() if not self._is_held(name, f, c, numbers)}
            self._folder.add_model(name, {each.number: each.digests(fetched) for each in whole}, beside)
            for file, content in beside.items():
                self._keep_beside(name, file, content)
        else:
            for each in whole:
                (self._folder.mend if each.is_here else self._folder.add_version)(*each.key, each.digests(fetched))
        for each in whole:
            kept = self._state.versions.setdefault(name, {})
            kept[each.number] = Kept(marks=each.marks, manifest=each.manifest)
            self._here.setdefault(name, set()).add(each.number)
            self._backoff.succeed(each.key)
            if not each.is_here or each.wants or each.here:
                self.changed.setdefault(name, set()).add(each.number)

    def _write_beside(self, name: str, files: Iterable[str]) -> None:
        for file in sorted(files):
            content = self._beside[name][file]
            if self._is_held(name, file, content, self._here[name]):
                continue
            if self._folder.write_beside(name, file, content):
                self.changed.setdefault(name, set())
            self._keep_beside(name, file, content)

    def _keep_beside(self, name: str, file: str, content: bytes) -> None:
        there = self._found[name].beside[file]
        kept = self._state.beside.setdefault(name, {})
        old = kept.get(file)
        seen_s = old.first_seen_s if old is not None and old.mark == there.mark else self._now_s
        sha256 = hashlib.sha256(content).hexdigest()
        kept[file] = KeptFile(mark=there.mark, sha256=sha256, first_seen_s=seen_s, read_s=self._now_s)

    def _is_held(self, name: str, file: str, content: bytes, here: set[int]) -> bool:
        """Whether a file must wait because it names a version that could not be fetched. Then the old one stays."""
        missing = self._found[name].versions.keys() - here
        if file not in LAST_FILES or not missing:
            return False
        if file != ALIASES_FILE:
            return True
        try:
            aliases = json.loads(content)
        except (ValueError, RecursionError):
            return False  # whoever reads it reports what is wrong
        return isinstance(aliases, dict) and any(
            isinstance(number, int) and number in missing for number in aliases.values()
        )

    def _drop(self, plan: Plan) -> None:
        for name, file in plan.drop_files:
            self._folder.drop_beside(name, file)
            del self._state.beside[name][file]
            self.changed.setdefault(name, set())
        for name, number in plan.drop_versions:
            self._folder.drop_version(name, number)
            del self._state.versions[name][number]
            self._here.get(name, set()).discard(number)
            self.changed.setdefault(name, set())
        for name in plan.drop_models:
            self._folder.drop_model(name)
            self._state.versions.pop(name, None)
            self._state.beside.pop(name, None)
            self._here.pop(name, None)
            self.changed.setdefault(name, set())


class _Group:
    """Versions that appear together."""

    def __init__(self, versions: list[Incoming]) -> None:
        self.versions = versions
        self._keys = {want.key for each in versions for want in each.wants.values()}

    def is_settled(self, fetched: Mapping[str, str], failed: Mapping[str, str]) -> bool:
        self._keys -= fetched.keys()
        self._keys -= failed.keys()
        return not self._keys


def _group(incoming: Iterable[Incoming], here: set[str]) -> list[_Group]:
    """Each version on its own, but those of a model that is not here together."""
    groups: dict[object, list[Incoming]] = {}
    for each in incoming:
        groups.setdefault(each.key if each.name in here else each.name, []).append(each)
    return [_Group(versions) for versions in groups.values()]
