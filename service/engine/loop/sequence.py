"""A request in a loop: its results so far, and how a step changes them."""

import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from service.engine.loop.decoding import Greedy, Written
from service.engine.loop.request import LoopRequest, LoopResult, Watch
from service.engine.loop.slots import RunningBatch, SlotSequence, Span
from service.errors import ServiceError

logger = logging.getLogger("sluice.engine")

Done = Callable[[LoopResult | ServiceError], None]


@dataclass(slots=True, eq=False)
class LoopSequence(SlotSequence):
    """A request in a loop. ``done`` is called exactly once, unless the caller cancels."""

    request: LoopRequest = field(kw_only=True)
    done: Done = field(kw_only=True)
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    last: dict[str, np.ndarray] = field(default_factory=dict)
    sentences: list[Written] = field(default_factory=list)
    is_special: bool = False
    """Whether its rows do more than take the likeliest token."""
    rows_done: int = 0
    began_at: float = math.nan
    compute_s: float = 0.0
    batch_rows: int = 0
    answered: bool = False

    def finish(self, outcome: LoopResult | ServiceError) -> None:
        if self.answered:
            return
        self.answered = True
        try:
            self.done(outcome)
        except Exception:  # the other requests of the batch must continue
            logger.exception("the receiver of an answer failed")

    def describe(self) -> LoopResult:
        """The result, once the last row has ended."""
        sentences = [sentence.best() for sentence in self.sentences]
        queue_s = max(0.0, self.began_at - self.arrived)
        return LoopResult(self.kept, self.last, sentences, queue_s, self.compute_s, self.batch_rows)


class Choice(NamedTuple):
    """The token of every slot, and its log-probability."""

    tokens: Sequence[int]
    log_probabilities: Sequence[float]


class Tensors(NamedTuple):
    """The inputs of a step by name, for the slots of a batch and their padding.

    ``kept`` has the inputs that no step changes, with room for more slots; ``arrays`` has their used part.
    """

    arrays: dict[str, Any]
    slots: int
    kept: dict[str, np.ndarray]


class SteadyRun:
    """Steps of a batch while no row joins, leaves or ends. Their results are stored for all rows together.

    ``flush`` copies the results of a span to its sequence, before the span changes.
    """

    def __init__(self, batch: RunningBatch[LoopSequence], tensors: Tensors) -> None:
        self.tensors = tensors
        self.count = 0
        self.quiet_steps = sys.maxsize
        """How many steps may be made before rows must be handled one by one."""
        self.changing = [span for span in batch.spans if span.sequence.request.by_step]
        """The spans whose inputs change with the step."""
        self._compute_s = 0.0
        self._kept: dict[str, list[np.ndarray]] = {}
        at = 0
        for span in batch.spans:
            request = span.sequence.request
            singly = request.watch is not None or request.decoding is not None
            self.quiet_steps = min(self.quiet_steps, 1 if singly else request.steps - span.step)
            self._kept.update((name, []) for name in request.keep)
            span.place, span.offset = self, at
            at += span.slots
        self._rows = at
        self._stacked: dict[str, np.ndarray] = {}

    @property
    def arrays(self) -> dict[str, Any]:
        return self.tensors.arrays

    def note(self, outputs: Mapping[str, Any], compute_s: float) -> None:
        """Store the results of one more step."""
        self.count += 1
        self._compute_s += compute_s
        for name, steps in self._kept.items():
            steps.append(outputs[name][:])  # copies a tensor on a device to the host

    def flush(self, span: Span[LoopSequence]) -> None:
        """Copy the results of a span to its sequence."""
        sequence, request = span.sequence, span.sequence.request
        steps = slice(span.step, span.step + self.count)
        for name in request.keep:
            stacked = self._stacked.get(name)
            if stacked is None or len(stacked) != self.count:
                stacked = self._stacked[name] = np.stack(self._kept[name])
            whole = sequence.kept.get(name)
            if whole is None:
                shape = (sequence.rows, request.steps, *stacked.shape[2:])
                whole = sequence.kept[name] = np.zeros(shape, stacked.dtype)
            of_span = stacked[:, span.offset : span.offset + span.slots : sequence.width]
            whole[span.start : span.stop, steps] = of_span.swapaxes(0, 1)
        sequence.compute_s += self._compute_s * span.rows / sequence.rows
        sequence.batch_rows = max(sequence.batch_rows, self._rows)
        span.step += self.count
        span.place = self.tensors


def advance(
    span: Span[LoopSequence], outputs: Mapping[str, np.ndarray], choice: Choice | None = None
) -> list[Span[LoopSequence]]:
    """End the rows of a span that end with this step, after ``flush``. Returns the parts that continue."""
    sequence, request = span.sequence, span.sequence.request
    if request.watch is not None:
        _show(span, request.watch, outputs)
    ends = _find_ends(span, choice)
    for name in request.last if ends else ():
        given = outputs[name]
        whole = sequence.last.get(name)
        if whole is None:
            whole = sequence.last[name] = np.zeros((sequence.rows, *given.shape[1:]), given.dtype)
        for number in ends:
            whole[span.start + number] = given[span.offset + number * sequence.width]
    sequence.rows_done += len(ends)
    return [span.cut(first, last) for first, last in _gaps(ends, span.rows)] if ends else [span]


def _find_ends(span: Span[LoopSequence], choice: Choice | None) -> Sequence[int]:
    """The rows of a span that end, counted from its start."""
    request = span.sequence.request
    ended = []
    if request.decoding is not None and choice is not None:
        for number, sentence in enumerate(span.sequence.sentences[span.start : span.stop]):
            if isinstance(sentence, Greedy):
                slot = span.offset + number
                sentence.take(choice.tokens[slot], choice.log_probabilities[slot])
            if sentence.has_ended:
                ended.append(number)
    return range(span.rows) if span.step == request.steps else ended


def _show(span: Span[LoopSequence], watch: Watch, outputs: Mapping[str, np.ndarray]) -> None:
    """Show the outputs and the chosen token to the watcher."""
    request = span.sequence.request
    shown = {name: outputs[name] for name in (*request.keep, *request.show)}
    if request.decoding is not None:
        shown[request.decoding.token] = span.place.arrays[request.decoding.token]
    try:
        for number in range(span.rows):
            of_row = {name: array[span.offset + number * span.sequence.width] for name, array in shown.items()}
            watch(span.start + number, span.step - 1, of_row)
    except Exception:  # the other requests of the batch must continue
        logger.exception("the watcher of a loop request failed")


def _gaps(ends: Sequence[int], rows: int) -> Iterator[tuple[int, int]]:
    """The ranges of 0..``rows`` between the numbers in ``ends``, which must ascend."""
    first = 0
    for end in (*ends, rows):
        if end > first:
            yield first, end
        first = end + 1
