"""One step of a batch: assemble its inputs, run the graph, and feed its outputs back as inputs of the next step."""

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
    """The run of a batch: one step, or several in a row.

    ``departures`` is that of the slot table when the batch was taken: if it has grown, a row may have left. ``outputs``
    are those of the last step. ``lost`` has the sequences that failed, with their errors, ``finished`` those that end.
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
        """The tokens that the last step has chosen, if its rows write tokens."""
        self.steps = 1
        self.lost: list[tuple[LoopSequence, BaseException]] = []
        self.finished: list[LoopSequence] = []
        self.is_taken_in = False


class StepGraph:
    """Runs a graph in steps. ``carries`` tells which inputs take which outputs; ``pad`` how many rows a batch gets.

    Inputs that no step changes, such as the outputs of an encoder, may be large. So a row is written there only when it
    joins, or when it fills the gap of one that has left. Batches of more than ``room`` rows are assembled anew each
    time.
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
        """Assemble the inputs, run, and store outputs or errors in ``run``. May be called in a lane.

        After a step that does not change the batch the next one follows at once, while ``may_go_on`` allows it.
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
            except Exception as error:  # whatever a model raises is the answer to the request that caused it
                if run.stop.asked:  # nobody waits for it
                    raise
                run.outputs = self._isolate(run, error)
            if run.outputs:
                self.feed_back(run)
        except Exception as error:  # noqa: BLE001  # a fault of the server ends the batch, not the lane
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
        """The batch's tensors: those of the last step if its rows are the same, else assembled anew."""
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
        """The arrays that can be kept, and the spans to write into them, each with its first slot.

        Sorts the spans of the batch by their slots. Returns no arrays if they are not the batch's own, if one of them
        is ``changing`` now, or if spans have different numbers of slots: then not every span fits into every gap.
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
        """An input for all slots, assembled anew. If no step changes it, it is added to ``kept``, with its room."""
        parts = [self._part(span, name) for span in batch.spans]
        if padded > batch.slots:
            parts.append(np.repeat(parts[-1][-1:], padded - batch.slots, axis=0))
        if changes or padded > self._room:
            joined = np.concatenate(parts)
            return joined if changes else self._runner.settle(joined)
        whole = np.empty((self._room, *parts[0].shape[1:]), parts[0].dtype)
        joined = np.concatenate(parts, out=whole[:padded])
        settled: np.ndarray = self._runner.settle(joined)
        if settled is joined:  # else it is a copy on a device
            kept[name] = whole
        return settled

    def _part(self, span: Span[LoopSequence], name: str) -> np.ndarray:
        """The values of an input for the slots of a span. An input from ``by_step`` is filled in later."""
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
        """Run the batch in halves until the spans that fail are alone. The outputs of their rows are zeros."""
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
        """Write the outputs of this step into the inputs of the next, which uses them as they are if no row leaves."""
        arrays = run.batch.steady.arrays
        for taken, given in self._fed_back.items():
            arrays[taken] = run.outputs[given]
        decoding = next((s.sequence.request.decoding for s in run.batch.spans if s.sequence.request.decoding), None)
        if decoding is not None:
            self._choose(run, decoding, arrays)

    def _choose(self, run: LoopStep, decoding: Decoding, arrays: dict[str, np.ndarray]) -> None:
        """Choose the next token of every slot. A hypothesis that is given up takes the state of one that branches."""
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
            if span.sequence.request.decoding is None:  # it keeps the token that it began with
                given[span.offset : span.offset + span.slots] = before[span.offset : span.offset + span.slots]
        arrays[decoding.token] = given


def _fill_in(steady: SteadyRun) -> None:
    """Fill in the inputs that change with the step."""
    for span in steady.changing:
        step = span.step + steady.count
        for name, value_of in span.sequence.request.by_step.items():
            value = value_of(slice(span.start, span.stop), step)
            many = span.sequence.width > 1 and isinstance(value, np.ndarray) and value.ndim and len(value) > 1
            steady.arrays[name][span.offset : span.offset + span.slots] = (
                np.repeat(value, span.sequence.width, axis=0) if many else value
            )
