"""The descriptors that are checked in are those of the .proto files beside them."""

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
INTERFACES = ("model_store/triton/model_config.proto", "service/transport/grpc/service.proto")


@pytest.mark.parametrize("name", INTERFACES)
def test_descriptors_are_those_of_the_interface_file(name: str, tmp_path: Path) -> None:
    """They are what protoc makes of it; if not, `make descriptors` was forgotten."""
    interface, made = ROOT / name, tmp_path / "made.binpb"
    folders = (f"-I{interface.parent}", f"-I{ROOT / 'model_store/triton'}")
    assert protoc.main(["protoc", *folders, f"--descriptor_set_out={made}", interface.name]) == 0
    kept = interface.with_suffix(".binpb")
    assert FileDescriptorSet.FromString(kept.read_bytes()) == FileDescriptorSet.FromString(made.read_bytes())
