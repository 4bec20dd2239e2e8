"""A course under way: what it has come to so far, and how a step takes it on."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from service.engine.course import Course, Path
from service.engine.decoding import Beams, Greedy
from service.engine.slots import Span, Ticket
from service.errors import ServiceError

logger = logging.getLogger("sluice.engine")

Done = Callable[[Path | ServiceError], None]


@dataclass(slots=True, eq=False)
class Journey(Ticket):
    """A course under way, with the one who waits for it. ``done`` is called exactly once, unless the caller cancels."""

    course: Course = field(kw_only=True)
    done: Done = field(kw_only=True)
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    last: dict[str, np.ndarray] = field(default_factory=dict)
    sentences: list[Greedy | Beams] = field(default_factory=list)
    rows_done: int = 0
    began_at: float = math.nan
    compute_s: float = 0.0
    answered: bool = False

    def finish(self, outcome: Path | ServiceError) -> None:
        if self.answered:
            return
        self.answered = True
        try:
            self.done(outcome)
        except Exception:  # the others of the crew must go on whatever one of their callers does
            logger.exception("the receiver of an answer failed")

    def describe(self) -> Path:
        """What it has come to, when the last row has ended."""
        sentences = [sentence.best() for sentence in self.sentences]
        return Path(self.kept, self.last, sentences, self.began_at - self.arrived, self.compute_s)


class Tensors(NamedTuple):
    """Inputs of a step, by name, for the slots of a crew and what they are padded with. Never changed by two crews."""

    arrays: dict[str, np.ndarray]
    slots: int


def advance(
    span: Span[Journey], outputs: Mapping[str, np.ndarray], place: Tensors, at: int, end: int
) -> list[Span[Journey]]:
    """Note what a step gave the rows of a span; returns what of it goes on."""
    journey, course = span.ticket, span.ticket.course
    rows = slice(span.start, span.stop)
    for name in course.keep:
        given = outputs[name]
        whole = journey.kept.get(name)
        if whole is None:
            whole = journey.kept[name] = np.zeros((journey.rows, course.steps, *given.shape[1:]), given.dtype)
        whole[rows, span.step] = given[at : end : journey.width]
    if course.watch is not None:
        _tell(span, outputs, place, at)
    step = span.step + 1
    ends = _find_ends(span, outputs, place, at, step)
    if course.last and ends:
        _note_last(span, outputs, at, ends)
    span.step, span.place, span.offset = step, place, at
    if not ends:
        return [span]
    journey.rows_done += len(ends)
    return [span.cut(first, last) for first, last in _gaps(ends, span.rows)]


def _find_ends(
    span: Span[Journey], outputs: Mapping[str, np.ndarray], place: Tensors, at: int, step: int
) -> Sequence[int]:
    """The rows of a span that have ended, counted from its start."""
    journey = span.ticket
    decoding = journey.course.decoding
    all_end = step == journey.course.steps
    ended = []
    if decoding is not None:
        tokens = place.arrays[decoding.token]
        scores = outputs[decoding.scores]
        for number in range(span.rows):
            sentence = journey.sentences[span.start + number]
            if isinstance(sentence, Greedy):
                token = int(tokens[at + number])
                if sentence.take(token, float(scores[at + number, token])):
                    ended.append(number)
            elif sentence.has_ended:
                ended.append(number)
    return range(span.rows) if all_end else ended


def _note_last(span: Span[Journey], outputs: Mapping[str, np.ndarray], at: int, ends: Sequence[int]) -> None:
    journey = span.ticket
    for name in journey.course.last:
        given = outputs[name]
        whole = journey.last.get(name)
        if whole is None:
            whole = journey.last[name] = np.zeros((journey.rows, *given.shape[1:]), given.dtype)
        for number in ends:
            whole[span.start + number] = given[at + number * journey.width]


def _tell(span: Span[Journey], outputs: Mapping[str, np.ndarray], place: Tensors, at: int) -> None:
    """Show the kept outputs, and the symbol that was chosen, to the one who watches."""
    course, width = span.ticket.course, span.ticket.width
    assert course.watch is not None  # noqa: S101  # asked by the caller
    shown = {name: outputs[name] for name in course.keep}
    if course.decoding is not None:
        shown[course.decoding.token] = place.arrays[course.decoding.token]
    try:
        for number in range(span.rows):
            of_row = {name: array[at + number * width] for name, array in shown.items()}
            course.watch(span.start + number, span.step, of_row)
    except Exception:  # the others of the crew must go on whatever one of their callers does
        logger.exception("the one who watches a course failed")


def _gaps(ends: Sequence[int], rows: int) -> Iterator[tuple[int, int]]:
    """The stretches of 0..``rows`` between the numbers in ``ends``, which rise."""
    first = 0
    for end in (*ends, rows):
        if end > first:
            yield first, end
        first = end + 1
