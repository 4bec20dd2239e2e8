"""The protocol's generate routes: flat JSON in and out, for any model, as one answer or as a stream of events.

``steps`` says how often a model with a loop runs; a stream has an event for each step. State that the request leaves
out starts at zero. Without ``steps`` there is one run, and one event.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from model_store.datatypes import DATATYPES
from service.api.task_plan import Planner, TaskPlan
from service.codecs.model_context import known
from service.codecs.series import zeros_of
from service.engine.loop.request import LoopRequest
from service.engine.tensors import Arrays, Signature
from service.errors import InvalidInput
from service.models.entry import Model
from service.models.registry import Registry
from service.protocol.generate import describe_generated, read_generate
from service.protocol.infer_request import read_schedule
from service.tasks.work import Emit, Infer, Iterate, Limits, Result, run_in_thread
from service.transport.request import Request
from service.transport.status import ErrorFormat

GENERATE = "/v2/models/{model}/generate"
GENERATE_STREAM = "/v2/models/{model}/generate_stream"
STEPS = "steps"


def plan_generate(streams: bool, request: Request, registry: Registry, limits: Limits) -> TaskPlan:
    """Plan one run, or ``steps`` runs of the loop. Raises InvalidInput, UnknownModel, NotReady."""
    model = registry.find(request.endpoint.model, request.endpoint.version, request)
    model.check_stateless()
    signature = model.signature
    refuse_binary_outputs(signature)
    flat = read_generate(request.body, signature.graph.inputs)
    if flat.parameters.get("sequence_id"):
        raise InvalidInput("sequence_id: expected none on this route: sequences go by infer")
    schedule = model.schedule(*read_schedule(flat.parameters))
    steps = _read_steps(flat.parameters.get(STEPS), model, limits)
    inputs = flat.inputs if steps is None else _begin(flat.inputs, model)
    rows = signature.check(inputs).number
    if steps is not None and rows != 1:
        raise InvalidInput(f"{STEPS}: expected one row, got {rows}: send a request for each")
    describe = functools.partial(describe_generated, model.name, model.version, flat.id)

    async def work(emit: Emit | None) -> Result:
        outputs: Arrays
        if steps is None:
            outputs = await Infer(inputs)
        else:
            outputs = await _run_loop(inputs, steps, signature, emit and (lambda shown: emit(describe(shown))))
        size = sum(array.nbytes for array in outputs.values())
        return Result(await run_in_thread(lambda: describe(outputs), size))

    return TaskPlan(model, work, streams, last_event=None, schedule=schedule, rows=rows or 1)


PLANNERS: Mapping[str, Planner] = {
    GENERATE: functools.partial(plan_generate, False),
    GENERATE_STREAM: functools.partial(plan_generate, True),
}
ERROR_FORMATS: Mapping[str, ErrorFormat] = {GENERATE_STREAM: ErrorFormat(event=None)}
"""Events of this route have no name, and an event with an error has none either."""


def refuse_binary_outputs(signature: Signature) -> None:
    """Raises InvalidInput for an output that JSON cannot carry."""
    for name, tensor in signature.outputs.items():
        if DATATYPES[tensor.datatype].is_binary_only:
            raise InvalidInput(f"output {name!r}: {tensor.datatype} has no JSON form, ask infer for binary data")


def _read_steps(steps: Any, model: Model, limits: Limits) -> int | None:
    if steps is None:
        return None
    loop = model.manifest.loop
    if loop is None:
        raise InvalidInput(f"{STEPS}: model {model.name!r} has no loop to go through; leave it out")
    if model.manifest.writing is not None:
        raise InvalidInput(f"{STEPS}: model {model.name!r} writes text, which /predict_sequence answers; leave it out")
    most = min(loop.max_steps, limits.max_steps)
    if type(steps) is not int or not 1 <= steps <= most:
        raise InvalidInput(f"{STEPS}: expected 1 to {most}, got {steps!r:.40}")
    return steps


def _begin(inputs: Arrays, model: Model) -> Arrays:
    """The inputs, with zeros for state that the request leaves out."""
    tensors = model.signature.inputs
    left_out = {carry.input for carry in known(model.manifest.loop).carries} - inputs.keys()
    return {**inputs, **{name: zeros_of(tensors[name])[None] for name in left_out if tensors[name].has_fixed_rows}}


async def _run_loop(inputs: Arrays, steps: int, signature: Signature, show: Callable[[Arrays], None] | None) -> Arrays:
    """The outputs of the last step. ``show`` is called with those of each step before it."""
    names = [tensor.name for tensor in signature.graph.outputs]

    def watch(_: int, step: int, shown: Arrays) -> None:
        if show is not None and step < steps - 1:
            show({name: shown[name] for name in names})

    request = LoopRequest(inputs, steps, last=names, show=names, watch=watch if show else None)
    return (await Iterate(request)).last
