"""Sizes as polynomials: what they say holds for every value of their symbols."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from model_store.rows.sizes import ONE, Size, Symbol, product, solve

_RUNS = 3
ROWS = Symbol("rows", (1, 3, 5), is_rows=True)
LENGTH = Symbol("length", (8, 8, 16))
CUT = Symbol("cut", (0, 2, 7), minimum=0)
SHIFT = Symbol("shift", (-4, 0, 9), minimum=-1)
SYMBOLS = (ROWS, LENGTH, CUT, SHIFT)

small = st.integers(-6, 6)
terms = st.dictionaries(
    st.lists(st.sampled_from(SYMBOLS), max_size=2).map(lambda symbols: tuple(sorted(symbols))), small, max_size=4
)
sizes = terms.map(Size)
values = st.fixed_dictionaries(
    {ROWS: st.integers(1, 9), LENGTH: st.integers(1, 9), CUT: st.integers(0, 9), SHIFT: st.integers(-9, 9)}
)


def evaluate(size: Size, at: Mapping[Symbol, int]) -> int:
    """The value of a size, computed term by term."""
    total = 0
    for term, factor in size.terms.items():
        for symbol in term:
            factor *= at[symbol]
        total += factor
    return total


@given(sizes, sizes, values)
def test_arithmetic_on_sizes_is_arithmetic_on_their_values(a: Size, b: Size, at: Mapping[Symbol, int]) -> None:
    """Sum, difference and product of sizes have the values of those of their values."""
    left, right = evaluate(a, at), evaluate(b, at)
    assert evaluate(a + b, at) == left + right
    assert evaluate(a - b, at) == left - right
    assert evaluate(a * b, at) == left * right
    assert evaluate(product([a, b, a]), at) == left * right * left


@given(sizes)
def test_measured_value_is_that_of_the_symbols_in_that_run(size: Size) -> None:
    """A size has the value that its symbols had in each measured run."""
    for run in range(_RUNS):
        assert size.at(run) == evaluate(size, {symbol: symbol.values[run] for symbol in SYMBOLS})


@given(sizes, sizes, values)
def test_quotient_times_divisor_is_the_dividend(a: Size, b: Size, at: Mapping[Symbol, int]) -> None:
    """A quotient is exact for every value, and a product divides by its factors."""
    quotient = a.divide(b)
    assert quotient is None or quotient * b == a
    assert not b.terms or (a * b).divide(b) == a
    if quotient is not None:
        assert evaluate(quotient, at) * evaluate(b, at) == evaluate(a, at)


@given(sizes, values)
def test_size_is_never_below_its_least_nor_above_its_most(size: Size, at: Mapping[Symbol, int]) -> None:
    """The bounds hold for lengths, lengths that may be 0, and numbers that may be negative."""
    least, most = size.least(), size.most()
    assert least is None or least <= evaluate(size, at)
    assert most is None or evaluate(size, at) <= most


@given(sizes, values)
def test_part_of_one_row_times_rows_is_the_size(size: Size, at: Mapping[Symbol, int]) -> None:
    """The part of a row times the number of rows is the size, or the size is no multiple of it."""
    part = size.per_row()
    if part is not None:
        assert part * Size.of(ROWS) == size
    else:
        assert not size.has_rows or any(ROWS not in term for term in size.terms)


@given(sizes, sizes, values)
def test_replaced_symbol_has_the_value_of_what_replaces_it(size: Size, other: Size, at: Mapping[Symbol, int]) -> None:
    """A replaced symbol has the value of the size that replaces it."""
    changed = size.replace({CUT: other})
    assert evaluate(changed, at) == evaluate(size, {**at, CUT: evaluate(other, at)})


@given(st.integers(1, 5), st.integers(-9, 9), st.integers(-20, 99), st.integers(1, 99))
def test_solved_limit_is_the_last_length_that_fits(factor: int, shift: int, most: int, length: int) -> None:
    """A length fits exactly when it is not above the limit."""
    size = Size({(LENGTH,): factor, (): shift})
    found = solve(size, most)
    if found:
        assert (evaluate(size, {LENGTH: length}) <= most) == (length <= found[0][1])
    else:
        assert factor + shift > most, "not even a length of 1 fits"


def test_size_of_several_symbols_has_no_limit() -> None:
    """Of two lengths that add up, neither has a limit of its own."""
    assert solve(Size.of(LENGTH) + Size.of(CUT), 64) == []
    assert solve(Size.of(LENGTH) * Size.of(LENGTH), 64) == []
    assert solve(Size.of(ROWS), 64) == []
    assert solve(ONE, 64) == []
