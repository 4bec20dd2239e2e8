"""Files on which ONNX Runtime ends its process: the server that finds one goes on."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from onnx import helper

from tests.support.inferring import Refused, find_difference, infer
from tests.support.models import graphs
from tests.support.models.triton_models import model_of
from tests.support.processes import served
from tests.support.servers import FAST, settings_for


def transpose_in_float16() -> bytes:
    """ONNX Runtime 1.32 fuses these two, and ends the process on it while it opens the file."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["t", "weights"], ["y"]),
    ]
    tensors = [("x", "FP16", ["length", "batch", 4])], [("y", "FP16", ["batch", "length", 4])]
    return model_of(nodes, *tensors, {"weights": np.eye(4, dtype=np.float16)})


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    """Of a server in a process of its own."""
    least = np.iinfo(np.int64).min
    constants = {"a": np.full((1, 3), least), "b": np.full((1, 3), -1)}
    contents = {
        "double": graphs.double(),
        "crashing": transpose_in_float16(),
        "divide": graphs.divide(),
        "constants": graphs.divide(constants),
    }
    for name, content in contents.items():
        graphs.write_plain(tmp_path, name, content)
    with (
        served(settings_for(tmp_path), FAST) as server,
        httpx.Client(base_url=server.url, timeout=30, verify=False) as client,  # noqa: S501  # plain HTTP
    ):
        yield client


@pytest.mark.long
def test_file_that_ends_the_process_of_onnx_runtime_leaves_the_server_alive(client: httpx.Client) -> None:
    """It is refused with the reason or served right, the model beside it serves, and so do divisions that crash."""
    x = np.arange(24, dtype=np.float16).reshape(3, 2, 4)
    try:
        found = find_difference(infer(client, "crashing", {"x": x}), {"y": x.transpose(1, 0, 2)})
    except Refused as refusal:
        found = None if "ends the process" in refusal.reason else refusal.reason
    assert found is None
    doubled = infer(client, "double", {"x": np.ones((1, 3), np.float32)})
    assert find_difference(doubled, {"y": np.full((1, 3), 2, np.float32)}) is None

    least = np.iinfo(np.int64).min
    x, a, b = np.array([[0, 1, 2]]), np.array([[least, least, 7]]), np.array([[-1, 1, -1]])
    assert find_difference(infer(client, "constants", {"x": x}), {"y": x + least}) is None
    with pytest.raises(Refused, match="division by zero"):
        infer(client, "divide", {"x": x, "a": a, "b": np.array([[-1, 0, 1]])})
    quotients = infer(client, "divide", {"x": x, "a": a, "b": b})
    assert find_difference(quotients, {"y": np.array([[least, least + 1, -5]])}) is None
