"""Requests that belong to a sequence: they run one after another, in the worker that holds the sequence's state."""

import functools
from collections.abc import Callable

from service.api.handler import Responder
from service.engine.batching.queue import Answer
from service.engine.tensors import Arrays, Rows
from service.errors import DeadlinePassed, ServiceError
from service.models.entry import Model
from service.protocol.infer_request import InferHeader, SequenceStep
from service.sequences.forwarding import Forwarder, Outcome
from service.sequences.sequences import Sequences, Turn
from service.transport.request import FORWARDED_INFER, Reply

Render = Callable[[Model, InferHeader, Answer], Reply]
Submit = Callable[[Responder, Model, InferHeader, Rows, Render, float, int], None]
"""The last two arguments are the seconds left and the priority."""


class SequenceRequests:
    """Used on the event loop's thread only. ``forwarder`` reaches the other workers."""

    def __init__(self, sequences: Sequences, forwarder: Forwarder | None, submit: Submit, render: Render) -> None:
        self._sequences = sequences
        self._forwarder = forwarder
        self._submit = submit
        self._render = render

    def start(
        self, responder: Responder, model: Model, header: InferHeader, step: SequenceStep, inputs: Arrays
    ) -> None:
        """Submit a request when it is its turn, or forward it to the worker that holds its sequence."""
        responder.charge(_count_rows(model, inputs))
        if self._forward(responder, model, header, step):
            return

        def start() -> None:
            try:
                left_s = responder.left_s(header.timeout_s)
                if left_s <= 0:
                    raise DeadlinePassed("the deadline passed while requests before it in the sequence ran")
                rows = turn.take(inputs)
                render = functools.partial(self._render_and_keep, turn)
                self._submit(responder, model, header, rows, render, left_s, header.priority)
            except Exception as error:  # noqa: BLE001  # the caller may be the event loop
                responder.fail(error)

        turn = self._sequences.join(
            model.name, model.version, model, model.signature, model.sequence_rules, step, start
        )
        responder.on_end = turn.leave
        if turn.is_first:
            start()

    def _forward(self, responder: Responder, model: Model, header: InferHeader, step: SequenceStep) -> bool:
        """Forward the request if another worker holds its sequence. Returns whether it was forwarded."""
        request = responder.request
        if self._forwarder is None or request.endpoint.route == FORWARDED_INFER:
            return False
        owner = self._forwarder.find_owner(model.name, step.id)
        if owner is None:
            return False

        def pass_on(outcome: Outcome) -> None:
            if isinstance(outcome, ServiceError):
                responder.fail(outcome)
            else:
                responder.finish(*outcome)

        version = request.endpoint.version
        if request.exposure is not None and step.starts:
            version = model.version  # the rollout of this worker has chosen it
        else:
            request.exposure = None  # the other worker reports to its rollout
        left_s = responder.left_s(header.timeout_s)
        responder.cancel_work = owner.forward(request, version, left_s, pass_on)
        return True

    def _render_and_keep(self, turn: Turn, model: Model, header: InferHeader, answer: Answer) -> Reply:
        public = {name: answer.outputs[name] for name in model.signature.public_outputs}
        times = (answer.queue_s, answer.batch_s, answer.compute_s, answer.batch_rows)
        reply = self._render(model, header, Answer(public, *times))
        turn.keep(answer.outputs)
        return reply


def _count_rows(model: Model, inputs: Arrays) -> int:
    """How many rows inputs have that have not been checked yet."""
    for name, array in inputs.items():
        axis = model.signature.axes.get(name)
        if axis is not None and axis < array.ndim:
            return int(array.shape[axis])
    return 1
