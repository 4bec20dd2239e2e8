"""Converts the graphs of a model to lower precision. They are then proved against the same PyTorch originals.

fp16 keeps float32 inputs and outputs. int8 is static, per channel and symmetric. Dynamic quantisation would compute its
scales from the batch, so that rows depend on each other.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from export.errors import ExportError, NotPublished, SpecError
from export.inputs import count_rows, in_chunks, real_samples, take_rows
from export.onnx.candidate import Candidate, graphs_of, name_external
from export.onnx.exporter import check_graph, describe_graph, strip
from export.onnx.gradients import EXPLAIN
from export.onnx.tracing import quiet
from export.onnx.weights import restore, serialise
from export.original import Original
from export.spec import BATCH, MAIN, Arrays, ExportSpec, GraphSpec, Precision, Progress, Sizes

_CALIBRATION_ROWS = 512


class _Way(NamedTuple):
    """How a precision is made, and how much it may differ; see ``scale_tol`` and ``kinks`` of a spec.

    On the digits classifier, the worst element is off by 0.0008 of the output's largest in fp16 and by 0.056 in int8.
    """

    convert: Callable[[onnx.ModelProto, GraphSpec], onnx.ModelProto | None]
    scale_tol: float
    kinks: float
    name: str


def check_precision(spec: ExportSpec, precision: Precision) -> None:
    """Raise SpecError if the spec lacks what that precision needs."""
    if precision not in _WAYS:
        raise SpecError(f"{spec.name}: precision: expected one of {', '.join(_WAYS)}, got {precision!r}")
    if spec.quality is not None and not callable(spec.quality):
        raise SpecError(
            f"{spec.name}: a version in {precision} needs its own quality: give a function that measures it on the "
            "exported graphs, not numbers that were measured on others"
        )
    lacking = [name for name, graph in graphs_of(spec).items() if graph.samples is None and name != EXPLAIN]
    if precision == "int8" and lacking:
        raise SpecError(
            f"{spec.name}: int8 is calibrated on real inputs: give samples for the graph {', '.join(lacking)}"
        )


def lower(candidate: Candidate, precision: Precision, progress: Progress) -> Candidate:
    """The same model in another precision. Raises ExportError if no graph, or not ``main``, can be converted.

    A graph with nothing to convert stays as it is. The graph ``explain`` is left out if it cannot be converted. Notes
    to ``progress`` report both.
    """
    specs, files, graphs = {}, dict(candidate.files), dict(candidate.graphs)
    converted = 0
    for name, one in graphs_of(candidate.spec).items():
        progress(f"converting to {precision}: {name}")
        try:
            model = _convert(one, restore(candidate.files[name]), precision)
        except NotPublished as error:
            if name != EXPLAIN:
                raise
            progress(f"note: the version in {precision} has no graph {EXPLAIN}: {error}")
            del files[name], graphs[name]
            continue
        if model is None:
            progress(f"note: graph {name} has nothing that {precision} would convert, so it stays as it is")
            specs[name] = replace(one, module=candidate.originals[name].module)
            continue
        converted += 1
        specs[name] = _relax(one, candidate.originals[name], candidate.spec, precision)
        graph = describe_graph(one, model, candidate.graphs[name].file)
        files[name] = serialise(model, graph.file, one.external_data_bytes)
        graphs[name] = name_external(graph, files[name])
        _note_growth(name, precision, candidate.files[name].size_bytes, files[name].size_bytes, progress)
    if not converted:
        raise ExportError(f"{candidate.spec.name}: {precision} would change nothing: publish the model as it is")
    main = specs.pop(MAIN)
    assert isinstance(main, ExportSpec)  # noqa: S101  # replacing fields keeps the class
    spec = replace(main, graphs=specs, explain=False)
    originals = {name: candidate.originals[name].described_by(one) for name, one in graphs_of(spec).items()}
    exporters = {name: f"{candidate.exporters[name]}; {_WAYS[precision].name}" for name in files}
    return Candidate(spec, originals, files, graphs, candidate.limits, exporters, candidate.opset, precision)


def _note_growth(name: str, precision: Precision, before: int, after: int, progress: Progress) -> None:
    if after >= before:
        progress(
            f"note: graph {name} is not smaller in {precision}: {after:,} bytes, {before:,} before: it has few "
            "convolutions and matrix products, or is too small for the added scales to pay off"
        )


def _convert(spec: GraphSpec, model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto | None:
    """The converted graph; None if there is nothing to convert."""
    way = _WAYS[precision]
    try:
        with quiet():
            converted = way.convert(model, spec)
    except NotPublished:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"{spec.name}: the graph cannot be converted to {precision} ({type(error).__name__}: {reason}): publish it "
            "in full precision only, or replace the named operator"
        ) from error
    if converted is not None:
        strip(converted)
        check_graph(spec, converted)
    return converted


def _relax(spec: GraphSpec, original: Original, model: ExportSpec, precision: Precision) -> GraphSpec:
    """The spec with the tolerances of the precision; int8 is proved on the inputs for which it is calibrated."""
    way = _WAYS[precision]
    fields: dict[str, Any] = {
        "module": original.module,
        "scale_tol": max(spec.scale_tol, model.low_precision.get(precision, way.scale_tol)),
        "kinks": max(spec.kinks, way.kinks),
    }
    if precision == "int8" and spec.random_inputs is None and set(spec.example_sizes) == {BATCH}:
        fields["random_inputs"] = _draw_samples(spec)
    return replace(spec, **fields)


def _draw_samples(spec: GraphSpec) -> Callable[[Sizes, int], Mapping[str, torch.Tensor]]:
    samples = real_samples(spec) or {}
    rows = count_rows(spec, samples)

    def draw(sizes: Sizes, seed: int) -> Mapping[str, torch.Tensor]:
        chosen = np.random.default_rng([seed, sizes[BATCH]]).integers(0, rows, sizes[BATCH])
        return {name: torch.from_numpy(array) for name, array in take_rows(spec, samples, list(chosen)).items()}

    return draw


def _to_fp16(model: onnx.ModelProto, spec: GraphSpec) -> onnx.ModelProto | None:
    converted: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
    OnnxModel(converted).topological_sort(is_deterministic=True)  # the casts were added at the end
    halved = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in converted.graph.initializer)
    return converted if halved else None


def _to_int8(model: onnx.ModelProto, spec: GraphSpec) -> onnx.ModelProto | None:
    if spec.samples is None:
        raise SpecError(f"{spec.name}: int8 is calibrated on real inputs, but this graph has no samples: give samples")
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        source, prepared, quantised = (Path(folder) / f"{name}.onnx" for name in ("source", "prepared", "quantised"))
        onnx.save_model(model, source)
        # Without symbolic shapes, which only transformers need, and which merge axes by guesses.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantised,
            _Calibration(spec),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # 7-bit weights: CPUs without VNNI add pairs of products in 16 bits, which may saturate
        )
        converted = onnx.load_model(quantised)
    quantised_any = any(node.op_type == "QuantizeLinear" for node in converted.graph.node)
    return converted if quantised_any else None


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
    """The samples, in batches."""

    def __init__(self, spec: GraphSpec) -> None:
        samples = take_rows(spec, real_samples(spec) or {}, slice(0, _CALIBRATION_ROWS))
        self._chunks: Iterator[Arrays] = in_chunks(spec, samples)

    def get_next(self) -> Arrays | None:
        return next(self._chunks, None)


_WAYS: Mapping[Precision, _Way] = {
    "fp16": _Way(_to_fp16, scale_tol=0.01, kinks=0.02, name="onnxruntime float16"),
    "int8": _Way(_to_int8, scale_tol=0.1, kinks=0.05, name="onnxruntime static quantisation, QDQ s8 per channel"),
}
