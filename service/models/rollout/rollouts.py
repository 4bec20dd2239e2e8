"""The rollouts of a worker. They begin and end as ``rollout.json`` says, and a canary that is worse is rolled back.

Each worker sends its counts once a second to one worker of the server, the first by name, whose judge decides. If that
worker ends, the next one judges from the start: this takes longer, but is wrong no more often. A rollback is sent to
all workers. It is written into the store, so that it outlasts the server and reaches other servers. It is also kept in
the shared metrics, where a worker that starts later finds it even if the store cannot be written.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

from model_store import Store
from model_store.errors import StoreError
from model_store.files.links import tell_why
from model_store.rollout import Canary, Rollout, read_rollout, write_rollout
from service.metrics.definitions import ROLLOUT_FIELDS, ROLLOUTS
from service.metrics.meters import Metrics
from service.metrics.storage import Labels
from service.models.entry import Model, ModelEntry
from service.models.rollout.active import ActiveRollout, ModelExposure
from service.models.rollout.comparison import GraphRun, find_tolerances
from service.models.rollout.copies import Copies, Outcome
from service.models.rollout.judge import Judge, Window
from service.workers import Command, Workers

logger = logging.getLogger("sluice.rollout")

WINDOW_S: Final = 1.0
WINDOW, RETURN = "rollout window", "rollout return"
"""Commands between the workers."""
_LAST_S: Final = 2.0
_BEFORE_START = "it went back before this worker started: the log of the server has the reason"


class Rollouts:
    """Used on the event loop only."""

    def __init__(
        self,
        store: Store,
        entries: Mapping[str, ModelEntry],
        metrics: Metrics,
        copies: Copies,
        workers: Workers,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._store = store
        self._entries = entries
        self._metrics = metrics
        self._copies = copies
        self._workers = workers
        self._loop = loop
        self._judges: dict[str, Judge] = {}
        """By model."""
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.sources.append(self.read_metrics)

    def apply(self, name: str, model_entry: ModelEntry, facts: Rollout) -> None:
        """Apply the rollout.json of a model."""
        old = self._active(name)
        if old is not None and old.facts == facts:
            return
        canary = facts.canary
        if facts == Rollout():
            model_entry.chooser = model_entry.rollout = None
        else:
            new = ActiveRollout(name, model_entry, facts, self._begin_window, self._compare)
            if canary is not None and not new.returned:
                new.returned = self._find_return(old, name, canary.trial)
            model_entry.rollout = new
            model_entry.chooser = new if new.has_choice else None
            logger.info("%s: %s", name, _tell(facts, new.returned))
        known = None if old is None else old.facts.canary
        if known is None or canary is None or known != canary.model_copy(update={"percent": known.percent}):
            self._judges.pop(name, None)

    def _find_return(self, old: ActiveRollout | None, name: str, trial: str) -> str:
        """Why a canary was rolled back, although the store still has it: the store may not be writable. Else ""."""
        if old is not None and old.facts.canary is not None and old.facts.canary.trial == trial:
            return old.returned
        return _BEFORE_START if count_requests(self._metrics, name, trial)["returned"] else ""

    def _active(self, name: str) -> ActiveRollout | None:
        model_entry = self._entries.get(name)
        found = None if model_entry is None else model_entry.rollout
        return found if isinstance(found, ActiveRollout) else None

    def _begin_window(self, rollout: ActiveRollout) -> None:
        self._loop.call_later(WINDOW_S, self._end_window, rollout)

    def _end_window(self, rollout: ActiveRollout) -> None:
        window, canary = rollout.take_window(), rollout.facts.canary
        if canary is None or rollout.returned or self._active(rollout.name) is not rollout:
            return
        version = str(canary.version)
        counts = (
            *(window.canary.requests, window.canary.failed, window.stable.requests, window.stable.failed),
            *(window.compared, window.differ, 0),
        )
        self._metrics.numbers(ROLLOUTS, (rollout.name, version, canary.trial)).add(*map(float, counts))
        self._keep(self._send({"do": WINDOW, "model": rollout.name, "trial": canary.trial, "window": window.to_json()}))

    async def _send(self, command: Command) -> None:
        """Send a command to the judge."""
        if not await self._workers.tell_first(command):
            await self.judge(command)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _find_running(self, command: Command) -> tuple[ActiveRollout | None, Canary | None]:
        """The rollout and the canary of a command; None if the trial has ended."""
        rollout = self._active(command["model"])
        canary = None if rollout is None or rollout.returned else rollout.facts.canary
        return rollout, canary if canary is not None and canary.trial == command["trial"] else None

    async def judge(self, command: Command) -> None:
        """Add the counts of a worker. This worker is the judge."""
        name, trial = command["model"], command["trial"]
        _, canary = self._find_running(command)
        if canary is None:
            return
        judge = self._judges.setdefault(name, Judge(canary.limits))
        reason = judge.add(Window.from_json(command["window"]))
        if reason:
            told = {"do": RETURN, "model": name, "trial": trial, "reason": reason}
            await self.give_back(told)
            for complaint in await self._workers.tell(told):
                logger.error("%s: a worker still has the canary: %s", name, complaint)
            await asyncio.to_thread(self._write, name, trial, reason)

    async def give_back(self, command: Command) -> None:
        """Stop the canary in this worker."""
        name, trial, reason = command["model"], command["trial"], command["reason"]
        rollout, canary = self._find_running(command)
        if rollout is None or canary is None:
            return
        rollout.returned = reason
        model_entry = self._entries[name]
        model_entry.chooser = rollout if rollout.has_choice else None
        counts = [0.0] * (len(ROLLOUT_FIELDS) - 1)
        self._metrics.numbers(ROLLOUTS, (name, str(canary.version), trial)).add(*counts, 1.0)
        logger.error("%s: version %d went back to the stable version: %s", name, canary.version, reason)

    def _write(self, name: str, trial: str, reason: str) -> None:
        try:
            with self._store.changing(name) as folder:
                rollout = read_rollout(folder)
                canary = rollout.canary
                if canary is not None and canary.trial == trial and not canary.returned:
                    ended = canary.model_copy(update={"returned": reason})
                    write_rollout(folder, rollout.model_copy(update={"canary": ended}))
        except (OSError, StoreError) as error:
            why = tell_why(error) if isinstance(error, OSError) else str(error)
            logger.warning(
                "%s: the store does not know that the canary went back, other servers neither: %s", name, why
            )

    def _compare(self, rollout: ActiveRollout, exposure: ModelExposure, runs: Sequence[GraphRun]) -> None:
        """Have an answer compared with that of the other version."""
        other, version = exposure.other, exposure.version
        if other is None or not isinstance(version, Model):
            return
        tried = version if exposure.is_canary else other
        counter = self._metrics.numbers
        stable = rollout.stable

        def done(outcome: Outcome) -> None:
            if exposure.is_canary and outcome is Outcome.FAILED:
                outcome = Outcome.DROPPED  # it was the stable version that failed
            counter("sluice_compared", (rollout.name, tried.version, outcome.value)).add(1.0)
            if exposure.is_canary and outcome is not Outcome.DROPPED:
                rollout.note_compared(differs=outcome is Outcome.DIFFERS)

        if other is stable or rollout.find(int(other.version)) is other:  # it is still in service
            trusted = version.manifest if isinstance(stable, Model) and stable is version else other.manifest
            self._copies.offer(other, runs, find_tolerances(trusted), done)

    def read_metrics(self) -> Iterable[tuple[str, Labels, float]]:
        for name in list(self._entries):
            rollout = self._active(name)
            if rollout is None:
                continue
            for kind, facts in (("canary", rollout.facts.canary), ("shadow", rollout.facts.shadow)):
                if facts is not None:
                    has_returned = kind == "canary" and bool(rollout.returned)
                    labels = (name, str(facts.version), kind)
                    yield "sluice_rollout_percent", labels, 0.0 if has_returned else facts.percent
            if rollout.facts.canary is not None:
                version = str(rollout.facts.canary.version)
                yield "sluice_canary_returned", (name, version), float(bool(rollout.returned))

    async def close(self) -> None:
        """Send what is left to the other workers, unless one does not answer."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_LAST_S)
            for task in late:
                task.cancel()


def count_requests(metrics: Metrics, name: str, trial: str) -> dict[str, int]:
    """The counts of a canary in all workers, by the names of ``ROLLOUT_FIELDS``. May be called in a thread."""
    sums = dict.fromkeys(ROLLOUT_FIELDS, 0)
    for (model, _, since), values in metrics.records(ROLLOUTS):
        if model == name and since == trial:
            for field, value in values.items():
                sums[field] += int(value)
    return sums


def _tell(facts: Rollout, returned: str) -> str:
    parts = []
    if facts.canary is not None:
        by = f" by the header {facts.canary.header}" if facts.canary.header else ""
        state = f"went back: {returned}" if returned else f"answers {facts.canary.percent:g} % of the requests{by}"
        parts.append(f"the canary, version {facts.canary.version}, {state}")
    if facts.shadow is not None:
        parts.append(f"version {facts.shadow.version} is in the shadow of {facts.shadow.percent:g} %")
    return "; ".join(parts)
