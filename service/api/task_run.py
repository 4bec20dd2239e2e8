"""The task of one request while it runs, and its answer."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from service.api.handler import Responder
from service.api.task_driver import TaskDriver, Threads
from service.api.task_plan import TaskPlan
from service.engine.batching.queue import Answer
from service.models.entry import Model, Served
from service.protocol.json import render_json
from service.protocol.large_json import LARGE_BYTES
from service.tasks.work import Result
from service.transport import sse
from service.transport.request import JSON, Reply


class Runs(Threads, Protocol):
    """Holds the runs of a worker that are open."""

    def ended(self, run: "TaskRun") -> None: ...


class TaskRun(TaskDriver):
    """What it drives answers the request."""

    __slots__ = ("_plan", "_runs")

    def __init__(self, runs: Runs, responder: Responder, plan: TaskPlan) -> None:
        super().__init__(runs, responder, plan.model if isinstance(plan.model, Model) else None, plan.schedule)
        self._runs = runs
        self._plan = plan

    def start(self) -> None:
        self.begin(self._plan.work(self._emit if self._plan.streams else None))

    def uses(self, model: Served) -> bool:
        """Whether the version must not go before the run ends."""
        return self._plan.model is model or model in self._plan.steps.values()

    def _emit(self, content: Mapping[str, Any]) -> None:
        self._responder.send(sse.event(render_json(content)))

    def _fail(self, error: Exception) -> None:
        self._close()
        self._responder.fail(error)

    def _done(self, result: Result) -> None:
        self._close()
        if self._plan.streams:
            self._responder.send(sse.event(render_json(result.body), self._plan.last_event))
            self._responder.finish_stream(200)
            return
        times = Answer({}, self.queue_s, self.batch_s, self.compute_s)
        kind = JSON if result.media_type is None else (b"content-type", result.media_type.encode())

        def reply(body: bytes) -> None:
            self._responder.finish(Reply(200, [body], [kind]), times)

        if result.media_type is not None:
            reply(result.body)
        elif result.is_large or len(self._responder.request.body) > LARGE_BYTES:  # then the answer may be large too
            render: Callable[[], bytes] = functools.partial(render_json, result.body)
            self._responder.run_in_thread(render, reply, is_answered=True)
        else:
            reply(render_json(result.body))

    def _close(self) -> None:
        super()._close()
        self._runs.ended(self)
