"""Rules for operators that compute each element from the elements at the same place, with broadcasting."""

from collections.abc import Mapping, Sequence

from model_store.rows.arithmetic import WHOLE, fits
from model_store.rows.bounds import is_never_negative
from model_store.rows.facts import FIXED, Fact, Fixed, Mixing, Places, Rows, Selectors, Shape, State, Unknown
from model_store.rows.sizes import ONE, Size
from model_store.rows.steps import Rule, Step, explain, norm

_ONE_INPUT = (
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid "
    "HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh "
    "Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu RegexFullMatch"
)
_MORE_INPUTS = (
    "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min "
    "Mod Mul Or PRelu Pow Sub Sum Where Xor StringConcat"
)
_FIRST_INPUT_ONLY = "Clip CastLike"
"""Elementwise in their first input; the other inputs are the same for every element."""


def broadcast(step: Step, places: Sequence[int], rank: int | None = None) -> State:
    """The state of an output whose elements come from operands at the same place, aligned at the last axis.

    Raises Mixing if rows lie on different axes, because that combines every row with every other.
    """
    facts = [step.look(at) for at in places]
    join_lengths(step, facts)
    rank = max(fact.rank for fact in facts) if rank is None else rank
    found: Rows | None = None
    for fact in facts:
        state = fact.state
        if isinstance(state, Fixed):
            continue
        if not isinstance(state, Rows):
            raise Unknown(explain(state))
        found = join(found, state.at(state.axis + rank - fact.rank))
    if found is None:
        return FIXED
    length = found.outer * found.inner
    for fact in facts:
        at = found.axis - (rank - fact.rank)
        if isinstance(fact.state, Rows):
            if fact.state.outer * fact.state.inner != length:
                raise Unknown("axes of the rows have different lengths")
        elif at >= 0 and fact.dims[at] != ONE:
            raise Unknown("a tensor that is the same for every row has its own length along the rows")
    return found


def join(a: Rows | None, b: Rows) -> Rows:
    """The common layout of two operands along the batch. Raises Mixing."""
    if a is None:
        return b
    if a.axis != b.axis:
        raise Mixing(f"rows lie on axis {a.axis} and on axis {b.axis}, so it combines every row with every other")
    if (a.outer, a.inner) == (b.outer, b.inner):
        return Rows(a.axis, a.outer, a.inner, a.even and b.even)
    if a.even or b.even:
        return b if a.even else a
    raise Mixing("rows lie in different orders, so it combines different rows")


def join_lengths(step: Step, facts: Sequence[Fact]) -> None:
    """Aligned lengths are equal, or one of them is 1."""
    for axis in range(1, 1 + max(fact.rank for fact in facts)):
        lengths = [fact.dims[-axis] for fact in facts if fact.rank >= axis and fact.dims[-axis] != ONE]
        for other in lengths[1:]:
            step.measures.join(lengths[0], other)


def broadcast_shape(facts: Sequence[Fact | None]) -> Shape | None:
    """The broadcast shape of the operands, whatever their states; None if it is not known."""
    dims = [fact.shape for fact in facts if fact is not None]
    if not dims or None in dims:
        return None
    known = [shape for shape in dims if shape is not None]
    rank = max(map(len, known))
    result = []
    for axis in range(rank):
        at_axis = {shape[axis - rank] for shape in known if len(shape) >= rank - axis} - {ONE}
        if len(at_axis) > 1:
            return None
        result.append(at_axis.pop() if at_axis else ONE)
    return tuple(result)


def _unary(step: Step) -> list[Fact | None]:
    return step.give_all(step.look(0).state if _keeps_places(step) else _row_state(step, 0))


def _row_state(step: Step, at: int) -> State:
    return step.rows(at) or FIXED


def _keeps_places(step: Step) -> bool:
    keeps = step.node.op == "Identity" or (step.node.op == "Cast" and step.attribute("to") in WHOLE)
    return keeps and isinstance(step.fact(0).state, Places | Selectors)


def _first_only(step: Step) -> list[Fact | None]:
    step.expect_fixed_after(0)
    return step.give_all(_row_state(step, 0))


def _binary(step: Step) -> list[Fact | None]:
    step.read.update(range(len(step.facts)))
    if any(fact is not None and isinstance(fact.state, Places) for fact in step.facts):
        return [step.give(_combine_places(step))]
    return [step.give(broadcast(step, range(len(step.facts))))]


def _combine_places(step: Step) -> State:
    """Sums, and products with a number, keep telling rows apart; a remainder or quotient may not."""
    if step.node.op not in ("Add", "Sub", "Mul", "Div", "Mod"):
        raise Unknown("the number of a row within its batch enters the data")
    left, right = step.fact(0), step.fact(1)
    rank = max(left.rank, right.rank)
    aligned = [_aligned_places(fact, rank) for fact in (left, right)]
    a, b = aligned
    if step.node.op in ("Add", "Sub"):
        return _check_range(step, _add_places(a, b, step.node.op == "Sub"))
    factor = _only_number(right if a is not None else left)
    if a is None or (step.node.op == "Mul" and b is None and not isinstance(left.state, Places)):
        a = b
        if step.node.op != "Mul" or a is None:
            raise Unknown("a number is divided by the position of a row in its batch")
    if factor is None:
        raise Unknown("the position of a row in its batch is combined with several numbers")
    if step.node.op == "Mul":
        return _check_range(step, Places(a.axis, a.outer, a.inner, a.step * factor))
    quotient = a.step.divide(factor)
    positive = is_never_negative(a.step) and is_never_negative(factor - ONE)
    if quotient is None or not positive or not is_never_negative(step.bounds(step.node.inputs[0])[0]):
        raise Unknown("the position of a row in its batch is divided by a number that does not fit")
    if step.node.op == "Div":
        return Places(a.axis, a.outer, a.inner, quotient)
    return Rows(a.axis, a.outer, a.inner)


def _check_range(step: Step, state: State) -> State:
    """Raise Unknown if the numbers may overflow their type."""
    if isinstance(state, Places) and not fits(step, state.step):
        raise Unknown("the position of a row in its batch is multiplied until it may overflow")
    return state


def _aligned_places(fact: Fact, rank: int) -> Places | None:
    state, shift = fact.state, rank - fact.rank
    if isinstance(state, Places):
        return state.at(state.axis + shift)
    if isinstance(state, Rows) and state.even:
        return Places(state.axis + shift, state.outer, state.inner, Size.of(0))
    if isinstance(state, Fixed):
        return None
    raise Unknown("the position of a row in its batch is combined with data")


def _add_places(a: Places | None, b: Places | None, subtract: bool) -> State:
    if b is not None and subtract:
        b = Places(b.axis, b.outer, b.inner, -b.step)
    if a is None or b is None:
        state = a or b
        assert state is not None  # noqa: S101  # one of them is not None
        return state
    same = a.axis == b.axis and a.outer * a.inner == b.outer * b.inner
    if not same or ((a.outer, a.inner) != (b.outer, b.inner) and a.step != 0 and b.step != 0):
        raise Unknown("numbers of rows on different axes are combined")
    keeps = a if a.step != 0 else b
    return Places(keeps.axis, keeps.outer, keeps.inner, a.step + b.step)


def _only_number(fact: Fact) -> Size | None:
    if fact.values is None or fact.values.size != 1 or not isinstance(fact.state, Fixed):
        return None
    value = fact.values.reshape(-1)[0]
    return value if isinstance(value, Size) else None


def trains(step: Step) -> bool:
    """Whether a Dropout may draw random numbers."""
    if step.opset < 12:
        return step.opset < 7
    values = step.facts[2].values if step.has(2) else None  # type: ignore[union-attr]
    return step.has(2) and (values is None or values.reshape(-1)[0] is not False)


def _quantize(step: Step) -> list[Fact | None]:
    """QuantizeLinear and DequantizeLinear: scales for the whole tensor, along an axis, or in blocks."""
    rows, scale = step.rows(0), step.fact(1)
    own = step.rows(1)
    if own is not None and rows is not None and scale.rank == 1:  # one for each row
        if norm(step.attribute("axis", 1), step.fact(0).rank) != rows.axis:
            raise Mixing("the scales of the rows lie along another axis")
        zero = step.rows(2) if step.has(2) else None
        for found in (own, zero):
            rows = rows if found is None else join(rows, found.at(rows.axis))
        return step.give_all(rows)
    step.expect_fixed_after(0)
    if rows is not None and scale.rank:
        several = [size != ONE for size in scale.dims]
        axis = norm(step.attribute("axis", 1), step.fact(0).rank) if any(several) else -1
        if axis == rows.axis or (scale.rank > 1 and several[rows.axis]):
            raise Unknown("scales lie along the rows")
    return step.give_all(rows or FIXED)


def _normalize_strings(step: Step) -> list[Fact | None]:
    if step.attribute("stopwords"):
        raise Mixing("it drops texts, so texts decide the number of rows")
    return step.give_all(_row_state(step, 0))


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_ONE_INPUT.split(), _unary),
    **dict.fromkeys(_MORE_INPUTS.split(), _binary),
    **dict.fromkeys(_FIRST_INPUT_ONLY.split(), _first_only),
    "Dropout": _first_only,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _quantize,
    "StringNormalizer": _normalize_strings,
}
