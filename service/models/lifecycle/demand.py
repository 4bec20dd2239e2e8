"""Loads that requests have started: of models that are loaded lazily, and of evicted versions.

Requests for one version share its load. When it has ended they are handled again from the start.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from service.errors import StillLoading
from service.metrics.meters import Metrics
from service.models.entry import ModelEntry

RETRY_S = 1.0
"""How long requests are refused after a load that failed, before one starts another."""


@dataclass(eq=False)
class Demand:
    """The load of a version, or of a model if ``number`` is None, and the requests that wait for it."""

    number: int | None
    waiting: dict[object, Callable[[], None]] = field(default_factory=dict)
    """For each request, what to call when the load has ended."""
    was_awaited: bool = False
    task: asyncio.Task[None] | None = None

    def is_wanted(self) -> bool:
        """Whether a request waits for it. Before the first request waits, it counts as wanted."""
        return bool(self.waiting) or not self.was_awaited


class Demands:
    """Used on the event loop only, except ``check``.

    ``is_lazy``: models are loaded by their first request. ``load_model`` loads the versions of a model that should
    serve, ``load_version`` one version again. ``on_change`` is called when a request no longer waits.
    """

    def __init__(
        self,
        is_lazy: bool,
        metrics: Metrics,
        clock: Callable[[], float],
        load_model: Callable[[str], Awaitable[None]],
        load_version: Callable[[str, ModelEntry, int], Awaitable[None]],
        on_change: Callable[[], None],
    ) -> None:
        self.is_lazy = is_lazy
        self._metrics = metrics
        self._clock = clock
        self._load_model = load_model
        self._load_version = load_version
        self._on_change = on_change
        self._open: dict[tuple[str, int | None], Demand] = {}

    def find(self, name: str, number: int) -> Demand | None:
        """The demand for a version of a model, or for the model."""
        return self._open.get((name, number)) or self._open.get((name, None))

    def is_open(self, name: str) -> bool:
        """Whether a model is loading because a request needs it."""
        return (name, None) in self._open

    def is_on_demand(self, model_entry: ModelEntry) -> bool:
        """Whether it does not serve until the next request loads it."""
        return self._is_untried(model_entry) or model_entry.on_demand

    def check(self, name: str, model_entry: ModelEntry, number: int | None) -> None:
        """Raises StillLoading if a version is loaded on demand; with the number None, if the model is.

        The load starts at once. If this is called from a thread, it starts when a request waits for it.
        """
        if (name, None) in self._open or self._is_untried(model_entry):
            number = None
        elif number is None:
            number = model_entry.evicted_default
        if (name, number) not in self._open and not self._may_load(model_entry, number):
            return

        def begin() -> Demand:
            demand = self._open.get((name, number))
            if demand is None:
                demand = self._open[name, number] = Demand(number)
                load = self._load(name, model_entry, number)
                demand.task = asyncio.get_running_loop().create_task(load, name=f"load {name} on demand")
                demand.task.add_done_callback(lambda _: self._close(name, number, demand))
                self._metrics.numbers("sluice_model_loads_on_demand", (name,)).add(1.0)
            return demand

        def when_loaded(then: Callable[[], None]) -> Callable[[], None]:
            demand, request = begin(), object()
            demand.was_awaited = True
            demand.waiting[request] = then

            def withdraw() -> None:
                """Forget the request: callers who come and go must not fill the memory."""
                demand.waiting.pop(request, None)
                self._on_change()

            return withdraw

        with contextlib.suppress(RuntimeError):  # there is no event loop in a thread
            asyncio.get_running_loop()
            begin()
        what = f"model {name!r}" if number is None else f"model {name!r} version {number}"
        raise StillLoading(f"{what} is being loaded", when_loaded=when_loaded)

    def _is_untried(self, model_entry: ModelEntry) -> bool:
        return self.is_lazy and not model_entry.entries and not model_entry.reason

    def _may_load(self, model_entry: ModelEntry, number: int | None) -> bool:
        now = self._clock()
        if number is not None:
            entry = model_entry.entries.get(number)
            return entry is not None and entry.on_demand and entry.retry_at <= now and not model_entry.reason
        latest = max((each.retry_at for each in model_entry.entries.values()), default=0.0)
        return self._is_untried(model_entry) or (model_entry.on_demand and latest <= now)

    async def _load(self, name: str, model_entry: ModelEntry, number: int | None) -> None:
        if number is None:
            await self._load_model(name)
            return
        await self._load_version(name, model_entry, number)
        entry = model_entry.entries.get(number)
        failed = entry is not None and entry.model is None and not entry.lacks_room
        if failed and number == model_entry.evicted_default:  # an older version may serve instead
            model_entry.evicted_default = None
            await self._load_model(name)

    def _close(self, name: str, number: int | None, demand: Demand) -> None:
        """The load has ended: let the requests continue, each in its own call so that none can stop the others."""
        del self._open[name, number]
        loop = asyncio.get_running_loop()
        for then in (*demand.waiting.values(), self._on_change):
            loop.call_soon(then)

    async def end(self) -> None:
        """Return when all loads have ended."""
        await asyncio.gather(*(each.task for each in self._open.values() if each.task), return_exceptions=True)
