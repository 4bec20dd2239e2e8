"""The row analysis: graphs that fooled it once, and what it says beside the verdict."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_store.rows import Analysis, analyse
from tests.support.rows import assumed, more_operators, versions
from tests.support.rows.case import Case, between, independent, mixing
from tests.support.rows.counterexample import find_counterexample


def judge(signature: str, body: str, **options: object) -> Analysis:
    """The analysis of a graph in the notation of the suite."""
    return analyse(independent("graph", signature, body, "", **options).model.SerializeToString())


CASES = [*assumed.CASES, *more_operators.CASES, *versions.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_graph_that_could_fool_the_analysis_is_judged_as_it_runs(case: Case) -> None:
    """It is proved exactly where runs show that rows are independent."""
    assert (find_counterexample(case, case.sizes) is None) == (case.truth == "independent")
    found = analyse(case.model.SerializeToString())
    assert (found.rows == "proved") == (case.truth == "independent"), found.reason


def test_batch_sizes_that_are_tried_may_be_sizes_of_the_graph() -> None:
    """An axis as long as a batch that was tried is not taken for the batch."""
    for width in (1, 2, 3, 5):
        assert judge(f"float[N,{width}] x => float[N,{width}] y", f"y = MatMul(x, w[{width},{width}])").axes["y"] == 0
        mixed = judge(f"float[N,{width}] x => float[N,M] y", "t = Transpose(x) y = MatMul(x, t)")
        assert mixed.rows == "mixing"


@pytest.mark.parametrize("opset", [12, 17])
def test_function_with_the_name_of_an_operator_is_not_written_out(opset: int) -> None:
    """ONNX Runtime runs the operator, which scales by the whole batch, so nothing is proved."""
    body = "y = com.microsoft.DynamicQuantizeMatMul(x, u8[4,3], p[3], z)"
    zero = np.array([100, 90, 110], np.uint8)
    case = mixing("quantised", "float[N,4] x => float[N,3] y", body, "", constants={"z": zero})
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    nodes = [
        helper.make_node("DequantizeLinear", ["b", "s", "z"], ["f"]),
        helper.make_node("MatMul", ["a", "f"], ["r"]),
    ]
    names = ["a", "b", "s", "z"]
    function = helper.make_function("com.microsoft", "DynamicQuantizeMatMul", names, ["r"], nodes, opsets)
    case.model.functions.append(function)
    assert find_counterexample(case, (2, 3)) is not None
    assert analyse(case.model.SerializeToString()).rows == "unknown"


def test_nodes_need_not_be_in_order() -> None:
    """ONNX Runtime sorts the nodes, and so does the analysis."""
    model = independent("graph", "float[N,4] x => float[N,4] y", "a = Tanh(x) b = Neg(a) y = Add(a, b)", "").model
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert analyse(model.SerializeToString()).rows == "proved"


def test_default_that_a_caller_may_replace_counts_as_a_constant() -> None:
    """The server takes no value for an initializer that is also an input."""
    model = independent("graph", "float[N,4] x => float[N,4] y", "y = CumSum(x, k)", "", constants={"k": 1}).model
    model.graph.input.append(helper.make_tensor_value_info("k", TensorProto.INT64, []))
    assert analyse(model.SerializeToString()).rows == "proved"


@pytest.mark.parametrize("as_attribute", ["value_int", "value_ints", "value", "sparse_value"])
def test_constant_node_of_any_kind_is_read(as_attribute: str) -> None:
    """An axis is read from every attribute of Constant."""
    verdicts = []
    for axis in (1, 0):
        values = {
            "value_int": axis,
            "value_ints": [axis],
            "value": numpy_helper.from_array(np.array([axis]), "k"),
            "sparse_value": _write_sparse(axis),
        }
        node = helper.make_node("Constant", [], ["k"], **{as_attribute: values[as_attribute]})
        model = independent("graph", "float[N,4] x => float[N,4] y", "y = CumSum(x, k)", "", constants={"k": 1}).model
        del model.graph.initializer[:]
        model.graph.node.insert(0, node)
        verdicts.append(analyse(model.SerializeToString()).rows)
    assert verdicts == ["proved", "mixing"]


def _write_sparse(number: int) -> onnx.SparseTensorProto:
    """A list of one number, of which only those are written that are not 0."""
    numbers = np.array([number] if number else [], np.int64)
    values = helper.make_tensor("k", TensorProto.INT64, [len(numbers)], numbers)
    places = helper.make_tensor("i", TensorProto.INT64, [len(numbers)], np.zeros(len(numbers), np.int64))
    return helper.make_sparse_tensor(values, places, [1])


def test_output_may_be_an_input_or_the_same_for_all_rows() -> None:
    """An input that comes out has its rows; a constant output has none."""
    model = independent("graph", "float[N,4] x => float[N,4] y, float[2] z", "y = Relu(x) z = Identity(w[2])", "").model
    model.graph.output.append(model.graph.input[0])
    found = analyse(model.SerializeToString())
    assert (found.rows, found.axes) == ("proved", {"x": 0, "y": 0})


def test_state_of_layers_has_its_batch_on_axis_1() -> None:
    """Without names, the batch is axis 0 where that is free, else axis 1."""
    body = "g = Gather(h, 0) a = MatMul(x, w[4,3]) b = Add(a, g) y = Tanh(b) k = Unsqueeze(y, [0]) n = Add(h, k)"
    found = judge("float[?,4] x, float[2,?,3] h => float[?,3] y, float[2,?,3] n", body)
    assert (found.rows, found.axes) == ("proved", {"x": 0, "h": 1, "y": 0, "n": 1})


def test_graph_that_runs_at_one_length_only_is_proved_for_that_one() -> None:
    """The verdict says that it holds for that length only."""
    found = judge("float[N,T] x => float[N,2] y", "y = MatMul(x, w[8,2])")
    assert (found.rows, found.sizes, found.only_sizes) == ("proved", {"T": 8}, True)


def test_random_numbers_are_mixing_even_where_no_row_goes_into_them() -> None:
    """They differ from run to run."""
    found = judge("float[N,4] x => float[N,4] y", "r = RandomNormal<shape=[1,4]>() y = Add(x, r)")
    assert (found.rows, found.reason) == ("mixing", "RandomNormal 'r': it draws random numbers")


POSITIONS = "float[N,T,4] x => float[N,T,4] y"
_LENGTH = "s = Shape(x) t = Gather(s, 1) t1 = Slice(s, [1], [2]) "


@pytest.mark.parametrize(
    ("body", "bounds"),
    [
        (_LENGTH + "r = Range(0, t, 1) p = Gather(w[64,4], r) y = Add(x, p)", {"T": 64}),
        (_LENGTH + "r = Range(0, t, 1) o = Add(r, 2) p = Gather(w[64,4], o) y = Add(x, p)", {"T": 62}),
        (_LENGTH + "p = Slice(w[1,64,4], [0], t1, [1]) y = Add(x, p)", {"T": 64}),
        (_LENGTH + "i = Slice(ids, [0], t1, [1]) p = Gather(w[96,4], i) y = Add(x, p)", {"T": 64}),
        (_LENGTH + "p = Slice(w[1,64,4], [0], t1, [1]) e = Expand(p, s) y = Mul(x, e)", {"T": 64}),
        (_LENGTH + "p = Slice(w[1,1,4], [0], t1, [1]) y = Add(x, p)", {}),
        (_LENGTH + "p = Slice(w[1,64,4], [0], t1, [1]) m = ReduceMean<axes=[1], keepdims=1>(p) y = Add(x, m)", {}),
        (_LENGTH + "r = Range(0, t, 1) o = Mod(r, 64) p = Gather(w[64,4], o) y = Add(x, p)", {}),
        (_LENGTH + "r = Range(0, t, 1) o = Min(r, 63) p = Gather(w[64,4], o) y = Add(x, p)", {}),
        ("y = Relu(x)", {}),
    ],
    ids=[
        "table by position", "table by position and offset", "cut table", "table of cut positions", "cut and expanded",
        "table of one position", "mean of a cut table", "positions that start anew", "positions that stop", "none",
    ],
)  # fmt: skip
def test_table_of_positions_bounds_the_length(body: str, bounds: dict[str, int]) -> None:
    """The bound is the longest length at which ONNX Runtime does not fail."""
    ids = np.arange(64).reshape(1, 64)
    case = independent("positions", POSITIONS, body, "", constants={"ids": ids})
    found = analyse(case.model.SerializeToString())
    assert (found.rows, found.bounds) == ("proved", bounds)


def test_positions_that_depend_on_the_text_bound_nothing() -> None:
    """Filler has no positions, so a text may be longer than the table."""
    body = (
        "f = Equal(ids, 1) r = Not(f) m = Cast<to=7>(r) c = CumSum(m, 1) k = Mul(c, m) o = Add(k, 1) "
        "e = Gather(w[99,4], ids) p = Gather(w[64,4], o) y = Add(e, p)"
    )
    found = judge("int64[N,T] ids => float[N,T,4] y", body, draws={"ids": between(2, 99)})
    assert (found.rows, found.bounds, found.ranges) == ("proved", {}, {"ids": (-99, 98)})


def test_table_in_a_branch_bounds_nothing() -> None:
    """The other branch may run."""
    then = "p = Slice(w[1,64,4], [0], t1, [1]) q = Add(x, p)"
    body = _LENGTH + (
        f"c = Less(t, 64) y = If<then_branch = a () => (float[N,T,4] q) {{ {then} }}, "
        "else_branch = b () => (float[N,T,4] r) { r = Relu(x) }>(c)"
    )
    found = judge(POSITIONS, body)
    assert (found.rows, found.bounds) == ("proved", {})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("e = Gather(w[10,4], ids)", (-10, 9)),
        ("o = Add(ids, 3) e = Gather(w[10,4], o)", (-13, 6)),
        ("o = Sub(ids, 1) u = Unsqueeze(o, [1]) q = Squeeze(u, [1]) e = Gather(w[10,4], q)", (-9, 10)),
        ("e = Gather(w[10,4], ids) f = Gather(w[8,4], ids)", (-10, 9)),
        ("a = Gather(w[10,4], ids) b = Gather(w[8,4], ids) e = Add(a, b)", (-8, 7)),
        ("c = Clip(ids, 0, 9) e = Gather(w[10,4], c)", None),
        ("m = Mod(ids, 10) e = Gather(w[10,4], m)", None),
        ("o = Sub(9, ids) e = Gather(w[10,4], o)", None),
    ],
    ids=[
        "table",
        "offset",
        "offset down",
        "table that nothing needs",
        "two tables",
        "clipped",
        "remainder",
        "reversed",
    ],
)
def test_ids_have_the_range_of_their_table(body: str, expected: tuple[int, int] | None) -> None:
    """ONNX Runtime takes every number in the range and none outside of it."""
    found = judge("int64[N,3] ids => float[N,3,4] y", body + " y = Relu(e)")
    assert found.rows == "proved"
    assert found.ranges == ({} if expected is None else {"ids": expected})
