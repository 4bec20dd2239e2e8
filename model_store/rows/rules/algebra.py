"""Products, reductions, normalisations and convolutions: operators that compute along some axes."""

from collections.abc import Mapping, Sequence

from model_store.rows.facts import FIXED, Counted, Fact, Failed, Fixed, Mixing, Rows, Unknown
from model_store.rows.rules.elementwise import join
from model_store.rows.sizes import ONE, Size, product
from model_store.rows.steps import Rule, Step, norm


def keep(step: Step, *, least_axis: int = 0, most_axis: int | None = None) -> list[Fact | None]:
    """Outputs are laid out like the first input, whose rows must be on an axis in this range. Other inputs must be
    fixed."""
    step.expect_fixed_after(0)
    return give_rows(step, expect_on(step, least_axis, most_axis))


def expect_on(step: Step, least_axis: int = 0, most_axis: int | None = None, at: int = 0) -> Rows | None:
    rows = step.rows(at)
    if rows is not None and not least_axis <= rows.axis <= (least_axis if most_axis is None else most_axis):
        raise Mixing(f"it computes along axis {rows.axis}, on which the rows lie")
    return rows


def give_rows(step: Step, rows: Rows | None) -> list[Fact | None]:
    return step.give_all(rows or FIXED)


def avoid(step: Step, axes: Sequence[int], what: str) -> Rows | None:
    """The rows of the first input, which must not lie on these axes. Raises Mixing."""
    rows = step.rows(0)
    if rows is not None and rows.axis in axes:
        raise Mixing(f"it {what} over the rows")
    return rows


def broadcast_to(step: Step, at: int, rank: int) -> Rows | None:
    """The rows of an input after it is aligned at its end with ``rank`` axes."""
    state = step.rows(at)
    return None if state is None else state.at(state.axis + rank - step.fact(at).rank)


def expect_no_rows_along(fact: Fact, rows: Rows, rank: int) -> None:
    """Raise Unknown if a tensor that is the same for every row has a length of its own along the rows."""
    axis = rows.axis - (rank - fact.rank)
    if axis >= 0 and fact.dims[axis] != ONE:
        raise Unknown("a tensor that is the same for every row has its own length along the rows")


def _first_axis(step: Step) -> list[Fact | None]:
    """Convolutions and pools: the batch is axis 0; everything else is computed along or mixed."""
    return keep(step)


def _convolve(step: Step) -> list[Fact | None]:
    if step.rows(1) is not None:
        raise Unknown("its weights depend on the rows")
    return keep(step)


def _batch_normalize(step: Step) -> list[Fact | None]:
    if step.attribute("training_mode", 0) or (step.opset < 14 and sum(map(bool, step.node.outputs)) > 1):
        raise Mixing("it takes mean and variance over the batch")
    if step.opset < 7:
        raise Unknown("a version that may train")
    step.expect_fixed_after(0)
    rows = step.rows(0)
    if rows is not None and rows.axis == 1 and step.fact(0).rank > 1:
        raise Unknown("rows lie on the axis of the channels")
    return give_rows(step, rows)


def _layer_normalize(step: Step) -> list[Fact | None]:
    rank = step.fact(0).rank
    axis = norm(step.attribute("axis", -1), rank)
    step.expect_fixed_after(0)
    rows = expect_on(step, 0, axis - 1) if axis else avoid(step, range(rank), "normalises")
    for at in range(1, len(step.facts)):
        if rows is not None and step.has(at):
            expect_no_rows_along(step.fact(at), rows, rank)
    return give_rows(step, rows)


def _mean_variance(step: Step) -> list[Fact | None]:
    rank = step.fact(0).rank
    axes = step.attribute("axes") or ([0, 2, 3] if rank == 4 else [0, 2, 3, 4])
    return give_rows(step, avoid(step, [norm(axis, rank) for axis in axes], "normalises"))


def _lp_normalize(step: Step) -> list[Fact | None]:
    return give_rows(step, avoid(step, [step.axis(step.fact(0).rank, -1)], "normalises"))


def _softmax(step: Step) -> list[Fact | None]:
    """Before version 13, Softmax computes along all axes from ``axis`` on."""
    rank = step.fact(0).rank
    if step.opset >= 13:
        return give_rows(step, avoid(step, [step.axis(rank, -1)], "normalises"))
    return give_rows(step, avoid(step, range(step.axis(rank, 1), rank), "normalises"))


def _reduce(step: Step) -> list[Fact | None]:
    rank, rows = step.fact(0).rank, step.rows(0)
    step.expect_fixed_after(0)
    axes = step.numbers(1) if step.has(1) else list(step.attribute("axes") or ())
    if axes is None:
        raise Unknown("the axes are not known")
    if not axes and step.attribute("noop_with_empty_axes", 0):
        return give_rows(step, rows)
    gone = {norm(axis, rank) for axis in axes} or set(range(rank))
    rows = avoid(step, sorted(gone), "computes one number")
    if rows is not None and not step.attribute("keepdims", 1):
        rows = rows.at(rows.axis - sum(at < rows.axis for at in gone))
    return give_rows(step, rows)


def _arg(step: Step) -> list[Fact | None]:
    rank = step.fact(0).rank
    axis = step.axis(rank, 0)
    rows = avoid(step, [axis], "picks one place")
    if rows is not None and axis < rows.axis and not step.attribute("keepdims", 1):
        rows = rows.at(rows.axis - 1)
    return give_rows(step, rows)


def _top_k(step: Step) -> list[Fact | None]:
    step.expect_fixed_after(0)
    return give_rows(step, avoid(step, [step.axis(step.fact(0).rank, -1)], "sorts"))


def _cumulate(step: Step) -> list[Fact | None]:
    axes = step.numbers(1)
    if axes is None:
        raise Unknown("its axis is not known")
    return give_rows(step, avoid(step, [norm(axes[0], step.fact(0).rank)], "sums up"))


def _resize(step: Step) -> list[Fact | None]:
    """Resize and Upsample: the batch must keep its length, and other factors must not depend on the rows."""
    rows = step.rows(0)
    if rows is None:
        raise Unknown("a fixed tensor is resized by the number of rows")
    rank, axes = step.fact(0).rank, step.attribute("axes")
    places = [norm(axis, rank) for axis in axes] if axes is not None else list(range(rank))
    crops = step.text("coordinate_transformation_mode") == "tf_crop_and_resize"
    if rows.axis in places and crops:
        raise Unknown("it crops")
    if step.text("keep_aspect_ratio_policy", "stretch") != "stretch" and rows.axis in places:
        raise Unknown("one scale holds for several axes")
    if step.node.op == "Upsample" and step.opset < 9:
        factors: list[object] | None = [Size.of(1) if scale == 1 else None for scale in step.attribute("scales")]
        unchanged = ONE
    else:
        at, unchanged = _read_factors(step, rows)
        factors = _list_elements(step, at)
    for place, factor in enumerate(factors or places):
        if places[place] == rows.axis:
            if factors is None or unchanged != factor:
                raise Mixing("it resizes the batch")
        elif isinstance(factor, Size) and factor.has_rows:
            raise Unknown("it resizes by the number of rows")
    return give_rows(step, rows)


def _read_factors(step: Step, rows: Rows) -> tuple[int, Size]:
    """The input that holds the factors or sizes, and the value that it must have for the batch."""
    if step.opset < 11:  # before version 11: the data and the scales
        return 1, ONE
    if step.has(3) and step.fact(3).dims[0] != 0:
        return 3, step.fact(0).dims[rows.axis]
    return 2, ONE


def _list_elements(step: Step, at: int) -> list[object] | None:
    """The elements of an input, some of which may not be sizes, such as 0.5. Raises Unknown for one that depends on the
    number of rows in an unknown way."""
    fact = step.look(at)
    elements = None if fact.values is None else list(fact.values.reshape(-1))
    if not isinstance(fact.state, Fixed) and (elements is None or None in elements):
        raise Unknown("it resizes by the number of rows")
    return elements


def _deform(step: Step) -> list[Fact | None]:
    step.expect_fixed(1, 3)
    return all_on_first_axis(step, (0, 2, 4))


def all_on_first_axis(step: Step, places: Sequence[int]) -> list[Fact | None]:
    """The rows lie on axis 0 of all these inputs and of every output; see ``read_first_axis``."""
    return give_rows(step, read_first_axis(step, places))


def read_first_axis(step: Step, places: Sequence[int]) -> Rows | None:
    """The rows, on axis 0 of all these inputs. Raises Unknown if an input is fixed, unless its length is 1."""
    rows: Rows | None = None
    for at in places:
        state = step.rows(at) if step.has(at) else None
        if state is not None:
            if state.axis != 0:
                raise Mixing(f"rows lie on axis {state.axis} of input {at}")
            rows = join(rows, state)
    for at in places:
        if rows is not None and step.has(at) and step.rows(at) is None and step.fact(at).dims[:1] not in ((), (ONE,)):
            raise Unknown("a tensor that is the same for every row has its own length along the rows")
    return rows


_COUNTS = Failed("mixing", "MaxPool counts the positions of its maxima over the whole batch")


def _pool(step: Step) -> list[Fact | None]:
    """MaxPool. Its second output counts positions over the whole batch, those of the first row first."""
    first, *others = keep(step)
    rows = step.rows(0)
    if rows is None:
        return [first, *others]
    counted = Counted(product(step.fact(0).dims[1:])) if (rows.outer, rows.inner) == (ONE, ONE) else _COUNTS
    return [first, *(None if other is None else Fact(counted, other.shape) for other in others)]


def _recur(step: Step) -> list[Fact | None]:
    """LSTM, GRU and RNN: [time, batch, features], or batch first with layout 1."""
    layout = step.attribute("layout", 0)
    where = 0 if layout else 1
    rows = step.rows(0)
    if rows is not None and rows.axis != where:
        raise Mixing("the rows lie on the axis of time or of features")
    step.expect_fixed(1, 2, 3, 7)
    for at, axis in ((4, 0), (5, where), (6, where)):
        if not step.has(at):
            continue
        state = step.rows(at)
        if state is None:
            if step.fact(at).dims[axis] != ONE or rows is not None:
                raise Unknown(f"input {at} is the same for all rows, but only for a certain number of rows")
        elif state.axis != axis:
            raise Mixing(f"the rows lie on axis {state.axis} of input {at}")
        else:
            rows = join(rows, state.at(where))
    if rows is None:
        return give_rows(step, None)
    first = rows.at(0 if layout else 2)
    return [
        step.give(first if at == 0 else rows, output=at) if name else None for at, name in enumerate(step.node.outputs)
    ]


def _regroup_channels(step: Step) -> list[Fact | None]:
    """DepthToSpace and SpaceToDepth. The batch is axis 0, or it is folded into the channels in whole blocks per row."""
    rows = step.rows(0)
    if rows is None or rows.axis == 0:
        return give_rows(step, rows)
    block = Size.of(step.attribute("blocksize") ** 2)
    outer: Size | None = rows.outer
    inner: Size | None = rows.inner
    if step.node.op == "SpaceToDepth":
        outer = rows.outer * block
    elif step.text("mode", "DCR") == "CRD":
        inner = rows.inner.divide(block)
    else:
        outer = rows.outer.divide(block)
    if rows.axis != 1 or outer is None or inner is None:
        raise Mixing("it joins parts of different rows")
    return give_rows(step, Rows(1, outer, inner))


_AXIS_0 = (
    "AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool LRN InstanceNormalization "
    "GroupNormalization Col2Im"
)
_REDUCTIONS = (
    "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare"
)

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_AXIS_0.split(), _first_axis),
    **dict.fromkeys(_REDUCTIONS.split(), _reduce),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _softmax),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recur),
    **dict.fromkeys(("Conv", "ConvTranspose", "ConvInteger"), _convolve),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"), _layer_normalize),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _regroup_channels),
    "QLinearConv": keep,
    "DeformConv": _deform,
    "MaxPool": _pool,
    "BatchNormalization": _batch_normalize,
    "MeanVarianceNormalization": _mean_variance,
    "LpNormalization": _lp_normalize,
    "TopK": _top_k,
    "CumSum": _cumulate,
    "CumProd": _cumulate,
}
