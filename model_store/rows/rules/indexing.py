"""Rules for operators that read or write elements by index."""

from collections.abc import Mapping

from model_store.rows.bounds import is_never_negative
from model_store.rows.facts import FIXED, Counted, Fact, Failed, Mixing, Places, Rows, Selectors, Unknown
from model_store.rows.rules.algebra import avoid, give_rows
from model_store.rows.rules.elementwise import join
from model_store.rows.rules.layout import lying, move
from model_store.rows.sizes import ONE, ZERO, product
from model_store.rows.steps import Rule, Step, norm


def _gather(step: Step) -> list[Fact | None]:
    data, indices = step.fact(0), step.fact(1)
    axis = step.axis(data.rank, 0)
    lies, points = lying(step, 0), lying(step, 1)
    if lies is None:
        if isinstance(points, Rows):
            return [step.give(points.at(points.axis + axis))]
        raise Unknown("the number of a row within its batch picks from a table")
    if points is None:
        return [step.give(_pick_same(lies, axis, indices.rank))]
    if isinstance(points, Places) and isinstance(lies, Rows) and axis == lies.axis:
        return [step.give(_pick_own_block(step, lies, points, axis))]
    if axis == lies.axis:
        raise Mixing("it picks rows of the batch")
    raise Mixing("every row picks from every other")


def _pick_same(lies: Rows | Places | Selectors, axis: int, rank: int) -> Rows | Places | Selectors:
    """Every row picks the same places, along another axis than that of the rows."""
    if lies.axis == axis:
        raise Mixing("it picks rows of the batch by position")
    return move(lies, lies.axis + (rank - 1 if axis < lies.axis else 0))


def _pick_own_block(step: Step, lies: Rows, points: Places, axis: int) -> Rows:
    """Flat indices, such as row · length + position, that stay within the row's own part of the axis."""
    if lies.outer != ONE or points.step != lies.inner:
        raise Mixing("it picks rows of the batch")
    low, high = step.bounds(step.node.inputs[1])
    if not is_never_negative(low) or not is_never_negative(lies.inner - ONE - high):
        raise Unknown("its indices may leave the row's own part")
    return Rows(points.axis + axis, points.outer, points.inner)


def _gather_elements(step: Step) -> list[Fact | None]:
    data, indices = step.rows(0), step.rows(1)
    axis = step.axis(step.fact(0).rank, 0)
    if data is None or indices is None:
        raise Unknown("only one of data and indices has rows")
    both = join(data, indices)
    if both.axis == axis:
        raise Mixing("it picks from other rows")
    return [step.give(both)]


def _scatter_elements(step: Step) -> list[Fact | None]:
    axis = step.axis(step.fact(0).rank, 0)
    joined: Rows | None = None
    for at in range(3):
        state = step.rows(at)
        if state is None:
            raise Unknown("only some of data, indices and updates have rows")
        joined = join(joined, state)
    assert joined is not None  # noqa: S101  # there are three facts
    if joined.axis == axis:
        raise Mixing("it writes into other rows")
    return [step.give(joined)]


def _tuple_length(step: Step) -> int:
    """How many numbers an index tuple has."""
    length = step.fact(1).dims[-1].constant
    if length is None:
        raise Unknown("the length of its index tuples is not known")
    return length


def _gather_nd(step: Step) -> list[Fact | None]:
    data, points = step.rows(0), lying(step, 1)
    rank, shared, length = step.fact(1).rank, step.attribute("batch_dims", 0), _tuple_length(step)
    if points is not None and points.axis == rank - 1:
        raise Mixing("rows lie along the index tuples")
    if isinstance(points, Selectors):
        if shared or data is None or data != Rows(0, ONE, ONE, data.even):
            raise Unknown("the number of a row picks from what is not laid out by rows")
        return [step.give(Rows(points.axis, points.outer, points.inner))]
    if isinstance(points, Places):
        raise Unknown("the number of a row within its batch enters an index")
    if data is None:
        if shared and points is not None and points.axis < shared:
            raise Unknown("a tensor that is the same for every row has its own length along the rows")
        return give_rows(step, points)
    if points is None:
        if data.axis < shared:
            raise Unknown("a tensor that is the same for every row has its own length along the rows")
        if data.axis < shared + length:
            raise Mixing("it picks rows of the batch by position")
        return [step.give(data.at(rank - 1 + data.axis - shared - length))]
    if data.axis < shared and points.axis == data.axis:
        return [step.give(join(data, points))]
    raise Mixing("every row picks from every other")


def _scatter_nd(step: Step) -> list[Fact | None]:
    data, points, updates = step.rows(0), lying(step, 1), step.rows(2)
    rank, length = step.fact(1).rank, _tuple_length(step)
    if isinstance(points, Selectors) and data is not None and data == Rows(0, ONE, ONE, data.even):
        same = updates is not None and (updates.even or (updates.outer, updates.inner) == (points.outer, points.inner))
        if not same or updates is None or updates.axis != points.axis:
            raise Mixing("it writes values of other rows")
        return [step.give(Rows(0, ONE, ONE))]
    if points is not None or data is None:
        raise Unknown("where it writes depends on the rows")
    if data.axis < length:
        raise Mixing("it writes into rows by position")
    if updates is None:
        raise Unknown("fixed values are written into every row")
    return [step.give(join(data, updates.at(updates.axis - (rank - 1) + length)))]


def _one_hot(step: Step) -> list[Fact | None]:
    rows, rank = step.rows(0), step.fact(0).rank
    step.expect_fixed_after(0)
    axis = norm(step.attribute("axis", -1), rank + 1)
    return give_rows(step, None if rows is None else rows.at(rows.axis + (axis <= rows.axis)))


def _reverse_sequence(step: Step) -> list[Fact | None]:
    rows, lengths = step.rows(0), step.rows(1)
    batch, time = step.attribute("batch_axis", 1), step.attribute("time_axis", 0)
    if rows is not None and rows.axis == time:
        raise Mixing("it reverses the batch")
    if rows is None or rows.axis != batch or lengths is None:
        raise Unknown("its lengths are not those of the rows")
    return [step.give(join(rows, lengths.at(batch)))]


def _grid_sample(step: Step) -> list[Fact | None]:
    joined: Rows | None = None
    for at in range(2):
        state = step.rows(at)
        if state is None or state.axis != 0:
            raise Unknown("one side has no rows on axis 0")
        joined = join(joined, state)
    return give_rows(step, joined)


def _align_regions(step: Step) -> list[Fact | None]:
    """RoiAlign: each region names its picture, which must be that of its own row."""
    pictures, regions, points = step.rows(0), step.rows(1), lying(step, 2)
    if pictures is None or regions is None or pictures.axis != 0 or regions.axis != 0:
        raise Unknown("the pictures or the regions have no rows on axis 0")
    own = isinstance(points, Places) and points.step == 1 and step.bounds(step.node.inputs[2]) == (ZERO, ZERO)
    if points is None or not own or (pictures.outer, pictures.inner) != (ONE, ONE):
        raise Unknown("a region may lie in the picture of another row")
    if not regions.even and (regions.outer, regions.inner) != (points.outer, points.inner):
        raise Mixing("a region lies in the picture of another row")
    return give_rows(step, Rows(0, points.outer, points.inner))


def _make_grid(step: Step) -> list[Fact | None]:
    """AffineGrid: a grid for each row's transformation, with a size that all rows share."""
    rows, size = step.rows(0), step.sizes(1)
    if rows is None or rows.axis != 0 or size is None or size[0] != step.fact(0).dims[0]:
        raise Unknown("its size does not fit the rows")
    if any(length.has_rows for length in size[1:]):
        raise Unknown("its size depends on the number of rows")
    return give_rows(step, rows)


def _split_texts(step: Step) -> list[Fact | None]:
    """StringSplit: each text is padded to the longest; the number of its parts is its own."""
    rows = step.rows(0)
    texts = Fact(Failed("mixing", "StringSplit pads each text to the longest of the batch"), None)
    return [texts, *(step.give(rows or FIXED, output=1) for name in step.node.outputs[1:] if name)]


def _spectrum(step: Step) -> list[Fact | None]:
    """DFT, along one axis."""
    step.expect_fixed_after(0)
    rank = step.fact(0).rank
    if step.opset >= 20:
        axes = step.numbers(2) if step.has(2) else [-2]
        if axes is None:
            raise Unknown("its axis is not known")
        axis = norm(axes[0], rank)
    else:
        axis = step.axis(rank, 1)
    return give_rows(step, avoid(step, [axis, rank - 1], "transforms"))


def _short_spectrum(step: Step) -> list[Fact | None]:
    step.expect_fixed_after(0)
    return give_rows(step, avoid(step, range(1, step.fact(0).rank), "transforms"))


def _crop(step: Step) -> list[Fact | None]:
    step.expect_fixed_after(0)
    rank = step.fact(0).rank
    axes = step.attribute("axes")
    places = range(rank) if axes is None else [norm(axis, rank) for axis in axes]
    return give_rows(step, avoid(step, places, "crops or pads"))


def _compress(step: Step) -> list[Fact | None]:
    step.expect_fixed(1)
    rank = step.fact(0).rank
    axis = step.attribute("axis")
    if axis is None:
        raise Mixing("it flattens all axes into one")
    return give_rows(step, avoid(step, [norm(axis, rank)], "drops some"))


def _unpool(step: Step) -> list[Fact | None]:
    """MaxUnpool: indices that were counted in a tensor of the same size per row as the result."""
    rows, places = step.rows(0), step.look(1).state
    if rows is None or not isinstance(places, Counted) or (rows.axis, rows.outer, rows.inner) != (0, ONE, ONE):
        raise Unknown("its indices are not known to be those of the rows")
    sizes = step.sizes(2) if step.has(2) else None
    if step.has(2) and (sizes is None or any(size.has_rows for size in sizes[1:])):
        raise Unknown("the size of its result is not known")
    result = step.give(Rows(0), None if sizes is None else tuple(sizes))
    if product(result.dims[1:]) != places.each:
        raise Mixing("its indices were counted in a tensor of another size")
    return [result]


_DATA_DEPENDENT = "NonZero Unique NonMaxSuppression"
_RANDOM = "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli"


def _random(step: Step) -> list[Fact | None]:
    raise Mixing("it draws random numbers")


def _data_dependent(step: Step) -> list[Fact | None]:
    raise Mixing("the shape of its output depends on the values of all rows")


def _dynamic_scale(step: Step) -> list[Fact | None]:
    raise Mixing("it computes one scale for the whole batch")


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_DATA_DEPENDENT.split(), _data_dependent),
    **dict.fromkeys(_RANDOM.split(), _random),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "ScatterElements": _scatter_elements,
    "Scatter": _scatter_elements,
    "GatherND": _gather_nd,
    "ScatterND": _scatter_nd,
    "OneHot": _one_hot,
    "ReverseSequence": _reverse_sequence,
    "GridSample": _grid_sample,
    "RoiAlign": _align_regions,
    "AffineGrid": _make_grid,
    "StringSplit": _split_texts,
    "DFT": _spectrum,
    "STFT": _short_spectrum,
    "CenterCropPad": _crop,
    "Compress": _compress,
    "MaxUnpool": _unpool,
    "DynamicQuantizeLinear": _dynamic_scale,
}
RANDOM = frozenset(_RANDOM.split())
