"""Which operators of an ONNX file may not survive a tensor without elements."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from onnx import helper

from model_store.rows.graph.operators import FRAGILE, find_fragile
from service.engine.onnx.session import Session
from tests.support.models import graphs
from tests.support.models.text import make_model, parse


def nested(inner: str) -> bytes:
    """An If whose one branch has the operator ``inner``, beside a function of the file that has it too."""
    branches = ", ".join(
        f"{name}_branch = {name} () => (float[n] r) {{ r = {op}(x) }}"
        for name, op in (("then", "Identity"), ("else", inner))
    )
    return parse("bool c, float[n] x => float[n] r", f"r = If<{branches}>(c)", {}, {"": 20}).SerializeToString()


def with_function(inner: str) -> bytes:
    """A file that brings a function with ``inner`` in it."""
    opset = [helper.make_opsetid("", 20)]
    function = helper.make_function("own", "f", ["a"], ["b"], [helper.make_node(inner, ["a"], ["b"])], opset)
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [], [])
    return bytes(helper.make_model(graph, functions=[function]).SerializeToString())


def of_domain(domain: str) -> bytes:
    node = helper.make_node("Gelu", ["x"], ["y"], domain=domain)
    return bytes(helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString())


@pytest.mark.parametrize(
    "content",
    [b"\0\0\0\0ORTM", graphs.add()[:-20], graphs.add()[:-1], b"\x3a\xff", b"\x3a\x05\x0a\x7f\x22\x00\x00", b"\x0b"],
    ids=["ORT's own format", "cut", "one byte short", "length cut", "node beyond its graph", "group"],
)
def test_file_that_cannot_be_read_is_fragile(content: bytes) -> None:
    """Empty tensors are not let into a file that cannot be read."""
    assert find_fragile(content) == "a file that is not in ONNX's own format"


@pytest.mark.parametrize("name", sorted(FRAGILE))
@pytest.mark.parametrize("make", [nested, with_function], ids=["branch", "function"])
def test_fragile_operator_is_found_wherever_it_is(make: Callable[[str], bytes], name: str) -> None:
    """It is found in a graph inside a node, and in a function of the file."""
    assert find_fragile(make(name)) == name
    assert find_fragile(make("Neg")) is None


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml"])
def test_operator_of_another_domain_is_fragile(domain: str) -> None:
    """Operators of other domains are not trusted; ai.onnx is ONNX's own."""
    assert find_fragile(of_domain(domain)) == f"{domain}.Gelu"
    assert find_fragile(of_domain("ai.onnx")) is None


def test_session_knows_what_is_fragile() -> None:
    """The session finds it when it loads the graph."""
    assert (Session(graphs.recurrent()).fragile, Session(graphs.double()).fragile) == ("GRU", None)


def test_weights_are_stepped_over() -> None:
    """Weights that look like a fragile node are not one."""
    weight = np.frombuffer(b"\x22\x04LSTM\0\0", np.uint8)
    content = make_model("=> uint8[8] y", "y = Identity(w)", w=weight)
    assert b"\x22\x04LSTM" in content
    assert find_fragile(content) is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_other_operator_ends_the_process() -> None:
    """Each case of ONNX's own tests raises or answers with each of its axes emptied."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.support.models.emptying"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout.splitlines()[:-1]) == (0, []), found.stdout + found.stderr
