"""Lets versions load when there is memory for them, and evicts others for them.

``budget.py`` decides; this module carries it out. Without a limit nothing waits and nothing is measured.
"""

import asyncio
import enum
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from model_store import ModelVersion
from service.errors import NoRoom
from service.metrics.devices import Reading
from service.metrics.meters import Metrics
from service.models.budget import Candidate, Claim, MemoryBudget, Stage, show
from service.models.entry import ModelEntry, Served, VersionEntry
from service.models.lifecycle.footprint import count_files
from service.models.lifecycle.retirement import Retirement
from service.settings import Settings

logger = logging.getLogger("sluice.registry")


class NoLongerWanted(Exception):
    """No request waits any more for a version that was to load."""


_NEW_S = 5.0
"""How long a version that was loaded for a request stays without use, for example while a thread reads the body."""


class Need(enum.Enum):
    """Why a version is to load. This decides whether others are evicted for it."""

    SPARE = enum.auto()
    """Nothing has asked for it: it only takes free memory."""
    CHANGE = enum.auto()
    """It replaces a version, or a caller has told the server to load it: others are evicted."""
    DEMAND = enum.auto()
    """A request waits for it: others are evicted, and if none can be evicted yet, it waits."""


class _Holder(NamedTuple):
    model_entry: ModelEntry
    entry: VersionEntry
    served_at: float


class Room:
    """Used on the event loop only. ``clock`` is the clock of ``Model.used_at``."""

    def __init__(
        self, settings: Settings, metrics: Metrics, retirement: Retirement, clock: Callable[[], float]
    ) -> None:
        self.budget = MemoryBudget(settings.model_memory_bytes) if settings.model_memory_bytes else None
        self.stays: list[Callable[[Served], bool]] = []
        """Each tells whether a version must not be evicted now, because that would cut something open."""
        self.works: list[Callable[[Served], bool]] = []
        """Each tells whether a version works on requests, which are finished before it goes."""
        self.describe: Callable[[Served], Mapping[str, Any]] = lambda model: {}
        """Makes the card that a version has while it is evicted."""
        self._keep = frozenset(settings.keep_models)
        self._metrics = metrics
        self._retirement = retirement
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun: dict[Claim, asyncio.Future[None]] = {}
        self._is_wanted: dict[Claim, Callable[[], bool]] = {}
        self._holders: dict[Claim, _Holder] = {}
        self._measured: dict[tuple[str, int], tuple[int, int]] = {}
        """By name and version: the bytes of its files, and the memory that it took when it loaded alone."""
        self.freed_bytes = 0
        """The memory of all versions that have gone. A measurement subtracts what went meanwhile."""
        retirement.on_leave, retirement.on_gone = self._leave, self._free_of

    @property
    def is_limited(self) -> bool:
        return self.budget is not None

    @property
    def is_freeing(self) -> bool:
        """Whether a version is going, whose memory may be free already."""
        return self.budget is not None and any(claim.stage is Stage.LEAVING for claim in self.budget.claims)

    def is_measured(self, version: ModelVersion) -> bool:
        return (version.name, version.version) in self._measured

    def note(self, version: ModelVersion, files_bytes: int, taken_bytes: int) -> None:
        """Record the memory that a version took when it loaded alone."""
        self._measured[version.name, version.version] = (files_bytes, taken_bytes)

    async def claim(self, version: ModelVersion, need: Need, is_wanted: Callable[[], bool]) -> Claim | None:
        """Wait for room to load a version. Returns None if there is no limit. Raises NoRoom with the figures.

        Raises NoLongerWanted if ``is_wanted`` returns False while it waits.
        """
        if self.budget is None:
            return None
        files_bytes, taken_bytes = self._measured.get((version.name, version.version), (0, 0))
        if not taken_bytes or version.is_plain:
            found = await asyncio.to_thread(count_files, version)
            if found != files_bytes:  # the files are new or have changed
                self._measured.pop((version.name, version.version), None)
                taken_bytes = found
        claim = Claim(
            version.name,
            version.version,
            taken_bytes,
            evicts=need is not Need.SPARE,
            waits=need is Need.DEMAND,
            spares=version.name if need is Need.CHANGE else "",
            is_kept=version.name in self._keep,
        )
        self.budget.claims.append(claim)
        self._is_wanted[claim] = is_wanted
        self._loop = asyncio.get_running_loop()
        begun = self._begun[claim] = self._loop.create_future()
        self.update()
        try:
            await begun
        except asyncio.CancelledError:
            self.free(claim)
            raise
        return claim

    def check_together(self, versions: Collection[tuple[str, int]]) -> None:
        """Raises NoRoom if versions that one request needs together do not fit. Only measured ones count.

        ``versions`` are names and numbers. May be called in a thread.
        """
        if self.budget is None:
            return
        most_bytes = self.budget.limit_bytes - sum(
            claim.size_bytes
            for claim in list(self.budget.claims)
            if claim.is_kept and claim.stage is Stage.SERVING and (claim.name, claim.version) not in versions
        )
        taken = {each: self._measured[each][1] for each in versions if each in self._measured}
        if sum(taken.values()) > most_bytes:
            names = ", ".join(f"{name} version {number} {show(size)}" for (name, number), size in sorted(taken.items()))
            raise NoRoom(
                f"its models take {show(sum(taken.values()))} together, and {show(most_bytes)} of "
                f"{show(self.budget.limit_bytes)} (SLUICE_MODEL_MEMORY_BYTES) can be made free for them: {names}"
            )

    def serve(self, claim: Claim, model_entry: ModelEntry, entry: VersionEntry, taken_bytes: int) -> None:
        """A version has come into service with this memory. If it is more than expected, others are evicted."""
        if self.budget is None or claim not in self.budget.claims:  # a pipeline takes no memory
            return
        entry.claim = claim
        claim.size_bytes, claim.stage = taken_bytes, Stage.SERVING
        self._holders[claim] = _Holder(model_entry, entry, self._clock())
        if claim.waits and entry.model is not None:
            entry.model.is_new = True
            asyncio.get_running_loop().call_later(_NEW_S, self.update)
        self.update()

    def note_use(self, model: Served) -> None:
        """The request for which a version was loaded has reached it, so it may be evicted. In any thread."""
        model.is_new = False
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.update)

    def free(self, claim: Claim) -> None:
        """The memory of a version is free again, or it was not loaded."""
        if self.budget is None or claim not in self.budget.claims:
            return
        if claim.stage is Stage.LEAVING:
            self.freed_bytes += claim.size_bytes
        self._forget(claim)
        self.budget.free(claim)
        self.update()

    def update(self) -> None:
        """Carry out what the budget decides now. Called after every change."""
        if self.budget is None:
            return
        for claim, is_wanted in list(self._is_wanted.items()):
            if claim.stage is Stage.WAITING and not is_wanted():
                self.budget.free(claim)
                self._settle(claim, NoLongerWanted())
        plan = self.budget.plan(self._candidates())
        for claim, reason in plan.refuse:
            self._settle(claim, NoRoom(reason, model=claim.name))
        for claim in plan.begin:
            self._settle(claim, None)
        for claim in plan.leave:
            self._evict(claim)

    def read(self) -> Iterator[Reading]:
        """The metrics: the memory of each version, and the limit."""
        if self.budget is None:
            return
        taken: dict[tuple[str, str], int] = {}
        for claim in self.budget.claims:
            if claim.stage is not Stage.WAITING:
                labels = (claim.name, str(claim.version))
                taken[labels] = taken.get(labels, 0) + claim.size_bytes
        for labels, size_bytes in taken.items():
            yield "sluice_model_memory_bytes", labels, float(size_bytes)
        yield "sluice_max_model_memory_bytes", (), float(self.budget.limit_bytes)

    def _candidates(self) -> Iterator[Candidate]:
        now = self._clock()
        for claim, (model_entry, entry, served_at) in self._holders.items():
            model, is_on_trial = entry.model, model_entry.chooser is not None
            if model is None or claim.is_kept or is_on_trial or any(stays(model) for stays in self.stays):
                continue
            is_new = model.is_new and not model.used_at and now < served_at + _NEW_S
            works = any(works(model) for works in self.works)
            yield Candidate(claim, model.used_at or served_at, works, is_new)

    def _settle(self, claim: Claim, refusal: Exception | None) -> None:
        del self._is_wanted[claim]
        begun = self._begun.pop(claim)
        if begun.done():  # the waiting task was cancelled
            return
        if refusal is None:
            begun.set_result(None)
        else:
            begun.set_exception(refusal)

    def _evict(self, claim: Claim) -> None:
        model_entry, entry, _ = self._holders[claim]
        assert entry.model is not None  # noqa: S101  # it was a candidate
        logger.info("%s version %d (%s) is evicted", claim.name, claim.version, show(claim.size_bytes))
        self._metrics.numbers("sluice_model_evictions", (claim.name,)).add(1.0)
        if model_entry.answers_by_default(entry.model, entry.source.version):
            model_entry.card = self.describe(entry.model)
        model_entry.note_eviction(entry, entry.model)
        self._retirement.retire([entry])

    def _leave(self, entry: VersionEntry) -> None:
        """A version goes out of service, for whatever reason."""
        if entry.claim is not None:
            entry.claim.stage = Stage.LEAVING
            self._holders.pop(entry.claim, None)

    def _free_of(self, entry: VersionEntry) -> None:
        if entry.claim is not None:
            self.free(entry.claim)

    def _forget(self, claim: Claim) -> None:
        self._begun.pop(claim, None)
        self._is_wanted.pop(claim, None)
        self._holders.pop(claim, None)
