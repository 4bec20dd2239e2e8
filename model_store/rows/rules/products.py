"""Rules for matrix products: operators that sum over one axis of two operands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_store.rows.facts import Fact, Mixing, Rows, Shape, Unknown
from model_store.rows.rules.algebra import broadcast_to, expect_no_rows_along, give_rows
from model_store.rows.rules.elementwise import join
from model_store.rows.sizes import ONE
from model_store.rows.steps import Rule, Step


@dataclass(frozen=True, slots=True)
class _Operand:
    """One side of a product, with its axes in the order of multiplication."""

    dims: Shape
    rows: Rows | None

    @property
    def rank(self) -> int:
        return len(self.dims)


def _read_operand(step: Step, at: int, order: Sequence[int] | None = None) -> _Operand:
    dims, rows = step.fact(at).dims, step.rows(at)
    if order is None:
        return _Operand(dims, rows)
    moved = None if rows is None else rows.at(list(order).index(rows.axis))
    return _Operand(tuple(dims[axis] for axis in order), moved)


def multiply(step: Step, left: int = 0, right: int = 1) -> list[Fact | None]:
    """Matrix products, stacked along the leading axes."""
    return _multiply(step, _read_operand(step, left), _read_operand(step, right))


def _multiply(step: Step, a: _Operand, b: _Operand) -> list[Fact | None]:
    rank = max(a.rank, b.rank, 2)
    rows: Rows | None = None
    for side, contracted in ((a, a.rank - 1), (b, max(b.rank - 2, 0))):
        if side.rows is None:
            continue
        if side.rows.axis == contracted:
            raise Mixing("it sums over the rows")
        if side is b and side.rows.axis < contracted and a.rank == 1:
            raise Unknown("a vector times a stack of matrices")
        rows = join(rows, side.rows.at(side.rows.axis + rank - side.rank))
    step.measures.join(a.dims[-1], b.dims[max(b.rank - 2, 0)])
    if rows is None:
        return give_rows(step, None)
    if a.rows is not None and b.rows is not None and rows.axis >= rank - 2:
        raise Mixing("it combines every row with every other")
    for side in (a, b):
        axis = rows.axis - (rank - side.rank)
        if side.rows is None and rows.axis < rank - 2 and axis >= 0 and side.dims[axis] != ONE:
            raise Unknown("a tensor that is the same for every row has its own length along the rows")
    return give_rows(step, rows)


def _multiply_fused(step: Step) -> list[Fact | None]:
    """FusedMatMul. It may first transpose each side: the last two axes, and the first axis to the last but one
    place."""
    sides = []
    for at, side in enumerate("AB"):
        rank = step.fact(at).rank
        order = list(range(rank))
        if step.attribute(f"transBatch{side}", 0):
            order = [*order[1:-1], 0, rank - 1]
        if step.attribute(f"trans{side}", 0) and rank > 1:
            order[-2:] = order[:-3:-1]
        sides.append(_read_operand(step, at, order))
    return _multiply(step, *sides)


def _multiply_integers(step: Step) -> list[Fact | None]:
    step.expect_fixed(2, 3)
    return multiply(step)


def _multiply_quantized(step: Step) -> list[Fact | None]:
    step.expect_fixed(1, 2, 4, 5, 6, 7)
    return multiply(step, 0, 3)


def multiply_by_fixed(step: Step) -> list[Fact | None]:
    """The second operand and all later inputs must be the same for every row."""
    step.expect_fixed_after(0)
    return multiply(step)


def along_last_axis(step: Step) -> list[Fact | None]:
    """Products with packed weights, along the last axis."""
    step.expect_fixed_after(0)
    rows = step.rows(0)
    if rows is not None and rows.axis == step.fact(0).rank - 1:
        raise Mixing("it sums over the rows")
    return give_rows(step, rows)


def gemm(step: Step) -> list[Fact | None]:
    rows = _gemm_rows(step, 0, 1)
    if step.has(2):
        added = broadcast_to(step, 2, rank=2)
        if added is not None:
            rows = join(rows, added)
        elif rows is not None:
            expect_no_rows_along(step.fact(2), rows, 2)
    return give_rows(step, rows)


def _gemm_rows(step: Step, left: int, right: int) -> Rows | None:
    """The rows in the product of two matrices, each of which may be transposed first. Raises Mixing."""
    a, b = step.rows(left), step.rows(right)
    if a is not None and b is not None:
        raise Mixing("it combines every row with every other")
    if a is not None:
        a = a.at(1 - a.axis if step.attribute("transA", 0) else a.axis)
        if a.axis != 0:
            raise Mixing("it sums over the rows")
    if b is not None:
        b = b.at(1 - b.axis if step.attribute("transB", 0) else b.axis)
        if b.axis != 1:
            raise Mixing("it sums over the rows")
    return a or b


def _gemm_quantized(step: Step) -> list[Fact | None]:
    """QGemm: both matrices with scale and zero point, then a bias, then scale and zero point of the result."""
    step.expect_fixed(1, 2, 4, 5, 6, 7, 8)
    return give_rows(step, _gemm_rows(step, 0, 3))


def _distance(step: Step) -> list[Fact | None]:
    """CDist: the distance of each row of a matrix to each of another."""
    a, b = step.rows(0), step.rows(1)
    if a is not None and b is not None:
        raise Mixing("it combines every row with every other")
    rows = a or b
    if rows is not None and rows.axis != 0:
        raise Mixing("it sums over the rows")
    return give_rows(step, rows if b is None else b.at(1))


def _einsum(step: Step) -> list[Fact | None]:
    terms, result = _read_equation(step)
    rows: Rows | None = None
    letter = ""
    for at, term in enumerate(terms):
        state = step.rows(at)
        if state is None:
            continue
        if term.count(term[state.axis]) > 1:
            raise Mixing("it takes a diagonal of the rows")
        if letter and term[state.axis] != letter:
            raise Mixing("it combines every row with every other")
        letter = term[state.axis]
        rows = join(rows, state.at(0))
    if rows is None:
        return give_rows(step, None)
    if letter not in result:
        raise Mixing("it sums over the rows")
    for at, term in enumerate(terms):
        if step.rows(at) is None and letter in term and step.fact(at).dims[term.index(letter)] != ONE:
            raise Unknown("a tensor that is the same for every row has its own length along the rows")
    return give_rows(step, rows.at(result.index(letter)))


def _read_equation(step: Step) -> tuple[list[str], str]:
    """One letter per axis of every operand and of the result. An ellipsis becomes upper-case Greek letters."""
    equation = step.text("equation").replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if not arrow:
        letters = sorted({c for term in terms for c in term if c.isalpha()})
        result = ("..." if "..." in left else "") + "".join(c for c in letters if left.count(c) == 1)
    hidden = [step.fact(at).rank - len(term.replace("...", "")) for at, term in enumerate(terms)]
    most = max([count for count, term in zip(hidden, terms, strict=True) if "..." in term], default=0)
    greek = "".join(chr(0x391 + i) for i in range(most))
    spelled = [t.replace("...", greek[most - n :] if n else "") for t, n in zip(terms, hidden, strict=True)]
    return spelled, result.replace("...", greek)


RULES: Mapping[str, Rule] = {
    "MatMul": multiply,
    "MatMulInteger": _multiply_integers,
    "QLinearMatMul": _multiply_quantized,
    "Gemm": gemm,
    "Einsum": _einsum,
}

CONTRIB: Mapping[str, Rule] = {
    **dict.fromkeys(("FusedMatMul", "TransposeMatMul"), _multiply_fused),
    **dict.fromkeys(("MatMulIntegerToFloat", "MatMulInteger16"), multiply_by_fixed),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4", "MatMulFpQ4"), along_last_axis),
    "FusedGemm": gemm,
    "QGemm": _gemm_quantized,
    "CDist": _distance,
}
