"""Row analysis of files in float16, with fused operators, and quantised."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from model_store.rows import analyse
from tests.support.inferring import Tensors

architectures = pytest.importorskip("tests.support.rows.architectures", exc_type=ImportError)
exporters = pytest.importorskip("tests.support.rows.exporters", exc_type=ImportError)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

NETWORKS = ("resnet", "convnext", "vit", "yolo", "bert", "gpt2")


@functools.cache
def export(name: str) -> bytes:
    """By the older exporter, whose files most tools know best."""
    content: bytes = exporters.EXPORTERS["script"](architectures.make(name))
    return content


def draw(name: str) -> Tensors:
    inputs: Tensors = architectures.draw(architectures.make(name), 3)
    return inputs


def fuse(source: Path, target: Path, inputs: Tensors) -> None:
    """What ONNX Runtime makes of the graph, with operators of its own."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def halve(source: Path, target: Path, inputs: Tensors) -> None:
    """Weights and calculations in float16, inputs and outputs as before."""
    float16 = pytest.importorskip("onnxruntime.transformers.float16", exc_type=ImportError)
    onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def quantise(source: Path, target: Path, inputs: Tensors) -> None:
    """Weights and activations in int8, with scales that were measured beforehand."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Once(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rows: Iterator[Tensors] = iter([inputs])

        def get_next(self) -> Tensors | None:
            return next(self._rows, None)

    quantize_static(str(source), str(target), Once(), quant_format=QuantFormat.QDQ)


def quantise_while_running(source: Path, target: Path, inputs: Tensors) -> None:
    """Weights in int8; the scale of the activations is that of all rows which come together."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(source), str(target))


def change(name: str, how: Callable[[Path, Path, Tensors], None], folder: Path) -> bytes:
    source, target = folder / "source.onnx", folder / "target.onnx"
    source.write_bytes(export(name))
    how(source, target, draw(name))
    return target.read_bytes()


@pytest.mark.parametrize("how", [fuse, halve, quantise])
@pytest.mark.parametrize("name", NETWORKS)
def test_file_is_proved_in_other_precision_and_with_fused_operators(
    name: str, how: Callable[[Path, Path, Tensors], None], tmp_path: Path
) -> None:
    """float16, fixed scales and fused operators keep rows independent."""
    found = analyse(change(name, how, tmp_path))
    assert found.rows == "proved", found.reason


@pytest.mark.parametrize("name", NETWORKS)
def test_file_that_is_quantised_while_it_runs_is_not_proved(name: str, tmp_path: Path) -> None:
    """One scale is taken from all rows, and a run shows that a large row changes the others."""
    content = change(name, quantise_while_running, tmp_path)
    assert analyse(content).rows != "proved"
    plain = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    inputs = {value.name: draw(name)[value.name] for value in plain.get_inputs()}
    alone = plain.run(None, {name: array[:1] for name, array in inputs.items()})[0]
    if all(np.issubdtype(array.dtype, np.floating) for array in inputs.values()):
        inputs = {
            name: array * np.array([1, 30, 1], np.float32).reshape(-1, *[1] * (array.ndim - 1))
            for name, array in inputs.items()
        }
    assert not np.array_equal(plain.run(None, inputs)[0][:1], alone)
