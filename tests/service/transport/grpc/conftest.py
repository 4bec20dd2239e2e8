import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from onnx import TensorProto

from model_store import DEFAULT_ROOT
from tests.support.grpc_servers import GrpcServing, settings_of
from tests.support.models import graphs


@pytest.fixture(scope="session")
def grpc_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits classifier beside plain repositories of tiny graphs."""
    root = tmp_path_factory.mktemp("store")
    shutil.copytree(DEFAULT_ROOT / "digits-classifier", root / "digits-classifier")
    graphs.write_plain(root, "double", graphs.double())
    graphs.write_plain(root, "other", graphs.double())
    graphs.write_plain(root, "look-up", graphs.look_up())
    graphs.write_plain(root, "exhausting", graphs.exhausting())
    graphs.write_plain(root, "add", graphs.add())
    graphs.write_plain(root, "texts", graphs.echo(TensorProto.STRING))
    graphs.write_plain(root, "halves", graphs.echo(TensorProto.FLOAT16))
    graphs.write_plain(root, "brain", graphs.triple_bf16())
    graphs.write_plain(root, "bytes", graphs.echo(TensorProto.INT8))
    graphs.write_plain(root, "draw", graphs.draw())
    graphs.write_plain(root, "table", graphs.columns(300))
    graphs.write_plain(root, "broken", b"no graph")
    return root


@pytest.fixture(scope="session")
def server(grpc_store: Path) -> Iterator[GrpcServing]:
    with GrpcServing(settings_of(grpc_store, max_body_bytes=1 << 20, lanes=1, max_queue_rows=1024)) as serving:
        yield serving


@pytest.fixture
def client(server: GrpcServing) -> Iterator[triton.InferenceServerClient]:
    with server.client() as client:
        yield client
