"""Rules for operators that move and repeat elements without computing on them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from model_store.rows.facts import FIXED, Fact, Filled, Fixed, Mixing, Places, Rows, Selectors, Shape, Unknown
from model_store.rows.lengths import broadcast_to, join_ends, resolve
from model_store.rows.sizes import ONE, Size, product
from model_store.rows.steps import Rule, Step, explain, norm

Lying = Rows | Places | Selectors
"""The states with an axis of rows."""


def lying(step: Step, at: int) -> Lying | None:
    """The layout of an input along the batch, index tensors included. Raises Unknown for a mere number of rows."""
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
    """The layout of the rows after a reshape. Raises Mixing if they are spread over several axes or joined."""
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
    """Whether an axis after a reshape is a part of the one before it and of no other axis."""
    ahead = product(after[:place]).divide(product(before[:axis]))
    return ahead is not None and product(after[place + 1 :]).divide(product(before[axis + 1 :])) is not None


def _split_axis(size: Size, ahead: Size, behind: Size, before: Size, after: Size) -> tuple[Size, Size] | None:
    """The parts of an axis outside and inside the rows, from ahead = before · outer and behind = inner · after.

    A reshape keeps the number of elements, so each part follows from the other.
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
    filled = step.look(0)
    if isinstance(filled.state, Filled) and step.attribute("axis", 1) == 1:
        return [filled]
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
            raise Mixing("Squeeze without axes removes the axis of the rows if there is one row")
    gone = {norm(axis, data.rank) for axis in axes}
    if state is not None and state.axis in gone:
        raise Mixing("it removes the axis of the rows")
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
    """Broadcast to a shape. Along the batch, a fixed tensor gives the same for every row."""
    rank = max(data.rank, len(target))
    before = (*[ONE] * (rank - data.rank), *data.dims)
    join_ends(step, data.dims, target)
    after = broadcast_to(data.dims, target)
    batched = [at for at, size in enumerate(after) if size.has_rows]
    state = data.state
    if isinstance(state, Rows | Places | Selectors):
        axis = state.axis + rank - data.rank
        if batched != [axis]:
            raise Mixing("it repeats rows along a second axis as long as the batch")
        return [step.give(move(state, axis), after)]
    if len(batched) != 1:
        raise Unknown("two axes have the length of the batch")
    if before[batched[0]] != ONE:
        raise Unknown("a tensor that is the same for every row has its own length along the rows")
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
        raise Unknown("the number of repetitions is not understood")
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
        raise Unknown("a range depends on the number of rows in a way that is not understood")
    start, end, delta = (limit[0] for limit in limits if limit)
    inner = end.divide(step.measures.rows)
    if start != 0 or delta != 1 or inner is None:
        raise Unknown("a range that depends on the number of rows does not begin with 0 in steps of 1")
    return [step.give(Places(0, ONE, inner, inner), (end,))]


def _same_axes(step: Step) -> list[Fact | None]:
    """Operators on the last two axes, such as triangles and determinants; rows must lie on others."""
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
    "Trilu": _same_axes,
    "Det": _same_axes,
}
