"""Golden requests: before a pipeline serves, it must give the answers that it gave when it was published."""

import math
from typing import Any

from service.api.handler import RequestHandler, Responder
from service.api.pipelines import ROUTE, make_plan
from service.api.steps import check_steps, find_steps, wait_for_steps
from service.api.tasks import TaskRunner
from service.errors import NotReady, ServiceError
from service.models.pipeline import Golden, Pipeline
from service.models.registry import Registry
from service.protocol.large_json import parse_object
from service.tasks.pipelines.pipeline import Options
from service.tasks.request import read_request
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import Endpoint


class GoldenRequests:
    """Sends golden requests through the same code as the requests of callers."""

    def __init__(self, registry: Registry, runner: TaskRunner, handler: RequestHandler) -> None:
        self._registry = registry
        self._runner = runner
        self._handler = handler

    async def prove(self, pipeline: Pipeline) -> None:
        """Send all golden requests, and store the result in ``pipeline.checked``. Raises NotReady if an answer differs.

        If the model of a step does not serve, nothing is sent: then the pipeline does not serve either.
        """
        await wait_for_steps(self._registry, pipeline)
        try:
            check_steps(self._registry, pipeline)
            find_steps(self._registry, pipeline)
        except ServiceError as error:
            pipeline.checked = f"not sent: {error}"
            return
        for golden in pipeline.loaded.golden:
            difference = await self._compare(pipeline, golden)
            if difference:
                raise NotReady(f"golden request {golden.facts.request}: {difference}")
        count = len(pipeline.loaded.golden)
        pipeline.checked = f"{count} of {count} passed" if count else "none"

    async def send(self, pipeline: Pipeline, body: bytes) -> tuple[int, bytes]:
        """Send a request, even if the pipeline does not serve yet. Returns the status and body of the answer."""
        request = AwaitedRequest(Endpoint(ROUTE), b"", {})
        request.body, request.began = body, self._handler.clock()
        request.is_own = True
        responder = Responder(self._handler, request)
        request.work = responder
        try:
            asked = read_request(body, "application/json", b"", "")
            plan = make_plan(pipeline, Options.parse(asked.fields), asked, self._registry, self._runner.limits)
            self._runner.begin(responder, plan)
        except ServiceError as error:
            responder.fail(error)
        reply = await request.answer
        return reply.status, b"".join(reply.chunks)

    async def _compare(self, pipeline: Pipeline, golden: Golden) -> str:
        """How the answer differs from the stored one; "" if it does not."""
        status, body = await self.send(pipeline, golden.request)
        content, facts = parse_object(body), golden.facts
        if status != 200:
            return f"expected an answer, got {status}: {content.get('error')}"
        return find_difference(content["predictions"], golden.predictions, facts.atol, facts.rtol, "predictions")


def find_difference(got: Any, expected: Any, atol: float, rtol: float, where: str) -> str:
    """The first difference between two JSON values; "" if numbers are close and all else is equal."""
    if _is_number(got) and _is_number(expected):
        near = got == expected or math.fabs(got - expected) <= atol + rtol * math.fabs(expected)
        return "" if near else f"{where} is {got:.6g}, expected {expected:.6g} within {atol:g} + {rtol:g} of it"
    if isinstance(got, dict) and isinstance(expected, dict):
        if got.keys() != expected.keys():
            return f"{where} has {', '.join(sorted(got)) or 'nothing'}, expected {', '.join(sorted(expected))}"
        pairs = [(f"{where}.{name}", got[name], expected[name]) for name in expected]
    elif isinstance(got, list) and isinstance(expected, list):
        if len(got) != len(expected):
            return f"{where} has {len(got)} elements, expected {len(expected)}"
        pairs = [(f"{where}[{i}]", *pair) for i, pair in enumerate(zip(got, expected, strict=True))]
    else:
        is_same = type(got) is type(expected) and got == expected
        return "" if is_same else f"{where} is {got!r:.80}, expected {expected!r:.80}"
    return next(filter(None, (find_difference(a, b, atol, rtol, at) for at, a, b in pairs)), "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
