"""The messages of a Triton configuration, for its text form and for gRPC. They are declared in `model_config.proto`.

`make descriptors` compiles it. A module made by protoc would not do: it registers its messages for the whole process,
where those of any Triton client have the same names.
"""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet

PACKAGE = "inference"
POOL = descriptor_pool.DescriptorPool()
for _file in FileDescriptorSet.FromString(Path(__file__).with_name("model_config.binpb").read_bytes()).file:
    POOL.Add(_file)

ModelConfig: Any = message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.ModelConfig"))


def field_names(message: str) -> tuple[str, ...]:
    """The names of the fields of a message of the package."""
    return tuple(field.name for field in POOL.FindMessageTypeByName(f"{PACKAGE}.{message}").fields)


def value_names(enum: str) -> tuple[str, ...]:
    """The names of the values of an enum, in the order of their numbers."""
    return tuple(value.name for value in POOL.FindEnumTypeByName(f"{PACKAGE}.{enum}").values)
