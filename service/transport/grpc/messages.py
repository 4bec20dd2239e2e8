"""The messages and methods of the protocol, declared in `service.proto`, which `make descriptors` compiles.

A module made by protoc is not used: it registers its messages for the whole process, where they would clash with those
of a client of the protocol.
"""

from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import message_factory, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from model_store.triton.schema import POOL

SERVICE = "GRPCInferenceService"
FULL_NAME = f"inference.{SERVICE}"


class Method(NamedTuple):
    """The messages of a method. ``streams``: it takes and gives many of them."""

    request: Any
    response: Any
    streams: bool


for _file in FileDescriptorSet.FromString(Path(__file__).with_name("service.binpb").read_bytes()).file:
    POOL.Add(_file)
for _module in (health_pb2, reflection_pb2):  # so that reflection describes these services too
    POOL.AddSerializedFile(_module.DESCRIPTOR.serialized_pb)
# Version 1 of reflection equals the last alpha version, but has another name. The library lacks it.
_alpha = text_format.MessageToString(FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb))
POOL.Add(text_format.Parse(_alpha.replace("v1alpha", "v1"), FileDescriptorProto()))
_service = POOL.FindServiceByName(FULL_NAME)

MESSAGES = {
    name: message_factory.GetMessageClass(message) for name, message in _service.file.message_types_by_name.items()
}
METHODS = {
    method.name: Method(MESSAGES[method.input_type.name], MESSAGES[method.output_type.name], method.client_streaming)
    for method in _service.methods
}
