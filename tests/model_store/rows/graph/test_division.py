"""A division of whole numbers that would end the process gives what it gives where it does not."""

import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_store.rows.analysis import analyse
from model_store.rows.graph.division import with_safe_division

LEAST = {TensorProto.INT32: -(2**31), TensorProto.INT64: -(2**63)}
TYPES = pytest.mark.parametrize("type_", list(LEAST))
Nodes = Sequence[onnx.NodeProto]
DIV = helper.make_node("Div", ["a", "b"], ["y"])


def untyped(name: str) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto(name=name)


def model(
    type_: int,
    nodes: Nodes,
    functions: Sequence[onnx.FunctionProto] = (),
    constants: dict[str, np.ndarray] | None = None,
) -> bytes:
    constants = constants or {}
    inputs = [helper.make_tensor_value_info(name, type_, ["n"]) for name in "ab" if name not in constants]
    graph = helper.make_graph(
        nodes,
        "division",
        inputs,
        [helper.make_tensor_value_info("y", type_, ["n"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made = helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(made)
    content: bytes = made.SerializeToString()
    return content


def in_branch(type_: int) -> bytes:
    then = helper.make_graph([helper.make_node("Div", ["a", "b"], ["t"])], "then", [], [untyped("t")])
    other = helper.make_graph([helper.make_node("Identity", ["a"], ["e"])], "else", [], [untyped("e")])
    yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("", TensorProto.BOOL, [], [True]))
    return model(type_, [yes, helper.make_node("If", ["yes"], ["y"], then_branch=then, else_branch=other)])


def in_loop(type_: int) -> bytes:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Div", ["x", "b"], ["z"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            untyped("x"),
        ],
        [untyped("on"), untyped("z")],
    )
    once = helper.make_node("Constant", [], ["once"], value_int=1)
    return model(type_, [once, helper.make_node("Loop", ["once", "", "a"], ["y"], body=body)])


def in_scan(type_: int) -> bytes:
    body = helper.make_graph(
        [helper.make_node("Div", ["p", "q"], ["z"])], "body", [untyped("p"), untyped("q")], [untyped("z")]
    )
    return model(type_, [helper.make_node("Scan", ["a", "b"], ["y"], body=body, num_scan_inputs=2)])


def in_function(type_: int) -> bytes:
    function = helper.make_function("own", "Ratio", ["a", "b"], ["y"], [DIV], [helper.make_opsetid("", 17)])
    return model(type_, [helper.make_node("Ratio", ["a", "b"], ["y"], domain="own")], [function])


PLACES = pytest.mark.parametrize(
    "make", [lambda type_: model(type_, [DIV]), in_branch, in_loop, in_scan, in_function], ids=list("gilsf")
)


def run(content: bytes, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """In a process that it may end."""
    program = (
        "import sys, json, numpy as np, onnxruntime as ort\n"
        "content = sys.stdin.buffer.read()\n"
        "session = ort.InferenceSession(content, providers=['CPUExecutionProvider'])\n"
        "a, b = (np.array(each, sys.argv[1]) for each in json.loads(sys.argv[2]))\n"
        "given = {i.name: {'a': a, 'b': b}[i.name] for i in session.get_inputs()}\n"
        "print(session.run(None, given)[0].tolist())\n"
    )
    arguments = [sys.executable, "-c", program, str(a.dtype), str([a.tolist(), b.tolist()])]
    done = subprocess.run(arguments, input=content, capture_output=True, check=False)
    if done.returncode < 0:
        raise SystemExit(done.returncode)
    assert done.returncode == 0, done.stderr.decode()
    return np.array(eval(done.stdout), a.dtype)  # noqa: S307  # a list of numbers


@TYPES
@PLACES
def test_least_number_by_minus_one_does_not_end_the_process(type_: int, make: Callable[[int], bytes]) -> None:
    """It gives the least number, and all other quotients are what they were, wherever the division is."""
    dtype, least = helper.tensor_dtype_to_np_dtype(type_), LEAST[type_]
    a = np.array([least, least, 7, -7, 0, least, least], dtype)  # of four at a time some types do not trap
    b = np.array([-1, 1, -1, 2, -1, least, -1], dtype)
    content = make(type_)
    with pytest.raises(SystemExit):
        run(content, a, b)
    found = run(with_safe_division(content), a, b)
    assert found.tolist() == [least, least, -7, -3, 0, 1, least]


@TYPES
def test_constants_do_not_end_the_process_that_loads_them(type_: int) -> None:
    """ONNX Runtime divides them while it loads the file."""
    dtype = helper.tensor_dtype_to_np_dtype(type_)
    constants = {"a": np.array([LEAST[type_]], dtype), "b": np.array([-1], dtype)}
    content = model(type_, [DIV], constants=constants)
    with pytest.raises(SystemExit):
        run(content, constants["a"], constants["b"])
    assert run(with_safe_division(content), constants["a"], constants["b"]).tolist() == [LEAST[type_]]


@TYPES
def test_division_by_zero_is_an_error_as_before(type_: int) -> None:
    """Of the run, with the words of ONNX Runtime."""
    dtype = helper.tensor_dtype_to_np_dtype(type_)
    session = ort.InferenceSession(with_safe_division(model(type_, [DIV])), providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match="Integer division by zero"):
        session.run(None, {"a": np.array([1, 2], dtype), "b": np.array([-1, 0], dtype)})


@PLACES
def test_rows_of_safe_divisions_are_as_independent(make: Callable[[int], bytes]) -> None:
    """What was proved of a graph is proved of the one that runs."""
    content = make(TensorProto.INT64)
    before, after = analyse(content), analyse(with_safe_division(content))
    assert (after.rows, after.axes) == (before.rows, before.axes)
    if make not in (in_loop, in_scan):  # which are not understood either way
        assert after.rows == "proved"


@pytest.mark.parametrize(
    "content",
    [
        model(TensorProto.FLOAT, [DIV]),
        model(TensorProto.INT8, [DIV]),
        model(TensorProto.UINT64, [DIV]),
        model(TensorProto.INT64, [DIV], constants={"b": np.array([2, 0, -3])}),
        model(TensorProto.INT64, [DIV], constants={"a": np.array([7, -1])}),
        model(
            TensorProto.INT64,
            [helper.make_node("Shape", ["b"], ["s"]), helper.make_node("Div", ["a", "s"], ["y"])],
        ),
        model(TensorProto.INT64, [helper.make_node("Mod", ["a", "b"], ["y"])]),
        b"Div, but no model",
    ],
)
def test_what_cannot_end_the_process_stays_as_it_is(content: bytes) -> None:
    """Other types, constants, sizes and operators: byte for byte."""
    assert with_safe_division(content) is content
