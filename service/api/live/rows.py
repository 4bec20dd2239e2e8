"""Runs the rows of one stream, one after another, and keeps the model's state between them."""

import asyncio
import itertools
from collections.abc import Callable

from model_store.graphs.sequences import Id
from service.engine.batching.queue import Answer
from service.engine.tensors import Arrays, Rows
from service.errors import ServiceError
from service.metrics.spans import Trace
from service.models.entry import Model
from service.protocol.infer_request import SequenceStep
from service.sequences.sequences import Sequences

_numbers = itertools.count(1)


class StreamRows:
    """Await each ``run`` before the next; ``close`` drops the state. Used on the event loop's thread only.

    ``charge`` is called with the number of rows before they run. An error that it raises ends the stream.
    """

    def __init__(
        self,
        model: Model,
        sequences: Sequences,
        deadline_s: float,
        charge: Callable[[int], None] = lambda rows: None,
        trace: Trace | None = None,
    ) -> None:
        self.model = model
        self._charge, self._trace = charge, trace
        self._sequences = sequences
        self._deadline_s = deadline_s
        self._rules = model.sequence_rules
        self._state: Arrays | None = None
        controls = self._rules.facts.controls if self._rules is not None else ()
        takes_text = any(isinstance(control, Id) and control.datatype == "BYTES" for control in controls)
        number = next(_numbers)
        # A model that keeps its state by itself gets this as the id of the sequence.
        self._id: int | str = f"stream-{number}" if takes_text else number

    @property
    def keeps_state(self) -> bool:
        return self._rules is not None

    async def run(self, inputs: Arrays) -> Arrays:
        """The public outputs. Raises ServiceError; then the state has not changed."""
        rules, signature = self._rules, self.model.signature
        if rules is None:
            outputs = await self._infer(signature.check(inputs))
        else:
            step = SequenceStep(self._id, starts=self._state is None, ends=False)
            taken = self._sequences.fill_in(rules, signature, self._state, step, inputs)
            outputs = await self._infer(rules.check_rows(taken, signature))
            self._hold(rules.go_on(taken, outputs))
        return {name: outputs[name] for name in signature.public_outputs}

    def close(self) -> None:
        self._hold(None)

    def _hold(self, state: Arrays | None) -> None:
        self._sequences.count_change(self._state, state)
        self._state = state

    async def _infer(self, rows: Rows) -> Arrays:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(outcome: Answer | ServiceError) -> None:
            if answered.done():
                return
            if isinstance(outcome, ServiceError):
                answered.set_exception(outcome)
            else:
                answered.set_result(outcome)

        dispatcher = self.model.dispatcher
        if not rows.number:
            return dispatcher.answer_no_rows(rows).outputs
        self._charge(rows.number)
        if self._trace is not None:
            rows.trace = self.model.trace(self._trace)
        cancel = dispatcher.submit(rows, done, timeout_s=self._deadline_s)
        try:
            return (await answered).outputs
        except asyncio.CancelledError:
            cancel()
            raise
