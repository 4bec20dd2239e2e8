"""Rules for sequences of tensors and optional tensors, with a fact for each tensor in them."""

import dataclasses
from collections.abc import Mapping

from model_store.rows.facts import FIXED, Fact, Fixed, Mixing, Rows, Unknown
from model_store.rows.rules.cutting import concat
from model_store.rows.rules.elementwise import join
from model_store.rows.sizes import Size
from model_store.rows.steps import Rule, Step


def _parts(step: Step, at: int = 0) -> tuple[Fact, ...]:
    parts = step.look(at).parts
    if parts is None:
        raise Unknown("the tensors in the sequence are not known")
    return parts


def _make(step: Step, parts: tuple[Fact, ...]) -> list[Fact | None]:
    """A sequence. It has rows if a part has; ``parts`` has the fact of each part."""
    rows = next((part.state for part in parts if not isinstance(part.state, Fixed)), FIXED)
    return [Fact(rows, None, source=step.source, parts=parts)]


def _construct(step: Step) -> list[Fact | None]:
    return _make(step, tuple(step.look(at) for at in range(len(step.facts))))


def _split(step: Step) -> list[Fact | None]:
    """SplitToSequence along another axis than that of the rows, in parts of known lengths."""
    data, rows = step.fact(0), step.rows(0)
    axis = step.axis(data.rank, 0)
    if rows is not None and rows.axis == axis:
        raise Mixing("it cuts the batch")
    length, given = data.dims[axis].constant, step.numbers(1) if step.has(1) else [1]
    if length is None or given is None or not all(part > 0 for part in given):
        raise Unknown("the number of parts is not known")
    if not step.has(1) or step.fact(1).rank == 0:
        given = [min(given[0], length - at) for at in range(0, length, given[0])]
    keeps = step.has(1) or step.attribute("keepdims", 1)
    before, after = data.dims[:axis], data.dims[axis + 1 :]
    if rows is not None and not keeps:
        rows = rows.at(rows.axis - (axis < rows.axis))
    shapes = [(*before, *([Size.of(part)] if keeps else []), *after) for part in given]
    return _make(step, tuple(Fact(rows or FIXED, shape, source=step.source) for shape in shapes))


def _pick(step: Step) -> list[Fact | None]:
    parts, place = _parts(step), step.numbers(1)
    if place is None or not -len(parts) <= place[0] < len(parts):
        raise Unknown("which part it picks is not known")
    return [dataclasses.replace(parts[place[0]], source=step.source)]


def _insert(step: Step) -> list[Fact | None]:
    """Without a position, the part goes to the end."""
    parts, place = _parts(step), step.numbers(2) if step.has(2) else [len(step.fact(0).parts or ())]
    if place is None or place[0] < 0:
        raise Unknown("the position of the insertion is not known")
    return _make(step, (*parts[: place[0]], step.look(1), *parts[place[0] :]))


def _erase(step: Step) -> list[Fact | None]:
    parts, place = _parts(step), step.numbers(1) if step.has(1) else [-1]
    if place is None or not -len(parts) <= place[0] < len(parts):
        raise Unknown("the part that it removes is not known")
    at = place[0] % len(parts)
    return _make(step, parts[:at] + parts[at + 1 :])


def _concat(step: Step) -> list[Fact | None]:
    """ConcatFromSequence: as Concat, or along a new axis."""
    parts = _parts(step)
    if not step.attribute("new_axis", 0):
        return concat(dataclasses.replace(step, facts=parts))
    rank = parts[0].rank
    axis = step.axis(rank + 1)
    rows: Rows | None = None
    for part in parts:
        if part.rank != rank or not isinstance(part.state, Rows):
            raise Unknown("parts that are not laid out by rows")
        rows = join(rows, part.state)
    if rows is None:
        raise Unknown("an empty sequence")
    shape = (*parts[0].dims[:axis], Size.of(len(parts)), *parts[0].dims[axis:])
    return [step.give(rows.at(rows.axis + (axis <= rows.axis)), shape)]


def _wrap(step: Step) -> list[Fact | None]:
    """Optional and OptionalGetElement return their input."""
    return [dataclasses.replace(step.look(0), source=step.source)]


RULES: Mapping[str, Rule] = {
    "SequenceConstruct": _construct,
    "SplitToSequence": _split,
    "SequenceAt": _pick,
    "SequenceInsert": _insert,
    "SequenceErase": _erase,
    "ConcatFromSequence": _concat,
    **dict.fromkeys(("Optional", "OptionalGetElement"), _wrap),
}
