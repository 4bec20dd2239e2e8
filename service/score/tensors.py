"""Requests of the Open Inference Protocol, for models without a task, and their answers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from service.models.entry import Model
from service.score.errors import ScoreError
from service.score.rows import Fault, render_value

Answer = Mapping[str, Any] | Fault


class TensorRequests:
    """Makes requests of rows, by the names of the inputs.

    If the model is not batched, each row is a request, whose first axis is 1 unless it has a fixed size.
    """

    def __init__(self, model: Model) -> None:
        self._signature = model.signature
        for tensor in self._signature.public_inputs.values():
            if DATATYPES[tensor.datatype].is_binary_only:
                raise ScoreError(
                    f"model {model.name!r} takes {tensor.name!r} as {tensor.datatype}, which no table has: export it "
                    "with inputs of FP32"
                )
        if model.signature.batches and not model.signature.leads_with_rows:
            raise ScoreError(f"model {model.name!r} has its rows on another axis than the first: use /v2 of a server")

    @property
    def only_input(self) -> str | None:
        """The name of the input if there is only one."""
        names = list(self._signature.public_inputs)
        return names[0] if len(names) == 1 else None

    def shape_of_row(self, tensor: Tensor) -> tuple[int | str, ...]:
        """The shape of a row of an input or output."""
        return tensor.shape[1:] if self._has_rows(tensor) else tensor.shape

    def _has_rows(self, tensor: Tensor) -> bool:
        if self._signature.batches:
            return True
        return bool(tensor.shape) and (isinstance(tensor.shape[0], str) or tensor.shape[0] == 1)

    def render(self, rows: Sequence[Any]) -> bytes:
        """The body of a request. Raises TypeError for a value that JSON does not have."""
        only = self.only_input
        named = [row if isinstance(row, dict) else {only: row} for row in rows]
        inputs = []
        for name, tensor in self._signature.public_inputs.items():
            values = [row[name] for row in named if row.get(name) is not None]
            if values:
                inputs.append(self._render_input(tensor, values))
        outputs = [
            {"name": name, "parameters": {"binary_data": tensor.datatype != "BYTES"}}
            for name, tensor in self._signature.public_outputs.items()
        ]
        return orjson.dumps({"inputs": inputs, "outputs": outputs}, default=render_value)

    def _render_input(self, tensor: Tensor, values: Sequence[Any]) -> dict[str, Any]:
        has_rows, row_shape, found = self._has_rows(tensor), self.shape_of_row(tensor), _find_shape(values[0])
        fixed = [size for size in row_shape if isinstance(size, int)]
        shape = [len(values), *found] if has_rows else found
        data = values if has_rows else values[0]
        if len(fixed) == len(row_shape) > 1 and found == [math.prod(fixed)]:  # a flat list of the numbers of the row
            shape = [len(values), *fixed] if has_rows else fixed
            data = [number for row in values for number in row]
        data = data if isinstance(data, list) else [data]
        return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": data}

    def read(self, body: bytes, header_bytes: int | None, rows: int) -> list[Answer]:
        """The outputs of each row. Raises ValueError if an output does not have ``rows`` rows."""
        header = orjson.loads(body[:header_bytes])
        at = len(body) if header_bytes is None else header_bytes
        arrays: dict[str, np.ndarray] = {}
        for item in header["outputs"]:
            shape, size = item["shape"], item.get("parameters", {}).get("binary_data_size")
            if size is None:
                array = np.array(item["data"], object).reshape(shape)
            else:
                array = np.frombuffer(body, DATATYPES[item["datatype"]].dtype, math.prod(shape), at).reshape(shape)
                at += size
            if not self._has_rows(self._signature.public_outputs[item["name"]]):
                array = array[None]
            if len(array) != rows:
                raise ValueError(f"output {item['name']!r} has {len(array)} rows for {rows}")
            arrays[item["name"]] = array
        return [{name: array[i] for name, array in arrays.items()} for i in range(rows)]


def _find_shape(value: Any) -> list[int]:
    """The shape of nested lists, by the first element of each."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape
