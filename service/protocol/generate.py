"""The flat JSON of the generate routes (Triton's `generate` extension): inputs and parameters in one object."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from model_store.datatypes import DATATYPES, datatype_of
from model_store.graph import Tensor
from service.errors import InvalidInput
from service.protocol.infer_request import check_parameters
from service.protocol.infer_response import to_json
from service.protocol.json import expect, read_optional, render_json, without_nulls
from service.protocol.large_json import array_of_large, parse_object


class GenerateRequest(NamedTuple):
    """``parameters`` has all fields that are not inputs, and the fields of the object ``parameters``."""

    id: str | None
    inputs: Mapping[str, np.ndarray]
    parameters: Mapping[str, Any]


def read_generate(body: bytes | memoryview, tensors: Sequence[Tensor]) -> GenerateRequest:
    """Sort the fields of a request into inputs and parameters. A null parameter counts as absent.

    Raises InvalidInput, which names the field.
    """
    fields = parse_object(body)
    known = {tensor.name: tensor for tensor in tensors}
    request_id = fields.pop("id", None) if "id" not in known else None
    if request_id is not None:
        expect(request_id, str, "id")
    nested: dict[str, Any] = {}
    if "parameters" not in known:
        nested = read_optional(fields, "parameters", "parameters")
        fields.pop("parameters", None)
    if twice := fields.keys() & nested.keys():
        raise InvalidInput(f"parameters.{min(twice):.60}: expected once, got it beside the parameters as well")
    fields |= nested
    inputs = {name: _read_tensor(fields.pop(name), tensor) for name, tensor in known.items() if name in fields}
    parameters = without_nulls(fields)
    check_parameters(parameters)
    return GenerateRequest(request_id, inputs, parameters)


def _read_tensor(value: Any, tensor: Tensor) -> np.ndarray:
    """Read a value or a flat array. The last open size follows from the number of elements; other open sizes are 1."""
    what = f"input {tensor.name!r}"
    datatype = DATATYPES[tensor.datatype]
    if datatype.is_binary_only:
        raise InvalidInput(f"{what}: {datatype.name} has no JSON form, send it as binary data to infer")
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, list) for item in values):
        raise InvalidInput(f"{what}: expected a value or a flat array of them, got nested arrays")
    array = array_of_large(values, datatype, what)
    shape = [size if isinstance(size, int) else 1 for size in tensor.shape]
    fixed = math.prod(shape)
    open_axes = [axis for axis, size in enumerate(tensor.shape) if isinstance(size, str)]
    if not array.size or not fixed or array.size % fixed or (not open_axes and array.size != fixed):
        expected = f"{'a multiple of ' if open_axes else ''}{fixed} elements for {list(tensor.shape)}"
        raise InvalidInput(f"{what}: expected {expected}, got {array.size}")
    if open_axes:
        shape[open_axes[-1]] = array.size // fixed
    return array.reshape(shape)


def describe_generated(
    model: str, version: str, request_id: str | None, outputs: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """An answer as JSON: each output is a flat array, or a single value."""
    answer: dict[str, Any] = {} if request_id is None else {"id": request_id}
    answer |= {"model_name": model, "model_version": version}
    return answer | {name: _flatten(name, array) for name, array in outputs.items()}


def _flatten(name: str, array: np.ndarray) -> Any:
    values = to_json(name, array, datatype_of(array))
    return values if array.size != 1 else orjson.Fragment(render_json(values)[1:-1])
