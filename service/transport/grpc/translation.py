"""Translates inference requests of gRPC to bodies of HTTP with binary tensors, and answers back.

So both protocols share the code that checks requests and renders answers. It costs one copy of the tensors each way.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np
import orjson
from google.protobuf.message import DecodeError

from model_store.datatypes import DATATYPES
from service.errors import BodyTooLarge, InvalidInput, ServiceError
from service.protocol.infer_request import LENGTH_BYTES
from service.protocol.infer_response import write_elements
from service.protocol.json import MAX_AXES
from service.transport.grpc.codes import refusal_of
from service.transport.grpc.fields import BrokenMessage, check_fields, find_nested
from service.transport.grpc.known_messages import KnownMessages, Translation, split_message
from service.transport.grpc.messages import MESSAGES
from service.transport.request import Reply

_Answer = MESSAGES["ModelInferResponse"]
_ID = _Answer.DESCRIPTOR.fields_by_name["id"].number
_RAW_OUTPUT_CONTENTS = _Answer.DESCRIPTOR.fields_by_name["raw_output_contents"].number
_Streamed = MESSAGES["ModelStreamInferResponse"]
_INFER_RESPONSE = _Streamed.DESCRIPTOR.fields_by_name["infer_response"].number

FEW_BYTES = 2 << 10
"""Shorter messages are parsed on the event loop, which takes 3 ms at most."""
FEW_FIELDS = 512
"""Messages with at most this many fields, elements of tensors included, are parsed in 2 ms."""
_FIELDS_OF_TENSOR = 32
"""The fields of an input and an output with three parameters each."""
_IN_THREAD_FROM_BYTES = 1 << 20
"""Larger messages are always read in a thread: the copies alone take 1 ms."""
_TYPED_IN_THREAD_FROM_BYTES = 64 << 10
"""Larger messages with typed contents are read in a thread: a million elements take 30 ms."""
_MAX_INFO_BYTES, _MAX_INFO_FIELDS = 1 << 20, 4096
"""The limits of a message without tensors."""
_PIECE_TEXTS = 16 << 10
"""Texts are joined in pieces, because each one is an object until then."""

_EMPTY_FINAL = "triton_enable_empty_final_response"
_FINAL = "triton_final_response"
"""Marks the last of several answers to a request. Here each answer is the last."""

_CONTENTS: Mapping[str, tuple[str, str]] = {
    "BOOL": ("bool_contents", "bool"),
    **dict.fromkeys(("INT8", "INT16", "INT32"), ("int_contents", "int32")),
    "INT64": ("int64_contents", "int64"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), ("uint_contents", "uint32")),
    "UINT64": ("uint64_contents", "uint64"),
    "FP32": ("fp32_contents", "float32"),
    "FP64": ("fp64_contents", "float64"),
    "BYTES": ("bytes_contents", "object"),
}
"""Datatype -> the field of its typed contents, and the type of its elements in memory."""

_INFER = MESSAGES["ModelInferRequest"]
_REGION = "shared_memory_region"
"""The parameter of an input whose contents are in shared memory."""


def has_few_fields(content: bytes) -> bool:
    """Whether a ``ModelInferRequest`` has so few fields that it is parsed quickly, whatever its size."""
    try:
        check_fields(content, find_nested(_INFER.DESCRIPTOR, tensors=True), FEW_FIELDS)
    except InvalidInput:
        return False
    except BrokenMessage:
        pass  # the parser will refuse it as quickly
    return True


def read_infer(content: bytes, max_tensors: int, max_bytes: int) -> Translation:
    """Parse and translate a ``ModelInferRequest`` of any size. Raises InvalidInput if it cannot be parsed.

    ``max_tensors`` limits its inputs, its outputs and, in proportion, their parameters.
    """
    return translate(parse_message(_INFER, content, _FIELDS_OF_TENSOR * max_tensors), max_bytes, max_tensors)


def translate(message: Any, max_bytes: int, max_tensors: int | None = None) -> Translation:
    """Translate a ``ModelInferRequest``."""
    body, header_bytes, refusal = b"", 0, None
    try:
        for name, items in (("inputs", message.inputs), ("outputs", message.outputs)):
            if max_tensors is not None and len(items) > max_tensors:
                raise InvalidInput(f"{name}: expected at most {max_tensors}, got {len(items)}")
        body, header_bytes = write_body(message, max_bytes)
    except ServiceError as error:
        refusal = error.with_traceback(None)
    return Translation(message.id, message.model_name, message.model_version, body, header_bytes, refusal)


def is_slow(content: bytes) -> bool:
    """Whether a message must be read in a thread: it is large, and not only because of raw tensors."""
    if len(content) <= FEW_BYTES:
        return False
    if len(content) > _IN_THREAD_FROM_BYTES or not has_few_fields(content):
        return True
    return len(content) >= _TYPED_IN_THREAD_FROM_BYTES and split_message(content) is None


def find_known(content: bytes) -> Translation | None:
    """The translation of a message of at most 1 MiB, if a similar one came before."""
    if len(content) > _IN_THREAD_FROM_BYTES:
        return None
    split = split_message(content)
    return None if split is None else _known.find(split)


def translate_now(content: bytes, max_bytes: int) -> Translation:
    """Translate a message that is not slow. Raises InvalidInput."""
    found = translate(parse_message(_INFER, content), max_bytes)
    split = split_message(content)
    if split is not None:
        _known.learn(split, found)
    return found


def read_info(message: Any, content: bytes) -> Any:
    """Parse a message without tensors. Raises InvalidInput, BodyTooLarge."""
    if len(content) > _MAX_INFO_BYTES:
        name = message.DESCRIPTOR.name
        raise BodyTooLarge(f"message: expected a {name} of at most {_MAX_INFO_BYTES} bytes, got {len(content)}")
    return parse_message(message, content, _MAX_INFO_FIELDS)


def parse_message(message: Any, content: bytes, max_fields: int | None = None) -> Any:
    """Raises InvalidInput."""
    try:
        if max_fields is not None:
            check_fields(content, find_nested(message.DESCRIPTOR), max_fields)
        return message.FromString(content)
    except (BrokenMessage, DecodeError) as error:
        name = message.DESCRIPTOR.name
        raise InvalidInput(f"message: expected a {name}, but the {len(content)} bytes are not one ({error})") from None


def write_body(request: Any, max_bytes: int) -> tuple[bytes, int]:
    """The body of HTTP for a ``ModelInferRequest``, and the length of its JSON.

    Raises InvalidInput, and BodyTooLarge if typed contents take more than ``max_bytes`` as tensors.
    """
    sent = [item for item in request.inputs if _REGION not in item.parameters]
    tensors = request.raw_input_contents or _write_contents(sent, max_bytes)
    if len(tensors) != len(sent):
        raise InvalidInput(f"raw_input_contents: expected one for each of {len(sent)} inputs, got {len(tensors)}")
    if request.raw_input_contents and any(item.HasField("contents") for item in request.inputs):
        raise InvalidInput("inputs: expected either contents or raw_input_contents, got both")
    parameters = read_parameters(request.parameters, "parameters")
    parameters.pop(_EMPTY_FINAL, None)
    sizes = iter([len(tensor) for tensor in tensors])  # of the inputs outside shared memory
    header: dict[str, Any] = {
        "parameters": {**parameters, "binary_data_output": True},
        "inputs": [
            _describe_input(item, None if _REGION in item.parameters else next(sizes)) for item in request.inputs
        ],
    }
    if request.outputs:
        header["outputs"] = [_describe_output(item) for item in request.outputs]
    text = orjson.dumps(header)
    return b"".join([text, *tensors]), len(text)


def _describe_input(item: Any, size_bytes: int | None) -> dict[str, Any]:
    parameters = read_parameters(item.parameters, f"input {item.name!r:.60}: parameters")
    if len(item.shape) > MAX_AXES:
        raise InvalidInput(
            f"input {item.name!r:.60}: expected a shape of at most {MAX_AXES} sizes, got {len(item.shape)}"
        )
    return {
        "name": item.name,
        "datatype": item.datatype,
        "shape": list(item.shape),
        "parameters": parameters if size_bytes is None else {**parameters, "binary_data_size": size_bytes},
    }


def _describe_output(item: Any) -> dict[str, Any]:
    parameters = read_parameters(item.parameters, f"output {item.name!r:.60}: parameters")
    return {"name": item.name, "parameters": {**parameters, "binary_data": True}}


def read_parameters(parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of parameters of any type. Raises InvalidInput for one without a value."""
    values = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is None:
            raise InvalidInput(f"{where}: expected each with a value, got {name!r:.60} without one")
        values[name] = getattr(parameter, kind)
    return values


def _write_contents(inputs: Any, max_bytes: int) -> list[bytes]:
    tensors: list[bytes] = []
    for item in inputs:
        tensors.append(_write_tensor(item, max_bytes))
        max_bytes -= len(tensors[-1])
    return tensors


def _write_tensor(item: Any, max_bytes: int) -> bytes:
    where = f"input {item.name!r:.60}"
    if item.datatype not in _CONTENTS:
        raise InvalidInput(
            f"{where}: expected raw_input_contents, or contents of one of {', '.join(_CONTENTS)}, "
            f"got contents of {item.datatype!r:.40}"
        )
    field, kind = _CONTENTS[item.datatype]
    others = [found.name for found, _ in item.contents.ListFields() if found.name != field]
    if others:
        raise InvalidInput(f"{where}: expected {field} for {item.datatype}, got {', '.join(others)}")
    values = getattr(item.contents, field)
    datatype = DATATYPES[item.datatype]
    size_bytes = len(values) * (datatype.itemsize or LENGTH_BYTES) + (0 if datatype.itemsize else sum(map(len, values)))
    if size_bytes > max_bytes:
        raise BodyTooLarge(f"{where}: expected at most {max_bytes} bytes of tensors, got {size_bytes}")
    if not datatype.itemsize:
        return b"".join(write_elements(values[at : at + _PIECE_TEXTS]) for at in range(0, len(values), _PIECE_TEXTS))
    if datatype.is_float:
        # Floats are encoded as they are in memory, after the number and the length of the field.
        item.contents.DiscardUnknownFields()
        return bytes(item.contents.SerializeToString()[-size_bytes:])
    array = np.fromiter(values, kind, len(values))
    if datatype.itemsize < array.itemsize and array.size:
        range_ = np.iinfo(datatype.dtype)
        if array.min() < range_.min or array.max() > range_.max:
            raise InvalidInput(f"{where}: expected {item.datatype} from {range_.min} to {range_.max}, got others")
    return array.astype(datatype.dtype.newbyteorder("<"), copy=False).tobytes()


def _write_head(text: bytes, is_streamed: bool) -> tuple[bytes, list[int]]:
    """The ``ModelInferResponse`` of an answer's JSON without its tensors, and their sizes in bytes."""
    answer: Any = orjson.loads(text)
    message = _Answer(model_name=answer["model_name"], model_version=answer["model_version"])
    _set_parameters(message.parameters, answer.get("parameters", {}))
    if is_streamed:
        message.parameters[_FINAL].bool_param = True
    sizes = []
    for output in answer["outputs"]:
        parameters = output.get("parameters", {})
        sizes.append(parameters.pop("binary_data_size", 0))  # 0 in shared memory: clients count the contents
        item = message.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        _set_parameters(item.parameters, parameters)
    return message.SerializeToString(), sizes


_known = KnownMessages(_write_head)


def write_answer(reply: Reply, given_id: str, *, is_streamed: bool = False) -> bytes:
    """The ``ModelInferResponse`` of a reply of status 200. Encoded fields are just appended, as protobuf allows."""
    head, sizes, tensors = _known.find_head(reply, is_streamed=is_streamed)
    parts: list[bytes] = [head]
    if given_id:
        content = given_id.encode()
        parts += (_prefix(_ID, len(content)), content)
    at = 0
    for size in sizes:
        parts += (_prefix(_RAW_OUTPUT_CONTENTS, size), tensors[at : at + size])
        at += size
    return b"".join(parts)


def write_streamed(reply: Reply, request_id: str) -> bytes:
    """The ``ModelStreamInferResponse`` of any reply. ``request_id`` is the id in the caller's request."""
    if reply.status == 200:
        answer = write_answer(reply, request_id, is_streamed=True)
        return _prefix(_INFER_RESPONSE, len(answer)) + answer
    code, text, metadata = refusal_of(reply)
    streamed = _Streamed(error_message=text or code.name)
    streamed.infer_response.id = request_id
    _set_parameters(streamed.infer_response.parameters, {**dict(metadata), _FINAL: True})
    return bytes(streamed.SerializeToString())


def _set_parameters(target: MutableMapping[str, Any], parameters: Mapping[str, Any]) -> None:
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param"}
    for name, value in parameters.items():
        setattr(target[name], kinds.get(type(value), "string_param"), value)


def _prefix(number: int, size_bytes: int) -> bytes:
    """The encoded number and length of a field, which precede its bytes. protobuf's encoder is not public."""
    length_delimited = 2
    prefix = bytearray((number << 3 | length_delimited,))
    while size_bytes > 127:
        prefix.append(size_bytes & 127 | 128)
        size_bytes >>= 7
    prefix.append(size_bytes)
    return bytes(prefix)
