"""Files on which ONNX Runtime ends its process: the server that finds one goes on."""

from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.inferring import Refused, find_difference, infer
from tests.support.models import graphs
from tests.support.processes import served
from tests.support.servers import FAST, settings_for


def transpose_in_float16() -> bytes:
    """ONNX Runtime 1.32 fuses these two, and ends the process on it while it opens the file."""
    shapes = (["length", "batch", 4], ["batch", "length", 4])
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            helper.make_node("MatMul", ["t", "weights"], ["y"]),
        ],
        "float16",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, shapes[0])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, shapes[1])],
        [numpy_helper.from_array(np.eye(4, dtype=np.float16), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def test_file_that_ends_the_process_of_onnx_runtime_leaves_the_server_alive(tmp_path: Path) -> None:
    """The model beside it is served; it is itself refused with the reason, or served with the right numbers."""
    root = tmp_path / "store"
    graphs.write_plain(root, "double", graphs.double())
    graphs.write_plain(root, "crashing", transpose_in_float16())
    x = np.arange(24, dtype=np.float16).reshape(3, 2, 4)
    with (
        served(settings_for(root), FAST) as server,
        httpx.Client(base_url=server.url, timeout=30, verify=False) as client,  # noqa: S501  # plain HTTP
    ):
        try:
            found = find_difference(infer(client, "crashing", {"x": x}), {"y": x.transpose(1, 0, 2)})
        except Refused as refusal:
            found = None if "ends the process" in refusal.reason else refusal.reason
        assert found is None
        doubled = infer(client, "double", {"x": np.ones((1, 3), np.float32)})
        assert find_difference(doubled, {"y": np.full((1, 3), 2, np.float32)}) is None


def test_division_that_ends_the_process_of_onnx_runtime_is_answered(tmp_path: Path) -> None:
    """Of what callers send, and of constants while the file is loaded; division by zero is the caller's error."""
    least = np.iinfo(np.int64).min
    root = tmp_path / "store"
    graphs.write_plain(root, "divide", graphs.divide())
    constants = {"a": np.full((1, 3), least), "b": np.full((1, 3), -1)}
    graphs.write_plain(root, "constants", graphs.divide(constants))
    x = np.array([[0, 1, 2]])
    a, b = np.array([[least, least, 7]]), np.array([[-1, 1, -1]])
    with (
        served(settings_for(root), FAST) as server,
        httpx.Client(base_url=server.url, timeout=30, verify=False) as client,  # noqa: S501  # plain HTTP
    ):
        expected = {"y": np.array([[least, least + 1, -5]])}
        assert find_difference(infer(client, "divide", {"x": x, "a": a, "b": b}), expected) is None
        assert find_difference(infer(client, "constants", {"x": x}), {"y": x + least}) is None
        with pytest.raises(Refused, match="division by zero"):
            infer(client, "divide", {"x": x, "a": a, "b": np.array([[-1, 0, 1]])})
        assert find_difference(infer(client, "divide", {"x": x, "a": a, "b": b}), expected) is None
