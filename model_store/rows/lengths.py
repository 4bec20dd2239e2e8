"""Computes the shape of an operator's output for every size, if the operands show it."""

from collections.abc import Callable, Mapping, Sequence

from model_store.rows.bounds import is_never_negative
from model_store.rows.facts import Mixing, Shape, Unknown
from model_store.rows.measures import Measures
from model_store.rows.sizes import ONE, Size, product
from model_store.rows.steps import Step, norm

ENDLESS = 1 << 29
"""A slice that ends here or later goes to the end of the axis. Exporters write several large numbers for that, and no
tensor has so many rows."""


def compute_shape(step: Step) -> Shape | None:
    """The shape of the first output of an operator that computes lengths; None if it is not known."""
    rule = _OPERATORS.get(step.node.op) if not step.node.domain else None
    return None if rule is None else rule(step)


def cut(measures: Measures, length: Size, start: Size, end: Size) -> Size | None:
    """The length that a slice in steps of 1 leaves; None if sizes decide whether a place counts from the end.

    If the slice begins behind its end, nothing is left, and the result is negative.
    """
    first, last = (_find_place(measures, length, place) for place in (start, end))
    return None if first is None or last is None else last - first


def _find_place(measures: Measures, length: Size, place: Size) -> Size | None:
    """Where a slice cuts. Negative places count from the end, and none lies beyond the axis."""
    if place.constant is not None and place.constant >= ENDLESS:
        return length
    if place == 0:
        return place
    if is_never_negative(place):
        return find_smaller(measures, length, place)
    return length - find_smaller(measures, length, -place) if is_never_negative(-place) else None


def find_smaller(measures: Measures, a: Size, b: Size) -> Size:
    """The smaller of two sizes."""
    if is_never_negative(a - b):
        return b
    if is_never_negative(b - a):
        return a
    pairs = zip(measures.values_of(a), measures.values_of(b), strict=True)
    smaller = measures.derive("Min", (a, b), tuple(map(min, pairs)))
    measures.note_smaller(smaller, a, b)
    return smaller


def resolve(step: Step, before: Shape, target: Sequence[Size]) -> tuple[Shape, int | None]:
    """The shape after a reshape: 0 keeps a size, -1 takes the rest.

    Also returns the position of the -1 if the rest is known only from measurements, else None.
    """
    allow_zero = bool(step.attribute("allowzero", 0))
    after = [before[at] if size == 0 and not allow_zero else size for at, size in enumerate(target)]
    if -1 not in [size.constant for size in after]:
        return tuple(after), None
    open_at = [size.constant for size in after].index(-1)
    left = step.measures.divide(product(before), product(size for at, size in enumerate(after) if at != open_at))
    if left is not None:
        return (*after[:open_at], left, *after[open_at + 1 :]), None
    try:
        left = step.measure_axis(open_at, free=True)
    except Unknown:
        raise Mixing(f"a reshape from {list(before)} to {after} does not keep rows whole for every size") from None
    return (*after[:open_at], left, *after[open_at + 1 :]), open_at


def broadcast_to(before: Shape, target: Sequence[Size]) -> Shape:
    """The shape that Expand gives."""
    rank = max(len(before), len(target))
    before = (*[ONE] * (rank - len(before)), *before)
    wanted = (*[ONE] * (rank - len(target)), *target)
    return tuple(b if w == ONE else w for b, w in zip(before, wanted, strict=True))


def _reshape(step: Step) -> Shape | None:
    target = step.sizes(1) if step.has(1) else [Size.of(size) for size in step.attribute("shape")]
    if target is None:
        return None
    after, open_at = resolve(step, step.fact(0).dims, target)
    return after if open_at is None else None


def _expand(step: Step) -> Shape | None:
    target = step.sizes(1)
    if target is None:
        return None
    join_ends(step, step.fact(0).dims, target)
    return broadcast_to(step.fact(0).dims, target)


def join_ends(step: Step, before: Sequence[Size], target: Sequence[Size]) -> None:
    """Lengths that are aligned at their end are equal, or one of them is 1."""
    for one, other in zip(reversed(before), reversed(target), strict=False):
        if ONE not in (one, other):
            step.measures.join(one, other)


def _fill(step: Step) -> Shape | None:
    target = step.sizes(0)
    return None if target is None else tuple(target)


def _tile(step: Step) -> Shape | None:
    repeats = step.sizes(1)
    if repeats is None:
        return None
    return tuple(size * times for size, times in zip(step.fact(0).dims, repeats, strict=True))


def _range(step: Step) -> Shape | None:
    limits = [step.sizes(at) for at in range(3)]
    if None in limits or limits[2] != [ONE]:
        return None
    [start], [end] = limits[0] or [], limits[1] or []
    return (end - start,)


def _concat(step: Step) -> Shape:
    after = list(step.fact(0).dims)
    axis = step.axis(len(after), 1)
    for at in range(1, len(step.facts)):
        after[axis] += step.fact(at).dims[axis]
    return tuple(after)


def _slice(step: Step) -> Shape | None:
    after = list(step.fact(0).dims)
    if not step.has(1):
        return None
    starts, ends = step.sizes(1), step.sizes(2)
    if starts is None or ends is None:
        return None
    axes = step.numbers(3) if step.has(3) else list(range(len(starts)))
    if axes is None or (step.has(4) and set(step.numbers(4) or [0]) != {1}):
        return None
    for start, end, axis in zip(starts, ends, (norm(axis, len(after)) for axis in axes), strict=True):
        length = cut(step.measures, after[axis], start, end)
        if length is None:
            length = step.measure_axis(axis, free=True)
        _note_cut(step, length, after[axis], start, end)
        after[axis] = length
    return tuple(after)


def _note_cut(step: Step, length: Size, before: Size, start: Size, end: Size) -> None:
    """Note that a slice of a constant to a free length is no longer than the constant."""
    most = before.constant
    if start == 0 and most is not None and is_never_negative(end):
        step.measures.note_cut(length, end, most)


def read_padding(step: Step) -> tuple[list[int], list[Size] | None]:
    """The axes that Pad pads, and the padding at their starts and then at their ends. Raises Unknown."""
    rank = step.fact(0).rank
    axes = step.numbers(3) if step.has(3) else list(range(rank))
    if axes is None:
        raise Unknown("its axes are not known")
    given = step.attribute("pads") or step.attribute("paddings") or ()
    return [norm(axis, rank) for axis in axes], step.sizes(1) if step.has(1) else [Size.of(pad) for pad in given]


def _pad(step: Step) -> Shape | None:
    axes, pads = read_padding(step)
    if pads is None:
        return None
    after = list(step.fact(0).dims)
    for at, axis in enumerate(axes):
        after[axis] += pads[at] + pads[at + len(axes)]
    return tuple(after)


def _flatten(step: Step) -> Shape:
    dims, axis = step.fact(0).dims, step.attribute("axis", 1)
    axis = axis + len(dims) if axis < 0 else axis
    return product(dims[:axis]), product(dims[axis:])


_OPERATORS: Mapping[str, Callable[[Step], Shape | None]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Expand": _expand,
    "ConstantOfShape": _fill,
    "Tile": _tile,
    "Range": _range,
    "Concat": _concat,
    "Slice": _slice,
    "Pad": _pad,
}
