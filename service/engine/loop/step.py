"""One step of a batch: its inputs put together, run, and what of the outputs the next step takes."""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from model_store.tasks import Carry
from service.engine.execution.device import LaneUser, Run
from service.engine.execution.runner import StepRunner
from service.engine.loop.choice import choose_row_by_row, find_log_probabilities, suppress
from service.engine.loop.request import Decoding
from service.engine.loop.sequence import Choice, LoopSequence, SteadyRun, Tensors
from service.engine.loop.slots import RunningBatch, Span
from service.engine.tensors import Arrays, Signature
from service.errors import ModelFailure


class LoopStep(Run):
    """A batch on its way through a lane.

    ``departures`` is that of the slot table when it was taken: if there are more, somebody may have left.
    ``outputs`` are those of the last step. ``lost`` are the sequences that failed, and why; ``finished`` those that it
    ends.
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
        self.outputs: Mapping[str, np.ndarray] = {}
        self.choice: Choice | None = None
        """The tokens that the last step has chosen, if its rows write."""
        self.steps = 1
        self.lost: list[tuple[LoopSequence, BaseException]] = []
        self.finished: list[LoopSequence] = []
        self.is_taken_in = False


class StepGraph:
    """``main`` as a step. ``carries`` says which inputs take which outputs, ``pad`` with how many rows a batch runs.

    Inputs that no step changes, such as what an encoder gave, may be large. A row is written there when it joins, and
    moved when another has left a gap. Batches of more than ``room`` rows are put together anew each time.
    """

    def __init__(
        self, runner: StepRunner, signature: Signature, carries: Sequence[Carry], pad: Callable[[int], int], room: int
    ) -> None:
        self.signature = signature
        self._runner = runner
        self._fed_back = {c.input: c.output for c in carries if c.output is not None}
        self._stay = frozenset(self._fed_back.values())
        self._pad = pad
        self._room = room

    def execute(self, run: LoopStep, clock: Callable[[], float], may_go_on: Callable[[], bool]) -> None:
        """Put the inputs together, run, and note outputs or errors in ``run``. Runs in a lane.

        After a step that changes nothing about the batch the next one follows at once, while ``may_go_on`` allows it.
        """
        try:
            steady = run.batch.steady
            if steady is None:
                steady = run.batch.steady = SteadyRun(run.batch, self._gather(run.batch))
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
            if run.outputs:
                self.feed_back(run)
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
        begins = itertools.accumulate((span.slots for span in spans[:-1]), initial=0)
        are_in_order = all(s.place is place and s.offset == at for s, at in zip(spans, begins, strict=True))
        if place is not None and place.slots == slots and are_in_order:
            return Tensors(place.arrays, slots, place.kept)
        padded = self._pad(slots)
        changing = {*self._fed_back, *(name for span in spans for name in span.sequence.request.changing)}
        kept, moved = self._arrange(batch, padded, changing)
        arrays = {}
        for name in self.signature.inputs:
            whole = kept.get(name)
            if whole is None:
                arrays[name] = self._join(batch, name, padded, name in changing, kept)
                continue
            for span, at in moved:
                np.concatenate([self._part(span, name)], out=whole[at : at + span.slots])
            whole[slots:padded] = whole[slots - 1]
            arrays[name] = whole[:padded]
        batch.kept = kept
        return Tensors(arrays, slots, kept)

    def _arrange(
        self, batch: RunningBatch[LoopSequence], padded: int, changing: Collection[str]
    ) -> tuple[dict[str, np.ndarray], list[tuple[Span[LoopSequence], int]]]:
        """The arrays in which rows of a batch stay, and the spans that do not stay, with the place of each.

        Puts the spans into the order of their places. No arrays where they are not the batch's own, where one is
        ``changing`` now, or where spans have different numbers of slots: then not every span fits into every gap.
        """
        spans, width = batch.spans, batch.spans[0].slots
        kept: dict[str, np.ndarray] = batch.kept or {}
        here = [span.place is not None and span.place.kept is kept for span in spans]
        is_even = all(s.slots == width and not (h and s.offset % width) for s, h in zip(spans, here, strict=True))
        if not kept or not is_even or padded > self._room or not kept.keys().isdisjoint(changing):
            return {}, []
        staying = {s.offset // width: s for s, h in zip(spans, here, strict=True) if h and s.offset < batch.slots}
        others = iter([s for s, h in zip(spans, here, strict=True) if not (h and s.offset < batch.slots)])
        ordered = [staying.get(at) or next(others) for at in range(len(spans))]
        batch.spans = ordered
        return kept, [(span, at * width) for at, span in enumerate(ordered) if at not in staying]

    def _join(
        self, batch: RunningBatch[LoopSequence], name: str, padded: int, changes: bool, kept: dict[str, np.ndarray]
    ) -> np.ndarray:
        """An input for all slots, put together anew. One that no step changes is noted in ``kept``, with its room."""
        parts = [self._part(span, name) for span in batch.spans]
        if padded > batch.slots:
            parts.append(np.repeat(parts[-1][-1:], padded - batch.slots, axis=0))
        if changes or padded > self._room:
            joined = np.concatenate(parts)
            return joined if changes else self._runner.settle(joined)
        whole = np.empty((self._room, *parts[0].shape[1:]), parts[0].dtype)
        joined = np.concatenate(parts, out=whole[:padded])
        settled: np.ndarray = self._runner.settle(joined)
        if settled is joined:  # on a device it is a copy
            kept[name] = whole
        return settled

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
            one = (1,) * len(self.signature.inputs[name].row_shape)
            return np.full((span.slots, *one), request.decoding.begin, np.int64)
        sample = np.asarray(request.by_step[name](slice(span.start, span.start + 1), span.step))
        return np.zeros((span.slots, *sample.shape[1:]), self.signature.dtypes[name])

    def _isolate(self, run: LoopStep, error: BaseException) -> dict[str, np.ndarray]:
        """Run the batch in halves until the spans that fail are alone. Their rows of the outputs are zeros."""
        arrays, spans = run.batch.steady.arrays, run.batch.spans
        padded = len(next(iter(arrays.values())))
        joined: dict[str, np.ndarray] = {}

        def halve(part: Sequence[Span[LoopSequence]], why: BaseException) -> None:
            if len(part) == 1:
                run.lost.append((part[0].sequence, why))
                return
            middle = len(part) // 2
            for half in (part[:middle], part[middle:]):
                low, high = half[0].offset, half[-1].offset + half[-1].slots
                rows = np.minimum(np.arange(low, low + self._pad(high - low)), high - 1)
                try:
                    outputs = self._run({name: array[rows] for name, array in arrays.items()})
                except Exception as cause:  # noqa: BLE001  # as above
                    halve(half, cause)
                    continue
                for name, output in outputs.items():
                    whole = joined.setdefault(name, np.zeros((padded, *output.shape[1:]), output.dtype))
                    whole[low:high] = output[: high - low]

        halve(spans, error)
        return joined

    def feed_back(self, run: LoopStep) -> None:
        """The inputs of the next step as far as this one gives them: where nobody leaves, they are used as they are."""
        arrays = run.batch.steady.arrays
        for taken, given in self._fed_back.items():
            arrays[taken] = run.outputs[given]
        decoding = next((s.sequence.request.decoding for s in run.batch.spans if s.sequence.request.decoding), None)
        if decoding is not None:
            self._choose(run, decoding, arrays)

    def _choose(self, run: LoopStep, decoding: Decoding, arrays: dict[str, np.ndarray]) -> None:
        """The next token of every slot; hypotheses that are given up take the state of those that go on twice."""
        scores, steps = run.outputs[decoding.scores], run.batch.steady.count
        if scores.ndim == 3:
            scores = scores[:, -1]
        special = [span for span in run.batch.spans if span.sequence.is_special]
        if special and not scores.flags.writeable:
            scores = scores.copy()
        for span in special:
            suppress(span, span.step + steps, scores)
        tokens = scores.argmax(axis=1)
        before = arrays[decoding.token]
        if special:
            order = np.arange(len(scores))
            for span in special:
                choose_row_by_row(span, span.step + steps, scores, tokens, order)
            if any(span.sequence.width > 1 for span in special):
                for taken in self._fed_back:
                    arrays[taken] = arrays[taken][order]
                before = before[order]
        if special or decoding.are_logits:
            run.choice = Choice(tokens.tolist(), find_log_probabilities(scores, tokens, decoding.are_logits).tolist())
        else:
            run.choice = Choice(tokens.tolist(), scores.max(axis=1).tolist())
        if decoding.takes_all:
            arrays[decoding.token] = np.concatenate([before, tokens[:, None]], axis=1)
            return
        given = tokens.reshape(before.shape)
        for span in special:
            if span.sequence.request.decoding is None:  # what it begins with stays
                given[span.offset : span.offset + span.slots] = before[span.offset : span.offset + span.slots]
        arrays[decoding.token] = given


def _fill_in(steady: SteadyRun) -> None:
    """What changes with the step."""
    for span in steady.changing:
        step = span.step + steady.count
        for name, value_of in span.sequence.request.by_step.items():
            value = value_of(slice(span.start, span.stop), step)
            many = span.sequence.width > 1 and isinstance(value, np.ndarray) and value.ndim and len(value) > 1
            steady.arrays[name][span.offset : span.offset + span.slots] = (
                np.repeat(value, span.sequence.width, axis=0) if many else value
            )
