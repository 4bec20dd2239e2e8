"""Gives versions the memory that they load into, and takes it from those that make room.

``budget.py`` decides; this carries it out. Without a limit nobody waits and nothing is measured.
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


class Unwanted(Exception):
    """Nobody waits any more for a version that was to load."""


_NEW_S = 5.0
"""How long a version that was loaded for a request stays if nobody uses it, such as while a thread reads the body."""


class Need(enum.Enum):
    """Why a version is to load, which says what others do for it."""

    SPARE = enum.auto()
    """Nobody has asked for it: it takes what is free."""
    CHANGE = enum.auto()
    """It takes the place of a version, or somebody has told the server to load it: others make room."""
    DEMAND = enum.auto()
    """A request waits for it: others make room, and if none can yet, it waits."""


class _Holder(NamedTuple):
    model_entry: ModelEntry
    entry: VersionEntry
    served_at: float


class Room:
    """Used on the event loop only. ``clock`` is that of ``Model.used_at``."""

    def __init__(
        self, settings: Settings, metrics: Metrics, retirement: Retirement, clock: Callable[[], float]
    ) -> None:
        self.budget = MemoryBudget(settings.model_memory_bytes) if settings.model_memory_bytes else None
        self.stays: list[Callable[[Served], bool]] = []
        """Each tells whether a version must not make room now: something is open that would be cut."""
        self.works: list[Callable[[Served], bool]] = []
        """Each tells whether a version works on requests that are finished before it goes."""
        self.describe: Callable[[Served], Mapping[str, Any]] = lambda model: {}
        """What people are told of a version while it rests."""
        self._keep = frozenset(settings.keep_models)
        self._metrics = metrics
        self._retirement = retirement
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun: dict[Claim, asyncio.Future[None]] = {}
        self._is_wanted: dict[Claim, Callable[[], bool]] = {}
        self._holders: dict[Claim, _Holder] = {}
        self._measured: dict[tuple[str, int], tuple[int, int]] = {}
        """By name and version: the bytes of its files, and what it took when it loaded alone."""
        self.freed_bytes = 0
        """Of all versions that have gone, so that a measurement can leave out those that went meanwhile."""
        retirement.on_leave, retirement.on_gone = self._leave, self._free_of

    @property
    def is_limited(self) -> bool:
        return self.budget is not None

    @property
    def is_freeing(self) -> bool:
        """Whether a version goes whose memory may have been given back already."""
        return self.budget is not None and any(claim.stage is Stage.LEAVING for claim in self.budget.claims)

    def is_measured(self, version: ModelVersion) -> bool:
        return (version.name, version.version) in self._measured

    def note(self, version: ModelVersion, files_bytes: int, taken_bytes: int) -> None:
        """Note what a version has taken when it loaded alone."""
        self._measured[version.name, version.version] = (files_bytes, taken_bytes)

    async def claim(
        self, version: ModelVersion, need: Need, is_wanted: Callable[[], bool] = lambda: True
    ) -> Claim | None:
        """Wait for room to load a version. None: there is no limit. Raises NoRoom with the figures.

        Raises Unwanted if it has to wait, and ``is_wanted`` tells that nobody waits for it any more.
        """
        if self.budget is None:
            return None
        files_bytes, taken_bytes = self._measured.get((version.name, version.version), (0, 0))
        if not taken_bytes or version.is_plain:
            found = await asyncio.to_thread(count_files, version)
            if found != files_bytes:  # they are new, or somebody has changed them
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
        self.look()
        try:
            await begun
        except asyncio.CancelledError:
            self.free(claim)
            raise
        return claim

    def check_together(self, versions: Collection[tuple[str, int]]) -> None:
        """Raises NoRoom if versions that one request needs at once do not fit, as far as they were measured.

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
        """The version has come into service, and takes so much. Others make room for what nobody expected."""
        if self.budget is None or claim not in self.budget.claims:  # a pipeline takes no memory
            return
        entry.claim = claim
        claim.size_bytes, claim.stage = taken_bytes, Stage.SERVING
        self._holders[claim] = _Holder(model_entry, entry, self._clock())
        if claim.waits and entry.model is not None:
            entry.model.is_new = True
            asyncio.get_running_loop().call_later(_NEW_S, self.look)
        self.look()

    def note_use(self, model: Served) -> None:
        """A version that was loaded for a request has been looked up, maybe in a thread. Others may wait for that."""
        model.is_new = False
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.look)

    def free(self, claim: Claim) -> None:
        """The memory of a version has been given back, or it was not loaded."""
        if self.budget is None or claim not in self.budget.claims:
            return
        if claim.stage is Stage.LEAVING:
            self.freed_bytes += claim.size_bytes
        self._forget(claim)
        self.budget.free(claim)
        self.look()

    def look(self) -> None:
        """Do what the budget decides now. Called after every change."""
        if self.budget is None:
            return
        for claim, is_wanted in list(self._is_wanted.items()):
            if claim.stage is Stage.WAITING and not is_wanted():
                self.budget.free(claim)
                self._settle(claim, Unwanted())
        plan = self.budget.plan(self._candidates())
        for claim, reason in plan.refuse:
            self._settle(claim, NoRoom(reason, model=claim.name))
        for claim in plan.begin:
            self._settle(claim, None)
        for claim in plan.leave:
            self._evict(claim)

    def read(self) -> Iterator[Reading]:
        """What each version takes, and how much all may take."""
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
        if begun.done():  # whoever waited was cancelled
            return
        if refusal is None:
            begun.set_result(None)
        else:
            begun.set_exception(refusal)

    def _evict(self, claim: Claim) -> None:
        model_entry, entry, _ = self._holders[claim]
        assert entry.model is not None  # noqa: S101  # it was a candidate
        logger.info("%s version %d (%s) makes room", claim.name, claim.version, show(claim.size_bytes))
        self._metrics.numbers("sluice_model_evictions", (claim.name,)).add(1.0)
        if model_entry.answers_by_default(entry.model, entry.source.version):
            model_entry.card = self.describe(entry.model)
        model_entry.rest(entry, entry.model)
        self._retirement.retire([entry])

    def _leave(self, entry: VersionEntry) -> None:
        """It goes out of service, for whatever reason."""
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
