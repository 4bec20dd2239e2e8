"""Numbers that a graph computes from shapes: the analysis knows what ONNX Runtime computes."""

from collections.abc import Mapping

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store.rows.analyst import Analyst
from model_store.rows.facts import Fact
from model_store.rows.graph.samples import layouts
from model_store.rows.sizes import Size
from tests.support.inferring import Plain
from tests.support.rows.case import independent

_OPERATORS = ("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Equal", "Greater", "Less", "GreaterOrEqual", "Where")
_NUMBERS = 6

steps = st.lists(
    st.tuples(st.sampled_from(_OPERATORS), *[st.integers(0, 9)] * 3), min_size=1, max_size=8
)  # fmt: skip


def write(plan: list[tuple[str, int, int, int]]) -> onnx.ModelProto:
    """A graph that computes with the number of rows, two lengths and constants, as the plan says; each number is a
    result, and one of the results has rows."""
    body = "s = Shape(x) v0 = Slice(s, [0], [1]) v1 = Slice(s, [1], [2]) v2 = Slice(s, [2], [3]) "
    body += "v3 = Identity([2]) v4 = Identity([5]) v5 = Identity([1]) "
    names = [f"v{at}" for at in range(_NUMBERS)]
    for operator, *places in plan:
        a, b, c = (names[place % len(names)] for place in places)
        name = f"v{len(names)}"
        if operator == "Where":
            body += f"t{name} = Greater({a}, {b}) {name} = Where(t{name}, {b}, {c}) "
        elif operator in ("Equal", "Greater", "Less", "GreaterOrEqual"):
            body += f"t{name} = {operator}({a}, {b}) {name} = Cast<to=7>(t{name}) "
        elif operator in ("Div", "Mod"):
            body += f"d{name} = Max({b}, [1]) {name} = {operator}({a}, d{name}) "
        else:
            body += f"{name} = {operator}({a}, {b}) "
        names.append(name)
    results = ", ".join(f"int64[1] {name}" for name in names[_NUMBERS:])
    case = independent("plan", f"float[N,T,U] x => float[N,T,U] y, {results}", body + "y = Relu(x)", "")
    return case.model


def know(model: onnx.ModelProto) -> Mapping[str, Fact]:
    """What the proof knows of each tensor."""
    analyst = Analyst(model, {}, [], lambda _: True)
    layout = layouts(analyst.inputs)[0]
    return analyst.prove(layout, analyst.measure(layout)).facts


def read(model: onnx.ModelProto) -> dict[str, int | str | None]:
    """The numbers that are known of the results, sizes in their own notation."""
    known = know(model)
    found: dict[str, int | str | None] = {}
    for output in model.graph.output[1:]:
        values = known[output.name].values
        size = None if values is None else values.reshape(-1)[0]
        found[output.name] = size.constant if isinstance(size, Size) and size.constant is not None else str(size)
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps, st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
def test_known_number_is_what_the_graph_computes_at_any_size(
    plan: list[tuple[str, int, int, int]], rows: int, length: int, width: int
) -> None:
    """At sizes that were not measured, a number equals its polynomial in the inputs' sizes."""
    model = write(plan)
    known, plain = know(model), Plain(model.SerializeToString())
    results = plain.run({"x": np.zeros((rows, length, width), np.float32)})
    symbols = {"rows": rows, "T": length, "U": width}
    for name, array in results.items():
        fact = known[name]
        size = None if fact.values is None else fact.values.reshape(-1)[0]
        if isinstance(size, Size) and all(s.name in symbols for term in size.terms for s in term):
            value = sum(
                factor * int(np.prod([symbols[s.name] for s in term], dtype=np.int64))
                for term, factor in size.terms.items()
            )
            assert value == array[0], f"{name}: {size}"


def test_sums_products_and_what_cancels_out_are_known() -> None:
    """A quotient is known where it is always exact, a remainder where it is always 0."""
    plan = [("Add", 0, 1, 0), ("Mul", 0, 1, 0), ("Div", 7, 0, 0), ("Sub", 8, 1, 0), ("Mod", 7, 1, 0)]
    assert read(write(plan)) == {"v6": "rows+T", "v7": "T·rows", "v8": "T", "v9": 0, "v10": 0}


def test_comparison_is_known_where_it_is_the_same_for_all_sizes() -> None:
    """There is at least one row; a length may be below 2, and may equal another."""
    plan = [("Less", 0, 5, 0), ("Greater", 1, 3, 0), ("Equal", 1, 2, 0), ("GreaterOrEqual", 0, 5, 0)]
    found = read(write(plan))
    assert (found["v6"], found["v9"]) == (0, 1)
    assert not {found["v7"], found["v8"]} & {0, 1}


def test_smaller_of_two_sizes_is_no_constant_although_it_was_always_measured_alike() -> None:
    """The smaller of a length and 2 is 1 at a length of 1, which was not tried."""
    assert not {2, "T"} & set(read(write([("Min", 1, 3, 0)])).values())


def test_what_does_not_fit_its_type_is_not_known() -> None:
    """A number that may overflow its type is not known."""
    body = (
        "s = Shape(x) n = Slice(s, [0], [1]) b = Cast<to=2>(n) v0 = Cast<to=7>(b) "
        "i = Cast<to=6>(n) m = Mul(i, big) v1 = Cast<to=7>(m) f = Cast<to=10>(n) v2 = Cast<to=7>(f) y = Relu(x)"
    )
    constants = {"big": np.array([500_000_000], np.int32)}
    outputs = "float[N,4] y, int64[1] v0, int64[1] v1, int64[1] v2"
    case = independent("types", f"float[N,4] x => {outputs}", body, "", constants=constants)
    assert set(read(case.model).values()) == {"None"}
