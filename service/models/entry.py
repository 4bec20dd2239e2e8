"""A model in this worker: its versions, which of them serve, and why the others do not serve."""

import asyncio
import copy
import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from model_store import ModelVersion
from model_store.files.reading import find_memory
from model_store.graph import MAIN
from model_store.listing import Unusable
from model_store.store import read_number
from service.codecs.model_context import ModelContext
from service.engine.batching.cost import RunMemory
from service.engine.batching.queue import BatchQueue
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.execution.observer import Observer
from service.engine.loop.continuous_batcher import ContinuousBatcher
from service.engine.loop.slots import SlotTable
from service.errors import InvalidInput, UnknownModel
from service.metrics.spans import RowsTrace, Trace
from service.models.budget import Claim
from service.models.choice import NOTHING_KNOWN, Facts, choose
from service.models.files import UNKNOWN, VersionFiles
from service.models.loading import LoadedVersion, VerifiedGraph
from service.models.memory import limit_elements
from service.models.pipeline import Pipeline
from service.models.schedule_policy import Schedule
from service.protocol.infer_request import priority_of
from service.settings import Settings
from service.transport.request import Request

_PART_OF_MEMORY = 4
"""The runs of all lanes together may take 1/4 of the memory. Weights, request bodies and answers need memory too."""
UNLOADED = "it was unloaded"
NO_ROOM = "there was not enough free memory for it: the next request loads it"
EVICTED = "it was unloaded to make room for another model: the next request loads it"


class State(enum.StrEnum):
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


class Model:
    """A version in service: a queue and a dispatcher for each graph, and its loop. ``dispatcher`` is that of ``main``.

    ``observer`` is notified of what its graphs do.
    """

    def __init__(
        self, name: str, version: str, loaded: LoadedVersion, settings: Settings, device: Device, observer: Observer
    ) -> None:
        self.name = name
        self.version = version
        self.used_at = 0.0
        """When it was last looked up, in seconds of the clock of requests; 0: never."""
        self.is_new = False
        """Whether it was loaded for a request that may not have reached it yet."""
        self.is_closed = False
        """Whether it takes no new requests: it was evicted, or is being drained."""
        self.loaded = loaded
        self.manifest = loaded.manifest
        self.sequence_rules = loaded.sequence_rules
        self.tasks = loaded.manifest.tasks
        looping = loaded.manifest.loop
        self._settings, self._device = settings, device
        self.graphs = {name: self._open_dispatcher(name, observer) for name in (MAIN, *loaded.graphs)}
        self.has_given_states = False
        """Whether callers hold states of this version, from which they may continue."""
        self.dispatcher = self.graphs[MAIN]
        self.signature = self.dispatcher.signature
        self.row_checks = {name: one.memory.check for name, one in self.graphs.items() if one.memory is not None}
        """For each graph, a function that takes the elements of a row and raises BodyTooLarge if they need too much
        memory."""
        self.context = ModelContext(
            name, version, self.manifest, self.row_checks, loaded.tokenizers, loaded.symbols, observer.tokens
        )
        """What codecs and tasks know of it."""
        self.loop = (
            None
            if looping is None
            else ContinuousBatcher(
                loaded.session,
                loaded.signature,
                looping.carries,
                device,
                SlotTable(settings.max_slots, settings.max_queue_rows),
                max_rows=loaded.max_rows,
                cost=copy.deepcopy(loaded.cost),  # a step has another overhead than a single run of the same graph
                pad=loaded.pad,
                observer=observer,
                may_inline=loaded.session.open_ended is None,
                memory=_bound(loaded, settings, device.lanes),
                prefix=loaded.manifest.writing.prefix if loaded.manifest.writing else None,
            )
        )

    @property
    def is_idle(self) -> bool:
        """Whether no request waits or runs in its graphs."""
        return all(each.is_idle for each in (self.loop, *self.graphs.values()) if each is not None)

    def _open_dispatcher(self, graph_name: str, observer: Observer | None) -> Dispatcher:
        loaded, settings, device = self.loaded, self._settings, self._device
        graph = loaded if graph_name == MAIN else loaded.graphs[graph_name]
        overrides, policy = loaded.manifest.batching, loaded.schedule_policy
        wait_s = settings.max_wait_s if overrides.max_wait_s is None else overrides.max_wait_s
        max_requests = policy.max_requests if policy else (None, None)
        return Dispatcher(
            graph.session,
            graph.signature,
            device,
            BatchQueue(graph.max_rows, settings.max_queue_rows, wait_s, max_requests),
            cost=graph.cost,
            pad=graph.pad,
            all_cores=graph.all_cores,
            observer=observer,
            may_inline=graph.session.open_ended is None,
            least_s=settings.deadline_s if policy else 0.0,
            row_elements=graph.row_elements,
            memory=_bound(graph, settings, device.lanes),
            most_elements=limit_elements(graph_name, loaded.manifest, graph.cost, graph.max_rows, graph.row_elements),
        )

    def open_in_background(self, graph_name: str) -> Dispatcher:
        """A second dispatcher of a graph, with its own queue, for requests whose answers nobody waits for."""
        dispatcher = self._open_dispatcher(graph_name, None)
        dispatcher.is_background = True
        dispatcher.all_cores = None  # the cores are for requests that somebody waits for
        return dispatcher

    async def drain(self) -> None:
        """Return when all accepted requests are answered."""
        if self.loop is not None:
            await self.loop.drain()
        # A request may run another graph after its loop, so the loop is drained first.
        await asyncio.gather(*(dispatcher.drain() for dispatcher in self.graphs.values()))

    def trace(self, request: Trace) -> RowsTrace:
        """The trace of a sampled request's rows."""
        return request.follow(self.name, self.version, self.loaded.session.provider)

    def schedule(self, asked_s: float | None, level: int) -> Schedule:
        """The timeout, wait and priority of a request, by the timeout and the priority level that it gives."""
        policy = self.loaded.schedule_policy
        if policy is None:
            return Schedule(asked_s, math.inf, priority_of(level))
        return policy.schedule(asked_s, level)

    def check_stateless(self) -> None:
        """Raises InvalidInput if every request of this model must belong to a sequence."""
        if self.sequence_rules is not None and self.sequence_rules.is_required:
            raise InvalidInput(
                f"sequence_id: expected the id of a sequence on the infer route, because model {self.name!r} keeps "
                "state from request to request; got none"
            )


def _bound(graph: VerifiedGraph, settings: Settings, lanes: int) -> RunMemory | None:
    """The memory limit of a run; None if it is not known how much memory a row takes."""
    if graph.memory is None:
        return None
    limit_bytes = settings.max_run_bytes or find_memory() // (_PART_OF_MEMORY * lanes * settings.workers)
    return RunMemory(limit_bytes, graph.memory)


Served = Model | Pipeline


class Chooser(Protocol):
    """Chooses between the stable version of a model and one on trial."""

    def choose(self, request: Request) -> Served | None:
        """The version for a request that names none; None if none serves. May be called in a thread."""

    def describe(self) -> Mapping[str, Any]:
        """The trial, for the model's card."""


@dataclass(eq=False)
class VersionEntry:
    """A version that should serve. ``reason`` says why it does not serve, or why its new content does not."""

    source: ModelVersion
    state: State = State.LOADING
    reason: str = ""
    model: Served | None = None
    on_demand: bool = False
    """Whether it was evicted, or there was no room for it, so that the next request for it loads it."""
    has_served: bool = False
    """Whether it passed its checks and served before it was evicted."""
    lacks_room: bool = False
    """Whether its last load failed because there was no room."""
    retry_at: float = 0.0
    """When a request may start the next load after one that failed, in seconds of the clock of requests."""
    claim: Claim | None = None
    """The memory that it takes, if memory is limited."""
    files: VersionFiles = UNKNOWN
    """Its files as they were when its last load began."""
    has_failed: bool = False
    """Whether a load of these files failed for another reason than a lack of room."""

    @property
    def waits_for_room(self) -> bool:
        """Whether it is not in memory, but could be loaded if there were room."""
        return self.model is None and self.on_demand and not self.has_failed


@dataclass
class ModelEntry:
    """The versions of one model, by number, and its aliases. ``serving`` answers requests that name no version.

    ``aliases`` are those that callers can use now. ``facts`` is what the store and callers want; see ``choice.py``.
    """

    entries: dict[int, VersionEntry] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    serving: Served | None = None
    chooser: Chooser | None = None
    """Set while there is a canary or a shadow."""
    rollout: Chooser | None = None
    """As ``chooser``, but still set after a canary was rolled back."""
    reason: str = ""
    is_pipeline: bool = False
    """Whether one of its versions was found to be a pipeline."""
    chosen: Sequence[int] | None = None
    """The versions that the version policy lets serve; None without a policy."""
    evicted_default: int | None = None
    """The version that answered requests that name none, until it was evicted."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """The card of that version."""
    unusable: Sequence[Unusable] = ()
    """Other entries of its folder, which cannot serve."""
    warnings: Sequence[str] = ()
    """How what serves differs from what the store says, and why."""
    is_behind: bool = False
    """Whether a version that should answer callers waits for room."""
    facts: Facts = NOTHING_KNOWN
    unsettled: dict[int, tuple[VersionFiles, float]] = field(default_factory=dict)
    """Versions that may still be written: their files, and since when these have not changed, in seconds of the event
    loop's clock."""
    loading: dict[int, "asyncio.Task[VersionEntry]"] = field(default_factory=dict)
    """Loads that take so long that an older version may serve."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it should be read again from the store."""
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when loads of its versions have ended, or when one of them takes too long to wait for."""

    def note_eviction(self, entry: VersionEntry, model: Served) -> None:
        """Note that a version is evicted. The caller retires it next."""
        entry.on_demand, entry.has_served, entry.retry_at = True, True, 0.0
        if self.serving is model:
            number = entry.source.version
            is_default = self._choose_default() == number  # else it only stood in for the default
            self.serving, self.evicted_default = None, number if is_default else None

    def answers_by_default(self, model: Served, number: int) -> bool:
        """Whether a version answers requests that name none, or will when its load has ended."""
        return self.serving is model or (self.serving is None and self._choose_default() == number)

    def _choose_default(self) -> int | None:
        failed = [number for number, each in self.entries.items() if each.has_failed]
        return choose(self.facts, failed).default

    def is_evicted(self, version: str | None, now: float) -> bool:
        """Whether a version was evicted and the next request loads it. ``version`` is a number or an alias; None: the
        default."""
        number = self.evicted_default if version is None else read_number(version) or self.aliases.get(version)
        entry = None if number is None else self.entries.get(number)
        return entry is not None and entry.on_demand and entry.has_served and entry.retry_at <= now and not self.reason

    @property
    def on_demand(self) -> bool:
        """Whether the next request loads it."""
        return self.serving is None and not self.reason and any(each.on_demand for each in self.entries.values())

    @property
    def is_loading(self) -> bool:
        """Whether it does not serve yet because a version is still loading."""
        return self.serving is None and any(entry.state is State.LOADING for entry in self.entries.values())

    @property
    def has_faults(self) -> bool:
        """Whether some of it cannot serve. It is then read again at every scan: it may be repaired, or have room."""
        return self.is_behind or bool(self.warnings) or any(entry.has_failed for entry in self.entries.values())

    @property
    def why(self) -> str:
        """Why it does not serve."""
        reasons = [f"version {number}: {e.reason}" for number, e in sorted(self.entries.items()) if e.reason]
        reasons += [each.reason for each in self.unusable]
        return self.reason or "; ".join(reasons) or "it is being loaded"

    def find(self, name: str, version: str) -> VersionEntry:
        """A version of this model, whose name is ``name``. Raises UnknownModel."""
        number = find_number(name, self.aliases, version)
        entry = self.entries.get(number)
        if entry is None:
            have = ", ".join(map(str, sorted(self.entries))) or "none"
            alias = f", which the alias {version!r} names," if version in self.aliases else ""
            asked = str(number) if alias else version
            raise UnknownModel(f"no version {asked!r:.60} of {name!r}{alias} was loaded: there are {have}")
        return entry


def find_number(name: str, aliases: Mapping[str, int], version: str) -> int:
    """The number of a version, given as a number or an alias. Raises UnknownModel."""
    number = read_number(version)
    if number is not None:
        return number
    if version not in aliases:
        raise UnknownModel(f"no alias {version!r:.120} of {name!r}: there are {', '.join(aliases) or 'none'}")
    return aliases[version]
