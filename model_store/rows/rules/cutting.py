"""Operators that join, cut and pad tensors."""

from collections.abc import Mapping, Sequence

from model_store.rows.facts import FIXED, Fact, Fixed, Mixing, Places, Rows, Selectors, Unknown
from model_store.rows.lengths import ENDLESS, compute_shape, cut, read_padding
from model_store.rows.rules.elementwise import join
from model_store.rows.rules.layout import Lying, lying, move
from model_store.rows.sizes import ONE, ZERO, Size
from model_store.rows.steps import Rule, Step, norm


def concat(step: Step) -> list[Fact | None]:
    facts = [step.fact(at) for at in range(len(step.facts))]
    axis = norm(step.attribute("axis", 1), facts[0].rank)
    states = [lying(step, at) for at in range(len(facts))]
    found = [state for state in states if state is not None]
    batch = found[0].axis
    if any(state.axis != batch for state in found):
        raise Mixing("rows lie on different axes")
    after = list(facts[0].dims)
    for fact in facts[1:]:
        after[axis] += fact.dims[axis]
        for at in range(len(after)):
            if at != axis:
                step.measures.join(after[at], fact.dims[at])
    if axis == batch:
        return [step.give(_stack(states), tuple(after))]
    if None in states:
        raise Unknown("a tensor that is the same for every row has its own length along the rows")
    after[batch] = facts[states.index(found[0])].dims[batch]
    if any(isinstance(state, Places | Selectors) for state in found):
        return [step.give(_make_selectors(step, found, axis), tuple(after))]
    joined: Rows | None = None
    for state in found:
        assert isinstance(state, Rows)  # noqa: S101  # the others took another path
        joined = join(joined, state)
    assert joined is not None  # noqa: S101
    return [step.give(joined, tuple(after))]


def _stack(states: Sequence[Lying | None]) -> Rows:
    """Batches one after the other on the same axis, as a guided diffusion step concatenates them."""
    rows = [state for state in states if isinstance(state, Rows)]
    if len(rows) != len(states):
        raise Mixing("it joins the rows, on their axis, with something that is no batch")
    inner = next((state.inner for state in rows if not state.even), rows[0].inner)
    outer = Size.of(0)
    for state in rows:
        blocks = (state.outer * state.inner).divide(inner) if state.even else state.outer
        if blocks is None or (not state.even and state.inner != inner):
            raise Mixing("it joins batches in different orders on the axis of the rows")
        outer += blocks
    if len(rows) > 1 and all(state.even for state in rows):  # each block is even, but blocks differ
        return Rows(rows[0].axis, sum((state.outer * state.inner for state in rows), ZERO), ONE)
    return Rows(rows[0].axis, outer, inner, rows[0].even and len(rows) == 1)


def _make_selectors(step: Step, states: Sequence[Lying], axis: int) -> Selectors:
    """Index tuples that begin with the number of their own row."""
    first, *others = states
    rank = step.fact(0).rank
    numbers_rows = (
        isinstance(first, Places)
        and first.step == 1
        and axis == rank - 1
        and step.fact(0).dims[axis] == ONE
        and step.bounds(step.node.inputs[0]) == (ZERO, ZERO)
    )
    same = all(
        isinstance(state, Rows) and (state.even or (state.outer, state.inner) == (first.outer, first.inner))
        for state in others
    )
    if not numbers_rows or not same:
        raise Unknown("the position of a row in its batch enters an index in a way that is not understood")
    return Selectors(first.axis, first.outer, first.inner)


def _split(step: Step) -> list[Fact | None]:
    data, state = step.fact(0), lying(step, 0)
    axis = step.axis(data.rank, 0)
    lengths = _split_lengths(step, data.dims[axis])
    cuts_rows = state is not None and axis == state.axis
    if not cuts_rows:
        step.expect_fixed_after(0)
    elif lengths is None:
        raise Mixing("it cuts the batch")
    found: list[Fact | None] = []
    for at, name in enumerate(step.node.outputs):
        if not name:
            found.append(None)
            continue
        length = step.measure_axis(axis, free=True, of=at) if lengths is None else lengths[at]
        part = _block(step, state, length) if state is not None and cuts_rows else state
        found.append(step.give(part or FIXED, (*data.dims[:axis], length, *data.dims[axis + 1 :]), at))
    return found


def _split_lengths(step: Step, length: Size) -> list[Size] | None:
    """The lengths of the parts: as given, or all equal; None if not known."""
    if step.has(1):
        return step.sizes(1)
    if step.attribute("split"):
        return [Size.of(part) for part in step.attribute("split")]
    count = len(step.node.outputs)
    even = length.divide(Size.of(count))
    return None if even is None else [even] * count


def _block(step: Step, state: Lying, length: Size) -> Lying:
    """Some of the concatenated batches. Raises Mixing for a part of one."""
    outer = length.divide(step.measures.rows * state.inner)
    if outer is None or isinstance(state, Places | Selectors):
        raise Mixing("it cuts the batch")
    return move(state, state.axis, outer)


def _slice(step: Step) -> list[Fact | None]:
    data, state = step.fact(0), lying(step, 0)
    if state is None:
        raise Unknown("a fixed tensor is cut by the number of rows")
    if step.has(1):
        starts, ends = step.sizes(1), step.sizes(2)
        count = step.fact(1).dims[0].constant or 0
        axes = step.numbers(3) if step.has(3) else list(range(count))
        strides = step.numbers(4) if step.has(4) else [1] * count
    else:
        starts, ends = ([Size.of(n) for n in step.attribute(name)] for name in ("starts", "ends"))
        axes, strides = step.attribute("axes") or list(range(len(starts))), [1] * len(starts)
    if axes is None or strides is None:
        raise Unknown("its axes or strides are not known")
    after = list(data.dims)
    for which, axis in enumerate(norm(axis, data.rank) for axis in axes):
        if axis == state.axis:
            if starts is None or ends is None:
                raise Unknown("where it cuts the batch is not understood")
            state = _cut_rows(step, state, data.dims[axis], starts[which], ends[which], strides[which])
            after[axis] = state.outer * step.measures.rows * state.inner
        else:
            after[axis] = _cut_other(
                step, axis, starts[which] if starts else None, ends[which] if ends else None, strides[which]
            )
    return [step.give(state, tuple(after))]


def _cut_other(step: Step, axis: int, start: Size | None, end: Size | None, stride: int) -> Size:
    """The length that a slice leaves of an axis without rows."""
    before = step.fact(0).dims[axis]
    if start is None or end is None:
        if not all(isinstance(step.fact(at).state, Fixed) for at in (1, 2)):
            raise Unknown("where it cuts depends on the number of rows")
    elif start.has_rows or end.has_rows:
        raise Unknown("where it cuts depends on the number of rows")
    else:
        known = before.constant is not None and start.constant is not None and end.constant is not None
        length = cut(step.measures, before, start, end) if stride == 1 else None
        if length is not None:
            return length
        if known:
            return step.measure_axis(axis, free=False)
    return step.measure_axis(axis, free=True)


def _cut_rows(step: Step, state: Lying, length: Size, start: Size, end: Size, stride: int) -> Lying:
    if stride != 1:
        raise Mixing("it reverses the batch or leaves rows out")
    whole_end = end == length or (end.constant is not None and end.constant >= ENDLESS)
    if start == 0 and whole_end:
        return state
    block = step.measures.rows * state.inner
    begins = start.divide(block)
    ends = (length if whole_end else end).divide(block)
    if begins is None or ends is None or begins.constant is None or ends.constant is None:
        raise Mixing("it cuts the batch")
    blocks = state.outer.constant
    if blocks is None or not 0 <= begins.constant < ends.constant <= blocks:
        raise Mixing("it cuts the batch")
    return _block(step, state, (ends - begins) * block)


def _pad(step: Step) -> list[Fact | None]:
    state = lying(step, 0)
    step.expect_fixed_after(0)
    if state is None:
        raise Unknown("a fixed tensor is padded by the number of rows")
    places, pads = read_padding(step)
    if state.axis in places:
        if pads is None:
            raise Unknown("its padding is not known")
        at = places.index(state.axis)
        if pads[at] != 0 or pads[at + len(places)] != 0:
            raise Mixing("it pads the batch")
    return [step.give(state, compute_shape(step))]


RULES: Mapping[str, Rule] = {"Concat": concat, "Split": _split, "Slice": _slice, "Pad": _pad}
