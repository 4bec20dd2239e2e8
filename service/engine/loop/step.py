"""One step of a batch: its inputs put together, run, and what of the outputs the next step takes."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from model_store.tasks import Carry
from service.engine.execution.device import LaneUser, Run
from service.engine.execution.runner import StepRunner
from service.engine.loop.decoding import Beams
from service.engine.loop.sequence import LoopSequence, SteadyRun, Tensors
from service.engine.loop.slots import RunningBatch, Span
from service.engine.tensors import Arrays, Signature
from service.errors import ModelFailure


class LoopStep(Run):
    """A batch on its way through a lane.

    ``departures`` is that of the slot table when it was taken: if there are more, somebody may have left.
    ``outputs`` are those of the last step. ``failed`` maps the spans that failed to why; ``lost`` and ``finished`` are
    whom that, or the last step, ends.
    """

    def __init__(
        self,
        dispatcher: LaneUser,
        taken_at: float,
        estimate_s: float,
        batch: RunningBatch[LoopSequence],
        departures: int,
    ) -> None:
        super().__init__(dispatcher, taken_at, estimate_s)
        self.batch = batch
        self.departures = departures
        self.steady: SteadyRun | None = None
        self.outputs: Mapping[str, np.ndarray] = {}
        self.steps = 1
        self.failed: dict[int, BaseException] = {}
        self.lost: list[tuple[LoopSequence, BaseException]] = []
        self.finished: list[LoopSequence] = []
        self.is_taken_in = False


class StepGraph:
    """``main`` as a step. ``carries`` says which inputs take which outputs, ``pad`` with how many rows a batch runs."""

    def __init__(
        self, runner: StepRunner, signature: Signature, carries: Sequence[Carry], pad: Callable[[int], int]
    ) -> None:
        self.signature = signature
        self._runner = runner
        self._fed_back = {c.input: c.output for c in carries if c.output is not None}
        self._stay = frozenset(self._fed_back.values())
        self._pad = pad

    def execute(self, run: LoopStep, clock: Callable[[], float], may_go_on: Callable[[], bool]) -> None:
        """Put the inputs together, run, and note outputs or errors in ``run``. Runs in a lane.

        After a step that changes nothing about the batch the next one follows at once, while ``may_go_on`` allows it.
        """
        try:
            steady = run.batch.steady
            if steady is None:
                steady = run.batch.steady = SteadyRun(run.batch, self._gather(run.batch))
            run.steady = steady
            _fill_in(steady)
            run.started_at = clock()
            began = run.started_at
            try:
                run.outputs = self._run(steady.arrays)
                while steady.count + 1 < steady.quiet_steps and may_go_on():
                    now = clock()
                    self.feed_back(run)
                    steady.note(run.outputs, now - began)
                    began = now
                    _fill_in(steady)
                    run.outputs = self._run(steady.arrays)
                    run.steps += 1
            except Exception as error:  # whatever a model raises is the answer of whoever caused it
                if run.stop.asked:  # nobody waits for it
                    raise
                run.outputs = self._isolate(run, error)
        except Exception as error:  # noqa: BLE001  # a fault of ours ends the batch, not the lane
            run.error = error
            run.started_at = run.started_at or clock()
        run.ended_at = clock()

    def _run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        rows = len(next(iter(inputs.values())))
        outputs = dict(zip(self.signature.output_names, self._runner.step(inputs, self._stay), strict=True))
        for name, output in outputs.items():
            if len(output) != rows:
                raise ModelFailure(f"output {name!r} has {len(output)} rows for a batch of {rows}")
        return outputs

    def _gather(self, batch: RunningBatch[LoopSequence]) -> Tensors:
        """The batch's tensors: those of the last step if the same rows make it, else put together anew."""
        spans, slots = batch.spans, batch.slots
        place = spans[0].place
        if place is not None and place.slots == slots and _follow_each_other(spans):
            return Tensors(place.arrays, slots)
        padding = self._pad(slots) - slots
        changing = {name for span in spans for name in span.sequence.request.changing}
        arrays = {}
        for name in self.signature.inputs:
            parts = [self._part(span, name) for span in spans]
            if padding:
                parts.append(np.repeat(parts[-1][-1:], padding, axis=0))
            joined = np.concatenate(parts)
            arrays[name] = joined if name in changing else self._runner.settle(joined)
        return Tensors(arrays, slots)

    def _part(self, span: Span[LoopSequence], name: str) -> np.ndarray:
        """What the slots of a span take for an input, as far as it is known before the step."""
        if span.place is not None:
            array: np.ndarray = span.place.arrays[name][span.offset : span.offset + span.slots]
            return array
        request = span.sequence.request
        if name in request.begin:
            rows = request.begin[name][span.start : span.stop]
            return np.repeat(rows, span.sequence.width, axis=0) if span.sequence.width > 1 else rows
        if request.decoding is not None and name == request.decoding.token:
            return np.full(span.slots, request.decoding.begin, np.int64)
        sample = np.asarray(request.by_step[name](slice(span.start, span.start + 1), span.step))
        return np.zeros((span.slots, *sample.shape[1:]), self.signature.dtypes[name])

    def _isolate(self, run: LoopStep, error: BaseException) -> dict[str, np.ndarray]:
        """Run the batch in halves until the spans that fail are alone. Their rows of the outputs are zeros."""
        assert run.steady is not None  # noqa: S101  # made before it ran
        arrays, spans = run.steady.arrays, run.batch.spans
        bounds = np.cumsum([0, *(span.slots for span in spans)]).tolist()
        pieces: list[tuple[int, int, dict[str, np.ndarray]]] = []
        parts = [(0, len(spans), error)]
        while parts:
            first, last, why = parts.pop()
            if last - first == 1:
                run.failed[first] = why
                continue
            middle = (first + last) // 2
            for one, other in ((middle, last), (first, middle)):
                low, high = bounds[one], bounds[other]
                rows = [*range(low, high), *[high - 1] * (self._pad(high - low) - (high - low))]
                try:
                    pieces.append((low, high, self._run({name: a[rows] for name, a in arrays.items()})))
                except Exception as cause:  # noqa: BLE001  # as above
                    parts.append((one, other, cause))
        padded = len(next(iter(arrays.values())))
        joined: dict[str, np.ndarray] = {}
        for low, high, outputs in pieces:
            for name, output in outputs.items():
                whole = joined.setdefault(name, np.zeros((padded, *output.shape[1:]), output.dtype))
                whole[low:high] = output[: high - low]
        return joined

    def feed_back(self, run: LoopStep) -> Tensors:
        """The inputs of the next step as far as this one gives them: where nobody leaves, they are used as they are."""
        assert run.steady is not None  # noqa: S101
        tensors = run.steady.tensors
        for taken, given in self._fed_back.items():
            tensors.arrays[taken] = run.outputs[given]
        decoding = next((s.sequence.request.decoding for s in run.batch.spans if s.sequence.request.decoding), None)
        if decoding is not None:
            self._choose(run, decoding.token, decoding.scores, tensors.arrays)
        return tensors

    def _choose(self, run: LoopStep, token: str, scores_name: str, arrays: dict[str, np.ndarray]) -> None:
        """The next symbol of every slot; hypotheses that are given up take the state of those that go on twice."""
        scores = run.outputs[scores_name]
        tokens = scores.argmax(axis=1)
        order: np.ndarray | None = None
        at = 0
        for span in run.batch.spans:
            width = span.sequence.width
            if width > 1 and not span.sequence.gone:
                order = np.arange(len(scores)) if order is None else order
                for row in range(span.start, span.stop):
                    beams = span.sequence.sentences[row]
                    assert isinstance(beams, Beams)  # noqa: S101  # made so for rows of several slots
                    low = at + (row - span.start) * width
                    parents, chosen = beams.take(scores[low : low + width])
                    order[low : low + width] = low + parents
                    tokens[low : low + width] = chosen
            at += span.slots
        arrays[token] = tokens
        if order is not None:
            for taken in self._fed_back:
                arrays[taken] = arrays[taken][order]


def _follow_each_other(spans: Sequence[Span[LoopSequence]]) -> bool:
    """Whether the spans lie in the same tensors, one after the other from the start."""
    at = 0
    for span in spans:
        if span.place is not spans[0].place or span.offset != at:
            return False
        at += span.slots
    return True


def _fill_in(steady: SteadyRun) -> None:
    """What changes with the step."""
    for span, at, end in steady.changing:
        step = span.step + steady.count
        for name, value_of in span.sequence.request.by_step.items():
            value = value_of(slice(span.start, span.stop), step)
            many = span.sequence.width > 1 and isinstance(value, np.ndarray) and value.ndim
            steady.arrays[name][at:end] = np.repeat(value, span.sequence.width, axis=0) if many else value
