"""The network of ResNet-50's size."""

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from loadtests.bench.models import resnet
from loadtests.bench.models.resnet import build_resnet, main, write_networks

SMALL = ((8, 2), (16, 1))


def count_parameters(content: bytes) -> int:
    return sum(math.prod(weight.dims) for weight in onnx.load_from_string(content).graph.initializer)


def test_network_has_the_size_of_resnet_50() -> None:
    """25.5 million weights in 53 convolutions and one dense layer: the paper's network with folded normalisation."""
    content = build_resnet()
    graph = onnx.load_from_string(content).graph
    assert count_parameters(content) == 25_530_472
    assert sum(node.op_type == "Conv" for node in graph.node) == 53


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", np.float32), ("fp16", np.float16)])
def test_network_answers_finite_numbers_in_its_precision(precision: str, dtype: type) -> None:
    """Input, weights and output have one precision, half of it without overflow, and rows are batched."""
    content = build_resnet(precision, stages=SMALL, side=32, classes=5)
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    rows = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(dtype)
    [scores] = session.run(None, {"image": rows})
    assert (scores.dtype, scores.shape) == (np.dtype(dtype), (3, 5))
    assert np.isfinite(scores).all()
    assert scores.std() > 0


def test_network_is_the_same_every_time() -> None:
    """Everyone measures the same bytes."""
    assert build_resnet(stages=SMALL, side=32) == build_resnet(stages=SMALL, side=32)


def test_files_are_written_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file a precision, in a folder that is made, its path on a line of the output."""
    monkeypatch.setattr(resnet, "build_resnet", lambda precision: precision.encode())
    folder = tmp_path / "networks"
    assert main([str(folder)]) == 0
    paths = [folder / "resnet50-fp32.onnx", folder / "resnet50-fp16.onnx"]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    assert write_networks(folder) == paths
    assert [path.read_bytes() for path in paths] == [b"fp32", b"fp16"]
