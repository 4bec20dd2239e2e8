"""The answers of a task as columns, with the same names and types in every part."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from model_store.manifest import Manifest
from service.models.pipeline import Pipeline
from service.score.engine import Engine
from service.score.rows import Fault
from service.score.tensors import Answer

ERROR, OTHER_ERROR = "error", "row_error"
_TEXT, _REAL, _WHOLE, _TRUTH = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_LABEL = [("label", _TEXT), ("index", _WHOLE)]
_SCORE = pa.struct([*_LABEL, ("probability", _REAL)])
_TYPES: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("UINT8", "INT8", "UINT16", "INT16", "INT32"), pa.int32()),
    **dict.fromkeys(("UINT32", "INT64"), _WHOLE),
    "UINT64": pa.uint64(),
    "BOOL": _TRUTH,
    "BYTES": _TEXT,
    "FP64": _REAL,
    **dict.fromkeys(("FP32", "FP16", "BF16"), pa.float32()),
}


class Field(NamedTuple):
    """A column of the output: its type, and how to find its value in an answer."""

    kind: pa.DataType
    find: Callable[[Any], Any]


def describe_columns(engine: Engine) -> dict[str, Field]:
    """The columns of the answers of a task, by name."""
    if engine.tensors is not None:
        return _describe_tensors(engine)
    if isinstance(engine.model, Pipeline):
        facts = engine.model.manifest.pipeline
        return {name: _as_json(name) for name in (facts.outputs if facts is not None else ())}
    return _DESCRIBED[engine.task](engine.model.manifest, engine.options)


def _plain(name: str, kind: pa.DataType) -> Field:
    return Field(kind, lambda answer: answer.get(name))


def _as_json(name: str) -> Field:
    """Values of any form, as a text in JSON."""
    return Field(_TEXT, lambda answer: orjson.dumps(answer[name]).decode() if name in answer else None)


def _as_file(name: str) -> Field:
    """A picture or sound, as the bytes of its file."""

    def find(answer: Any) -> bytes | None:
        return base64.b64decode(next(iter(answer[name].values()))) if name in answer else None

    return Field(pa.binary(), find)


def _plains(**kinds: pa.DataType) -> dict[str, Field]:
    return {name: _plain(name, kind) for name, kind in kinds.items()}


def _list(*fields: tuple[str, pa.DataType]) -> pa.DataType:
    return pa.list_(pa.struct(list(fields)))


def _classify(manifest: Manifest, options: Any) -> dict[str, Field]:
    if manifest.tags is not None:
        part = [("label", _TEXT), ("text", _TEXT), ("start", _WHOLE), ("end", _WHOLE), ("probability", _REAL)]
        return _plains(spans=_list(*part))
    facts = manifest.classes
    found = _plains(label=_TEXT, index=_WHOLE, probability=_REAL)
    if options.top_k > 1:
        found |= _plains(top=pa.list_(_SCORE))
    if facts is not None and facts.multi_label:
        found |= _plains(labels=pa.list_(_SCORE))
    if facts is not None and facts.score is not None:
        found |= _plains(score=_REAL)
    if options.explain:
        found["explanation"] = _as_json("explanation")
    return found | _windows(options)


def _windows(options: Any) -> dict[str, Field]:
    return {"windows": _as_json("windows")} if options.windows else {}


def _detect(manifest: Manifest, options: Any) -> dict[str, Field]:
    facts = manifest.detection
    box: list[tuple[str, pa.DataType]] = [("box", pa.list_(_REAL)), *_LABEL, ("score", _REAL)]
    if facts is not None and facts.points is not None:
        box.append(("points", _list(("name", _TEXT), ("x", _REAL), ("y", _REAL), ("score", _REAL))))
    if options.masks and facts is not None and facts.prototypes is not None:
        box.append(("mask", pa.struct([("left", _WHOLE), ("top", _WHOLE), ("image", _TEXT)])))
    return _plains(width=_WHOLE, height=_WHOLE, detections=_list(*box))


def _segment(manifest: Manifest, options: Any) -> dict[str, Field]:
    found = _plains(width=_WHOLE, height=_WHOLE, labels=_list(*_LABEL, ("share", _REAL)))
    is_picture = options.mask_format == "picture"
    return {**found, "mask": _as_file("mask") if is_picture else _plain("mask", pa.list_(pa.list_(_WHOLE)))}


def _regress(manifest: Manifest, options: Any) -> dict[str, Field]:
    names = manifest.regression.names if manifest.regression is not None else ()
    if not names:
        return _plains(value=_REAL)

    def field(name: str) -> Field:
        return Field(_REAL, lambda answer: answer["values"][name])

    return {name: field(name) for name in names}


def _embed(manifest: Manifest, options: Any) -> dict[str, Field]:
    found = _plains(embedding=pa.list_(pa.float32()) if options.encoding == "float" else _TEXT)
    if options.compare:
        facts = manifest.embedding
        measure = "distance" if facts is not None and facts.metric == "euclidean" else "similarity"
        found |= _plains(comparisons=_list((measure, _REAL), ("same", _TRUTH)))
    return found | _windows(options)


def _predict_sequence(manifest: Manifest, options: Any) -> dict[str, Field]:
    if manifest.forecast is not None:
        found = _plains(mean=pa.list_(_REAL))
        if options.quantiles or (options.quantiles is None and manifest.forecast.quantiles):
            found["quantiles"] = Field(
                pa.map_(_TEXT, pa.list_(_REAL)), lambda answer: list(answer.get("quantiles", {}).items())
            )
        return found | (_plains(state=_TEXT) if options.return_state else {})
    found = _plains(text=_TEXT, probability=_REAL)
    if manifest.writing is not None:
        found |= _plains(log_probability=_REAL, tokens=_WHOLE, complete=_TRUTH)
    elif manifest.text is not None:
        found["complete"] = Field(_TRUTH, lambda answer: answer.get("complete", True))
    if options.pieces:
        found["pieces"] = _as_json("pieces")
    return found | _windows(options)


def _reconstruct(manifest: Manifest, options: Any) -> dict[str, Field]:
    facts = manifest.reconstruction
    output = next(t for t in manifest.graphs["main"].outputs if facts is not None and t.name == facts.output)
    is_file = options.output_format != "numbers"
    found = {"output": _as_file("output") if is_file else _plain("output", _nest(pa.float32(), len(output.row_shape)))}
    found |= _plains(error=_REAL)
    if facts is not None and facts.anomaly is not None:
        found |= _plains(score=_REAL)
    if facts is not None and facts.threshold is not None:
        found |= _plains(anomaly=_TRUTH, threshold=_REAL)
    if options.error_map:
        found["error_map"] = _as_file("error_map") if is_file else _as_json("error_map")
    return found


def _describe_tensors(engine: Engine) -> dict[str, Field]:
    tensors, model = engine.tensors, engine.model
    if tensors is None or isinstance(model, Pipeline):
        return {}

    def field(name: str, kind: pa.DataType) -> Field:
        return Field(kind, lambda answer: np.asarray(answer[name]).tolist())

    return {
        name: field(name, _nest(_TYPES[tensor.datatype], len(tensors.shape_of_row(tensor))))
        for name, tensor in model.signature.public_outputs.items()
    }


def _nest(kind: pa.DataType, axes: int) -> pa.DataType:
    for _ in range(axes):
        kind = pa.list_(kind)
    return kind


_DESCRIBED: Mapping[str, Callable[[Manifest, Any], dict[str, Field]]] = {
    "classify": _classify,
    "detect": _detect,
    "segment": _segment,
    "regress": _regress,
    "embed": _embed,
    "predict_sequence": _predict_sequence,
    "reconstruct": _reconstruct,
}


class Columns:
    """Makes batches of the output: the kept columns, the columns of the answers, and why a row has no answer.

    The last column is called ``error``, or ``row_error`` if the answers have an ``error``. If a kept column has the
    name of another column, ``input.`` is put before its name.
    """

    def __init__(self, fields: Mapping[str, Field], kept: pa.Schema) -> None:
        self._fields = fields
        error = OTHER_ERROR if ERROR in fields else ERROR
        taken = {*fields, error}
        names = [f"input.{name}" if name in taken else name for name in kept.names]
        self.schema = pa.schema(
            [
                *(field.with_name(name) for name, field in zip(names, kept, strict=True)),
                *((name, field.kind) for name, field in fields.items()),
                (error, _TEXT),
            ]
        )

    def make(self, kept: pa.RecordBatch, answers: Sequence[Answer]) -> pa.RecordBatch:
        """A batch of the rows of ``kept`` with their answers."""
        arrays = [kept.column(i) for i in range(kept.num_columns)]
        for field in self._fields.values():
            values = [None if isinstance(answer, Fault) else field.find(answer) for answer in answers]
            arrays.append(pa.array(values, field.kind))
        arrays.append(pa.array([answer.text if isinstance(answer, Fault) else None for answer in answers], _TEXT))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
