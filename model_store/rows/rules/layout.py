"""Operators that move, cut, join and repeat elements without computing on them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from model_store.rows.facts import FIXED, Fact, Fixed, Mixing, Places, Rows, Selectors, Shape, Unknown
from model_store.rows.lengths import ENDLESS, broadcast_to, compute_shape, cut, join_ends, read_padding, resolve
from model_store.rows.rules.elementwise import join
from model_store.rows.sizes import ONE, ZERO, Size, product
from model_store.rows.steps import Rule, Step, explain, norm

Lying = Rows | Places | Selectors
"""The states with an axis of rows."""


def lying(step: Step, at: int) -> Lying | None:
    """How an input lies along the batch, what tells rows apart included. Raises Unknown for a mere number of rows."""
    state = step.look(at).state
    if isinstance(state, Rows | Places | Selectors):
        return state
    if isinstance(state, Fixed):
        return None
    raise Unknown(explain(state))


def move(state: Lying, axis: int, outer: Size | None = None, inner: Size | None = None) -> Lying:
    """The same rows on another axis."""
    outer, inner = state.outer if outer is None else outer, state.inner if inner is None else inner
    if isinstance(state, Places):
        return Places(axis, outer, inner, state.step)
    if isinstance(state, Selectors):
        return Selectors(axis, outer, inner)
    return Rows(axis, outer, inner, state.even)


def relay(state: Lying, before: Shape, after: Shape) -> Lying:
    """Where the rows lie after a reshape. Raises Mixing where they are spread over several axes or joined."""
    splits = [(state.outer, state.inner)]
    if isinstance(state, Rows) and state.even:
        splits = [(ONE, state.outer * state.inner), (state.outer * state.inner, ONE)]
    for outer, inner in splits:
        ahead = product(before[: state.axis]) * outer
        behind = product(before[state.axis + 1 :]) * inner
        for axis, size in enumerate(after):
            found = _split_axis(size, ahead, behind, product(after[:axis]), product(after[axis + 1 :]))
            if found is not None:
                moved = move(state, axis, *found)
                if isinstance(moved, Rows) and not _is_within(state.axis, axis, before, after):
                    moved = replace(moved, even=False)
                return moved
    shown = [list(before), list(after)]
    raise Mixing(f"the reshape from {shown[0]} to {shown[1]} joins parts of different rows")


def _is_within(axis: int, place: int, before: Shape, after: Shape) -> bool:
    """Whether an axis after a reshape is a part of the one before it, so that it runs through no other axis."""
    ahead = product(after[:place]).divide(product(before[:axis]))
    return ahead is not None and product(after[place + 1 :]).divide(product(before[axis + 1 :])) is not None


def _split_axis(size: Size, ahead: Size, behind: Size, before: Size, after: Size) -> tuple[Size, Size] | None:
    """What of an axis lies outside and inside of the rows: ahead = before · outer and behind = inner · after.

    A reshape keeps the number of elements, so one of the two follows from the other.
    """
    places = size.per_row()
    if places is None:
        return None
    outer = ahead.divide(before)
    if outer is not None and (inner := places.divide(outer)) is not None:
        return outer, inner
    inner = behind.divide(after)
    if inner is not None and (outer := places.divide(inner)) is not None:
        return outer, inner
    return None


def _reshape(step: Step) -> list[Fact | None]:
    data, state = step.fact(0), lying(step, 0)
    if state is None:
        raise Unknown("a fixed tensor is reshaped by the number of rows")
    target = step.sizes(1) if step.has(1) else [Size.of(size) for size in step.attribute("shape")]
    if target is None:
        raise Unknown("the shape that it is given is not understood")
    after, open_at = resolve(step, data.dims, target)
    if open_at is None:
        step.measures.learn(product(data.dims), product(after))
        return [step.give(relay(state, data.dims, after), after)]
    found = relay(state, data.dims, after)
    if (
        found.axis >= open_at
        or found.outer * product(after[: found.axis]) != product(data.dims[: state.axis]) * state.outer
    ):
        raise Mixing(f"a reshape from {list(data.dims)} to {list(target)} does not keep rows whole for every size")
    return [step.give(found, after)]


def _flatten(step: Step) -> list[Fact | None]:
    data, state = step.fact(0), lying(step, 0)
    axis = step.attribute("axis", 1)
    axis = axis + data.rank if axis < 0 else axis
    after = (product(data.dims[:axis]), product(data.dims[axis:]))
    return [step.give(FIXED if state is None else relay(state, data.dims, after), after)]


def _axes_of(step: Step) -> list[int] | None:
    if step.has(1):
        found = step.numbers(1)
        if found is None:
            raise Unknown("its axes are not known")
        return found
    axes = step.attribute("axes")
    return None if axes is None else list(axes)


def _may_be_one(size: Size) -> bool:
    least = size.least()
    return least is None or least <= 1


def _squeeze(step: Step) -> list[Fact | None]:
    data, state, axes = step.fact(0), lying(step, 0), _axes_of(step)
    if axes is None:
        axes = [at for at, size in enumerate(data.dims) if size == ONE]
        if any(_may_be_one(size) for at, size in enumerate(data.dims) if at not in axes):
            raise Mixing("Squeeze without axes takes the axis of the rows away where there is one row")
    gone = {norm(axis, data.rank) for axis in axes}
    if state is not None and state.axis in gone:
        raise Mixing("it takes the axis of the rows away")
    after = tuple(size for at, size in enumerate(data.dims) if at not in gone)
    return [step.give(FIXED if state is None else move(state, state.axis - sum(at < state.axis for at in gone)), after)]


def _unsqueeze(step: Step) -> list[Fact | None]:
    data, state = step.fact(0), lying(step, 0)
    axes = _axes_of(step) or []
    rank = data.rank + len(axes)
    new = {norm(axis, rank) for axis in axes}
    places = [at for at in range(rank) if at not in new]
    sizes = iter(data.dims)
    after = tuple(ONE if at in new else next(sizes) for at in range(rank))
    return [step.give(FIXED if state is None else move(state, places[state.axis]), after)]


def _transpose(step: Step) -> list[Fact | None]:
    data, state = step.fact(0), lying(step, 0)
    order = list(step.attribute("perm") or reversed(range(data.rank)))
    after = tuple(data.dims[at] for at in order)
    return [step.give(FIXED if state is None else move(state, order.index(state.axis)), after)]


def spread(step: Step, data: Fact, target: Sequence[Size]) -> list[Fact | None]:
    """Broadcast to a shape: along the batch a fixed tensor gives the same for every row."""
    rank = max(data.rank, len(target))
    before = (*[ONE] * (rank - data.rank), *data.dims)
    join_ends(step, data.dims, target)
    after = broadcast_to(data.dims, target)
    batched = [at for at, size in enumerate(after) if size.has_rows]
    state = data.state
    if isinstance(state, Rows | Places | Selectors):
        axis = state.axis + rank - data.rank
        if batched != [axis]:
            raise Mixing("it spreads rows along a second axis as long as the batch")
        return [step.give(move(state, axis), after)]
    if len(batched) != 1:
        raise Unknown("two axes have the length of the batch")
    if before[batched[0]] != ONE:
        raise Unknown("a fixed tensor lies along the rows")
    length = after[batched[0]].divide(step.measures.rows)
    if length is None:
        raise Unknown("an axis is not a whole multiple of the rows")
    return [step.give(Rows(batched[0], ONE, length, even=True), after)]


def _expand(step: Step) -> list[Fact | None]:
    lying(step, 0)
    target = step.sizes(1)
    if target is None:
        raise Unknown("the shape that it is given is not understood")
    return spread(step, step.fact(0), target)


def _constant_of_shape(step: Step) -> list[Fact | None]:
    target = step.sizes(0)
    if target is None:
        raise Unknown("the shape that it is given is not understood")
    return spread(step, Fact(FIXED, ()), target)


def _tile(step: Step) -> list[Fact | None]:
    data, repeats = step.fact(0), step.sizes(1)
    if repeats is None:
        raise Unknown("how often it repeats is not understood")
    after = tuple(size * times for size, times in zip(data.dims, repeats, strict=True))
    state = lying(step, 0)
    if state is not None:
        if any(times.has_rows for times in repeats):
            raise Mixing("it repeats rows as often as there are rows")
        return [step.give(move(state, state.axis, repeats[state.axis] * state.outer), after)]
    batched = [at for at, size in enumerate(after) if size.has_rows]
    if len(batched) != 1:
        raise Unknown("two axes have the length of the batch")
    axis = batched[0]
    left = repeats[axis].divide(step.measures.rows)
    if left is None:
        raise Unknown("an axis is not a whole multiple of the rows")
    inner = left * data.dims[axis]
    return [step.give(Rows(axis, ONE, inner, even=data.dims[axis] == ONE), after)]


def _range(step: Step) -> list[Fact | None]:
    limits = [step.sizes(at) for at in range(3)]
    if None in limits or not limits[0] or not limits[1] or not limits[2]:
        raise Unknown("a range by the number of rows that is not understood")
    start, end, delta = (limit[0] for limit in limits if limit)
    inner = end.divide(step.measures.rows)
    if start != 0 or delta != 1 or inner is None:
        raise Unknown("a range by the number of rows that does not begin with 0 in steps of 1")
    return [step.give(Places(0, ONE, inner, inner), (end,))]


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
        raise Unknown("a fixed tensor lies along the rows")
    after[batch] = facts[states.index(found[0])].dims[batch]
    if any(isinstance(state, Places | Selectors) for state in found):
        return [step.give(_make_selectors(step, found, axis), tuple(after))]
    joined: Rows | None = None
    for state in found:
        assert isinstance(state, Rows)  # noqa: S101  # the others went another way
        joined = join(joined, state)
    assert joined is not None  # noqa: S101
    return [step.give(joined, tuple(after))]


def _stack(states: Sequence[Lying | None]) -> Rows:
    """Batches behind each other on their own axis, as a guided diffusion step does it."""
    rows = [state for state in states if isinstance(state, Rows)]
    if len(rows) != len(states):
        raise Mixing("something that is no batch is joined to the rows, on their axis")
    inner = next((state.inner for state in rows if not state.even), rows[0].inner)
    outer = Size.of(0)
    for state in rows:
        blocks = (state.outer * state.inner).divide(inner) if state.even else state.outer
        if blocks is None or (not state.even and state.inner != inner):
            raise Mixing("batches in different orders are joined on the axis of the rows")
        outer += blocks
    if len(rows) > 1 and all(state.even for state in rows):  # each block is even, and unlike the others
        return Rows(rows[0].axis, sum((state.outer * state.inner for state in rows), ZERO), ONE)
    return Rows(rows[0].axis, outer, inner, rows[0].even and len(rows) == 1)


def _make_selectors(step: Step, states: Sequence[Lying], axis: int) -> Selectors:
    """Index tuples that begin with the number of the row itself."""
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
        raise Unknown("the number of a row within its batch enters an index that is not understood")
    return Selectors(first.axis, first.outer, first.inner)


def _split(step: Step) -> list[Fact | None]:
    data, state = step.fact(0), lying(step, 0)
    axis = step.axis(data.rank, 0)
    if state is None or axis != state.axis:
        step.expect_fixed_after(0)
        return step.give_all(FIXED if state is None else state)
    count = len(step.node.outputs)
    lengths = step.sizes(1) if step.has(1) else None
    if not step.has(1):
        even = data.dims[axis].divide(Size.of(count))
        lengths = None if step.attribute("split") or even is None else [even] * count
    if lengths is None:
        raise Mixing("it cuts the batch")
    return [
        step.give(_block(step, state, length), (*data.dims[:axis], length, *data.dims[axis + 1 :]), at)
        for at, length in enumerate(lengths)
        if step.node.outputs[at]
    ]


def _block(step: Step, state: Lying, length: Size) -> Lying:
    """Some of the batches that lie behind each other. Raises Mixing for a part of one."""
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


def _same_axes(step: Step) -> list[Fact | None]:
    """Operators on the last two axes, which the rows must not be: triangles, determinants."""
    step.expect_fixed_after(0)
    data, state = step.fact(0), step.rows(0)
    if state is not None and state.axis >= data.rank - 2:
        raise Mixing("rows lie on one of the last two axes")
    return step.give_all(state or FIXED)


RULES: Mapping[str, Rule] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Tile": _tile,
    "Range": _range,
    "Concat": concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Trilu": _same_axes,
    "Det": _same_axes,
}
