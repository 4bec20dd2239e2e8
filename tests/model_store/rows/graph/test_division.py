"""Integer divisions that would end the process are made safe and give the same quotients."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from model_store.rows.analysis import analyse
from model_store.rows.graph.division import with_safe_division
from tests.support.models.text import parse

LEAST = {"int32": -(2**31), "int64": -(2**63)}
TYPES = pytest.mark.parametrize("type_", list(LEAST))


def model(type_: str, body: str = "y = Div(a, b)", functions: str = "", **constants: np.ndarray) -> bytes:
    """y [n] of a and b; inside of a node ``float`` stands for a tensor without a type, which may be left out there."""
    inputs = ", ".join(f"{type_}[n] {name}" for name in "ab" if name not in constants)
    made = parse(f"{inputs} => {type_}[n] y", body, constants, {"": 17, "local": 1}, functions)
    for attribute in (attribute for node in made.graph.node for attribute in node.attribute):
        for value in (*attribute.g.input, *attribute.g.output):
            if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
                value.ClearField("type")
    onnx.checker.check_model(made)
    content: bytes = made.SerializeToString()
    return content


def in_branch(type_: str) -> bytes:
    branches = (
        "then_branch = then () => (float t) { t = Div(a, b) }, else_branch = other () => (float e) { e = Identity(a) }"
    )
    return model(type_, f"yes = Constant<value = bool {{1}}>() y = If<{branches}>(yes)")


def in_loop(type_: str) -> bytes:
    body = "body = body (int64 i, bool go, float x) => (bool on, float z) { on = Identity(go) z = Div(x, b) }"
    return model(type_, f'once = Constant<value_int = 1>() y = Loop<{body}>(once, "", a)')


def in_scan(type_: str) -> bytes:
    return model(
        type_, "y = Scan<num_scan_inputs = 2, body = body (float p, float q) => (float z) { z = Div(p, q) }>(a, b)"
    )


def in_function(type_: str) -> bytes:
    return model(type_, "y = local.ratio(a, b)", "def ratio (a, b) => (y) { y = Div(a, b) }")


PLACES = pytest.mark.parametrize("make", [model, in_branch, in_loop, in_scan, in_function], ids=list("gilsf"))


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
def test_least_number_by_minus_one_does_not_end_the_process(type_: str, make: Callable[[str], bytes]) -> None:
    """It gives the least number, and other quotients stay, wherever the division is."""
    dtype, least = np.dtype(type_), LEAST[type_]
    a = np.array([least, least, 7, -7, 0, least, least], dtype)  # of four at a time some types do not trap
    b = np.array([-1, 1, -1, 2, -1, least, -1], dtype)
    content = make(type_)
    with pytest.raises(SystemExit):
        run(content, a, b)
    found = run(with_safe_division(content), a, b)
    assert found.tolist() == [least, least, -7, -3, 0, 1, least]


@TYPES
def test_constants_do_not_end_the_process_that_loads_them(type_: str) -> None:
    """ONNX Runtime divides them while it loads the file."""
    dtype = np.dtype(type_)
    constants = {"a": np.array([LEAST[type_]], dtype), "b": np.array([-1], dtype)}
    content = model(type_, **constants)
    with pytest.raises(SystemExit):
        run(content, constants["a"], constants["b"])
    assert run(with_safe_division(content), constants["a"], constants["b"]).tolist() == [LEAST[type_]]


@TYPES
def test_division_by_zero_is_an_error_as_before(type_: str) -> None:
    """It is an error of the run, with ONNX Runtime's words."""
    dtype = np.dtype(type_)
    session = ort.InferenceSession(with_safe_division(model(type_)), providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match="Integer division by zero"):
        session.run(None, {"a": np.array([1, 2], dtype), "b": np.array([-1, 0], dtype)})


@PLACES
def test_rows_of_safe_divisions_are_as_independent(make: Callable[[str], bytes]) -> None:
    """The changed graph has the verdict of the original."""
    content = make("int64")
    before, after = analyse(content), analyse(with_safe_division(content))
    assert (after.rows, after.axes) == (before.rows, before.axes)
    if make not in (in_loop, in_scan):  # which are not understood either way
        assert after.rows == "proved"


@pytest.mark.parametrize(
    "content",
    [
        model("float"),
        model("int8"),
        model("uint64"),
        model("int64", b=np.array([2, 0, -3])),
        model("int64", a=np.array([7, -1])),
        model("int64", "s = Shape(b) y = Div(a, s)"),
        model("int64", "y = Mod(a, b)"),
        b"Div, but no model",
    ],
)
def test_what_cannot_end_the_process_stays_as_it_is(content: bytes) -> None:
    """Other types, constants, sizes and operators keep their bytes."""
    assert with_safe_division(content) is content
