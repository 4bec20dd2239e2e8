"""The type of Triton's model configuration, the answer of `/v2/models/{model}/config`, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Annotated, Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from pydantic import WithJsonSchema

from model_store.triton.schema import ModelConfig as Message

_ALWAYS = (
    *("name", "platform", "backend", "version_policy", "max_batch_size", "input", "output", "instance_group"),
    *("default_model_filename", "parameters"),
)
_SOMETIMES = ("dynamic_batching", "sequence_batching")
_TYPES: Mapping[int, dict[str, Any]] = {
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptor.CPPTYPE_UINT64: {"type": "integer", "minimum": 0},
}


def _describe_message(message: Descriptor, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """The schema of an object with these fields, or with all fields of the message."""
    fields = [message.fields_by_name[name] for name in names] or message.fields
    properties = {field.name: _describe_field(field) for field in fields}
    return {"type": "object", "title": message.name, "properties": properties, "additionalProperties": False}


def _describe_field(field: FieldDescriptor) -> dict[str, Any]:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _describe_field(message.fields_by_name["value"])}
    if message is not None:
        one = _describe_message(message)
    elif field.enum_type is not None:
        one = {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    else:
        one = _TYPES.get(field.cpp_type, {"type": "integer"})
    return {"type": "array", "items": one} if field.default_value == [] else one  # only repeated fields default to []


_ABOUT = (
    "Dims are without the batch axis; `reshape` is there where the graph has another shape. `max_batch_size` 0: the "
    "tensors have no batch axis. `sequence_batching` is of models that carry state from request to request: both of "
    "its strategies are served as `oldest`."
)
_SCHEMA = _describe_message(Message.DESCRIPTOR, (*_ALWAYS, *_SOMETIMES))
ModelConfig = Annotated[dict[str, Any], WithJsonSchema({**_SCHEMA, "required": [*_ALWAYS], "description": _ABOUT})]
