"""The messages of ``inference.GRPCInferenceService/ModelInfer``, by the Open Inference Protocol.

Only the fields that a load test needs are declared; protobuf passes over the others.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from loadtests.wire import DATATYPES, WrongAnswer, dtype_of

METHOD = "/inference.GRPCInferenceService/ModelInfer"
_Field = descriptor_pb2.FieldDescriptorProto
_TENSOR = (("name", 1, "STRING", False), ("datatype", 2, "STRING", False), ("shape", 3, "INT64", True))


def _make_types() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="loadtest.proto", package="loadtest", syntax="proto3")
    _declare(file, "Tensor", *_TENSOR)
    _declare(file, "Request", ("model_name", 1, "STRING", False), ("inputs", 5, "Tensor", True), _raw(7))
    _declare(file, "Response", ("model_name", 1, "STRING", False), ("outputs", 5, "Tensor", True), _raw(6))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("loadtest.Request", "loadtest.Response")
    request, response = (message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names)
    return request, response


def _raw(number: int) -> tuple[str, int, str, bool]:
    return "raw_contents", number, "BYTES", True


def _declare(file: Any, name: str, *fields: tuple[str, int, str, bool]) -> None:
    message = file.message_type.add(name=name)
    for field, number, kind, repeated in fields:
        label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
        made = message.field.add(name=field, number=number, label=label)
        if kind == "Tensor":
            made.type, made.type_name = _Field.TYPE_MESSAGE, ".loadtest.Tensor"
        else:
            made.type = getattr(_Field, f"TYPE_{kind}")


_REQUEST, _RESPONSE = _make_types()


def encode_message(model: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A ModelInferRequest with raw contents."""
    request = _REQUEST(model_name=model)
    for name, values in inputs.items():
        request.inputs.add(name=name, datatype=DATATYPES[values.dtype], shape=values.shape)
        request.raw_contents.append(np.ascontiguousarray(values).tobytes())
    content: bytes = request.SerializeToString()
    return content


def decode_message(content: bytes) -> dict[str, np.ndarray]:
    """The outputs of a ModelInferResponse with raw contents. Raises WrongAnswer."""
    try:
        response = _RESPONSE.FromString(content)
    except DecodeError:
        raise WrongAnswer("the answer is not a ModelInferResponse") from None
    if len(response.raw_contents) != len(response.outputs):
        raise WrongAnswer("the number of raw contents is not the number of outputs")
    outputs = {}
    for tensor, raw in zip(response.outputs, response.raw_contents, strict=True):
        try:
            outputs[tensor.name] = np.frombuffer(raw, dtype_of(tensor.datatype)).reshape(tuple(tensor.shape))
        except ValueError:
            raise WrongAnswer(f"the data of output {tensor.name[:40]!r} does not fill its shape") from None
    return outputs
