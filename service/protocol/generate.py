"""Flat JSON of the protocol's generate routes: names of inputs beside parameters, shapes found by what is there.

Triton's `generate` extension.
"""

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
from service.protocol.json import read_optional, type_name, without_nulls
from service.protocol.large_json import array_of_large, parse_object


class GenerateRequest(NamedTuple):
    """``parameters`` are the fields that are no inputs, those of the object ``parameters`` among them."""

    id: str | None
    inputs: Mapping[str, np.ndarray]
    parameters: Mapping[str, Any]


def read_generate(body: bytes | memoryview, tensors: Sequence[Tensor]) -> GenerateRequest:
    """Sort the fields of a request into inputs and parameters; one of these that is null is as one that is absent.

    Raises InvalidInput, which names the field.
    """
    fields = parse_object(body)
    known = {tensor.name: tensor for tensor in tensors}
    request_id = fields.pop("id", None) if "id" not in known else None
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidInput(f"id: expected a string, got {type_name(request_id)}")
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
    what = f"input {tensor.name!r}"
    datatype = DATATYPES[tensor.datatype]
    if datatype.is_binary_only:
        raise InvalidInput(f"{what}: {datatype.name} has no JSON form, send it as binary data to infer")
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, list) for item in values):
        raise InvalidInput(f"{what}: expected a value or a flat array of them, got nested arrays")
    array = array_of_large(values, datatype, what)
    return array.reshape(_find_shape(tensor, array.size, what))


def _find_shape(tensor: Tensor, count: int, what: str) -> list[int]:
    """The last open size takes what the fixed ones leave; other open sizes are 1."""
    shape = [size if isinstance(size, int) else 1 for size in tensor.shape]
    fixed = math.prod(shape)
    is_open = [isinstance(size, str) for size in tensor.shape]
    fits = count > 0 and fixed > 0 and (count % fixed == 0 if any(is_open) else count == fixed)
    if not fits:
        multiple = "a multiple of " if any(is_open) else ""
        raise InvalidInput(f"{what}: expected {multiple}{fixed} elements for {list(tensor.shape)}, got {count}")
    if any(is_open):
        shape[max(i for i, opens in enumerate(is_open) if opens)] = count // fixed
    return shape


def describe_generated(
    model: str, version: str, request_id: str | None, outputs: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """An answer for JSON: each output a flat array, or the value alone where there is one."""
    answer: dict[str, Any] = {} if request_id is None else {"id": request_id}
    answer |= {"model_name": model, "model_version": version}
    return answer | {name: _flatten(name, array) for name, array in outputs.items()}


def _flatten(name: str, array: np.ndarray) -> Any:
    values = to_json(name, array, datatype_of(array))
    if array.size != 1:
        return values
    return orjson.Fragment(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1])
