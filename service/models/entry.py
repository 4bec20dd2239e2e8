"""A model in this worker: its versions, which of them serve, and why the others do not."""

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
"""The runs of all lanes together may take 1/4 of the memory. Weights, bodies and answers need some too."""
UNLOADED = "it was unloaded"
NO_ROOM = "there was no free memory for it: it is loaded when asked for"
MADE_ROOM = "it made room for another model, and is loaded when asked for"


class State(enum.StrEnum):
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


class Model:
    """A version in service: a queue and a dispatcher for each graph, and its loop. ``dispatcher`` is that of ``main``.

    ``observer`` is told what its graphs do.
    """

    def __init__(
        self, name: str, version: str, loaded: LoadedVersion, settings: Settings, device: Device, observer: Observer
    ) -> None:
        self.name = name
        self.version = version
        self.used_at = 0.0
        """When it was last looked up, in seconds of the clock of requests; 0: never."""
        self.is_new = False
        """Whether it was loaded for a request that may not have come to it yet."""
        self.is_closed = False
        """Whether it takes no new requests: it has made room, or is being drained."""
        self.loaded = loaded
        self.manifest = loaded.manifest
        self.sequence_rules = loaded.sequence_rules
        self.tasks = loaded.manifest.tasks
        looping = loaded.manifest.loop
        self._settings, self._device = settings, device
        self.graphs = {name: self._open_dispatcher(name, observer) for name in (MAIN, *loaded.graphs)}
        self.has_given_states = False
        """Whether callers have states of this version, with which they may go on."""
        self.dispatcher = self.graphs[MAIN]
        self.signature = self.dispatcher.signature
        self.row_checks = {name: one.memory.check for name, one in self.graphs.items() if one.memory is not None}
        """For each graph a function that raises BodyTooLarge if a row of so many elements takes too much memory."""
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
        runners = self.graphs.values() if self.loop is None else (self.loop, *self.graphs.values())
        return all(each.is_idle for each in runners)

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
        """A second dispatcher of a graph, with a queue of its own, for requests that nobody waits for."""
        dispatcher = self._open_dispatcher(graph_name, None)
        dispatcher.is_background = True
        dispatcher.all_cores = None  # others need them
        return dispatcher

    async def drain(self) -> None:
        """Return when all accepted requests are answered."""
        if self.loop is not None:
            await self.loop.drain()
        # After its loop a request may run another graph, so these come last.
        await asyncio.gather(*(dispatcher.drain() for dispatcher in self.graphs.values()))

    def trace(self, request: Trace) -> RowsTrace:
        """The trace of rows of a sampled request."""
        return request.follow(self.name, self.version, self.loaded.session.provider)

    def schedule(self, asked_s: float | None, level: int) -> Schedule:
        """The timeout, wait and priority of a request that asks for a timeout and a priority level."""
        policy = self.loaded.schedule_policy
        if policy is None:
            return Schedule(asked_s, math.inf, priority_of(level))
        return policy.schedule(asked_s, level)

    def check_stateless(self) -> None:
        """Raises InvalidInput if requests of this model have to belong to a sequence."""
        if self.sequence_rules is not None and self.sequence_rules.is_required:
            raise InvalidInput(
                f"sequence_id: expected the id of a sequence by the infer route, for model {self.name!r} keeps state "
                "from request to request, got none"
            )


def _bound(graph: VerifiedGraph, settings: Settings, lanes: int) -> RunMemory | None:
    """The limit of a run, if it is known how much memory a row takes."""
    if graph.memory is None:
        return None
    limit_bytes = settings.max_run_bytes or find_memory() // (_PART_OF_MEMORY * lanes * settings.workers)
    return RunMemory(limit_bytes, graph.memory)


Served = Model | Pipeline


class Chooser(Protocol):
    """Chooses between two versions of a model, one of which is on trial."""

    def choose(self, request: Request) -> Served | None:
        """The version that answers a request that names none, if one does. May be called in a thread."""

    def describe(self) -> Mapping[str, Any]:
        """What the card of the model says of it."""


@dataclass(eq=False)
class VersionEntry:
    """A version that should serve. ``reason`` says why it does not, or why its new content does not."""

    source: ModelVersion
    state: State = State.LOADING
    reason: str = ""
    model: Served | None = None
    on_demand: bool = False
    """Whether it has made room for others, or found none, and is loaded when a request asks for it."""
    has_served: bool = False
    """Whether it has proved itself before it made room."""
    lacks_room: bool = False
    """Whether its last load failed because there was no room."""
    retry_at: float = 0.0
    """When a request may ask for it again after a load that failed, in seconds of the clock of requests."""
    claim: Claim | None = None
    """The memory that it takes, where that is limited."""
    files: VersionFiles = UNKNOWN
    """What its files were when the last load of it began."""
    has_failed: bool = False
    """Whether these files were found to be unable to serve."""

    @property
    def waits_for_room(self) -> bool:
        """Whether it is not in memory, and could be loaded if there were room."""
        return self.model is None and self.on_demand and not self.has_failed


@dataclass
class ModelEntry:
    """The versions of one model, by number, and its aliases. ``serving`` answers requests that name no version.

    ``aliases`` is what they mean to callers. ``facts`` is what the store and callers want; see ``choice.py``.
    """

    entries: dict[int, VersionEntry] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    serving: Served | None = None
    chooser: Chooser | None = None
    """Set while a version is on trial with a part of the requests, or in the shadow."""
    rollout: Chooser | None = None
    """The same, and also after a canary went back."""
    reason: str = ""
    is_pipeline: bool = False
    """Whether one of its versions was found to be a pipeline."""
    chosen: Sequence[int] | None = None
    """The versions that the version policy lets serve; None without a policy."""
    resting: int | None = None
    """The version that answered requests that name none, and has made room."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """What people are told of that version."""
    unusable: Sequence[Unusable] = ()
    """What else is in its folder and cannot serve."""
    warnings: Sequence[str] = ()
    """Where it serves otherwise than the store says, and why."""
    is_behind: bool = False
    """Whether a version that should answer callers waits for room."""
    facts: Facts = NOTHING_KNOWN
    unsettled: dict[int, tuple[VersionFiles, float]] = field(default_factory=dict)
    """Versions that may still be written: their files, and since when they are so on the clock of the event loop."""
    loading: dict[int, "asyncio.Task[VersionEntry]"] = field(default_factory=dict)
    """Loads that take so long that an older version may serve."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it should be read again from the store."""
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when its versions were tried, or when one of them takes too long to wait for."""

    def rest(self, entry: VersionEntry, model: Served) -> None:
        """A version of it makes room. Retire it next."""
        entry.on_demand, entry.has_served, entry.retry_at = True, True, 0.0
        if self.serving is model:
            number = entry.source.version
            is_default = self._choose_default() == number  # else another one could not take its place yet
            self.serving, self.resting = None, number if is_default else None

    def answers_by_default(self, model: Served, number: int) -> bool:
        """Whether a version answers requests that name none, or would as soon as the load that runs has ended."""
        return self.serving is model or (self.serving is None and self._choose_default() == number)

    def _choose_default(self) -> int | None:
        failed = [number for number, each in self.entries.items() if each.has_failed]
        return choose(self.facts, failed).default

    def rests(self, version: str | None, now: float) -> bool:
        """Whether a version, given as a number or an alias, or the one that answers by default, has made room and is
        loaded when asked for."""
        number = self.resting if version is None else read_number(version) or self.aliases.get(version)
        entry = None if number is None else self.entries.get(number)
        return entry is not None and entry.on_demand and entry.has_served and entry.retry_at <= now and not self.reason

    @property
    def on_demand(self) -> bool:
        """Whether it serves when a request asks for it."""
        return self.serving is None and not self.reason and any(each.on_demand for each in self.entries.values())

    @property
    def is_loading(self) -> bool:
        """Whether it does not serve yet, because the load of a version has not ended."""
        return self.serving is None and any(entry.state is State.LOADING for entry in self.entries.values())

    @property
    def has_faults(self) -> bool:
        """Whether some of it cannot serve, so that a look at the store may find it mended, or room for it."""
        return self.is_behind or bool(self.warnings) or any(entry.has_failed for entry in self.entries.values())

    @property
    def why(self) -> str:
        """Why it does not serve."""
        reasons = [f"version {number}: {e.reason}" for number, e in sorted(self.entries.items()) if e.reason]
        reasons += [each.reason for each in self.unusable]
        return self.reason or "; ".join(reasons) or "it is being loaded"

    def find(self, name: str, version: str) -> VersionEntry:
        """A version of this model, which is called ``name``. Raises UnknownModel."""
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
