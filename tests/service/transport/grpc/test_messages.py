"""The messages are those of the public clients, and the server describes them."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import model_config_pb2, service_pb2

from service.transport.grpc.messages import FULL_NAME, MESSAGES, METHODS, SERVICE
from tests.support.grpc_servers import GrpcServing, channel

THEIRS = {**service_pb2.DESCRIPTOR.message_types_by_name, **model_config_pb2.DESCRIPTOR.message_types_by_name}
THEIR_METHODS = service_pb2.DESCRIPTOR.services_by_name[SERVICE].methods


def facts(field: FieldDescriptor) -> tuple[Any, ...]:
    """What determines the bytes and the use of a field."""
    named = field.message_type or field.enum_type
    oneof = field.containing_oneof
    return (
        *(field.number, field.type, field.is_repeated, field.is_packed),
        *(named and named.full_name, oneof and oneof.name),
    )


def differences(ours: Descriptor, theirs: Descriptor) -> list[str]:
    found = [
        f"{ours.full_name}.{field.name}"
        for field in ours.fields
        if field.name not in theirs.fields_by_name or facts(field) != facts(theirs.fields_by_name[field.name])
    ]
    for name, nested in ours.nested_types_by_name.items():
        found += differences(nested, theirs.nested_types_by_name[name])
    for name, enum in ours.enum_types_by_name.items():
        expected = {value.name: value.number for value in theirs.enum_types_by_name[name].values}
        if {value.name: value.number for value in enum.values} != expected:
            found.append(enum.full_name)
    return found


@pytest.mark.parametrize("name", MESSAGES)
def test_message_is_that_of_the_clients(name: str) -> None:
    """Each field has the name, number and type of tritonclient's; only the model's configuration lacks some."""
    assert differences(MESSAGES[name].DESCRIPTOR, THEIRS[name]) == []
    if not name.startswith("Model") or "Infer" in name:
        assert set(MESSAGES[name].DESCRIPTOR.fields_by_name) == set(THEIRS[name].fields_by_name)


def test_methods_are_those_of_the_clients() -> None:
    """All methods but those of shared memory of CUDA are there, with the same messages and streams."""
    theirs = {
        method.name: (method.input_type.name, method.output_type.name, method.client_streaming)
        for method in THEIR_METHODS
        if "CudaSharedMemory" not in method.name
    }
    ours = {
        name: (method.request.DESCRIPTOR.name, method.response.DESCRIPTOR.name, method.streams)
        for name, method in METHODS.items()
    }
    assert ours == theirs


@pytest.mark.parametrize(
    ("service", "message"),
    [
        (FULL_NAME, "ModelInferRequest"),
        ("grpc.health.v1.Health", "HealthCheckRequest"),
        ("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionRequest"),
    ],
)
def test_server_describes_its_services(server: GrpcServing, service: str, message: str) -> None:
    """A client without the interface file learns by reflection which services there are, and their messages."""
    with channel(server) as open_channel:
        known = ProtoReflectionDescriptorDatabase(open_channel)
        assert service in known.get_services()
        assert message in [found.name for found in known.FindFileContainingSymbol(service).message_type]
