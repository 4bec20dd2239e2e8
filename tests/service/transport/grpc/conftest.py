from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton

from tests.support.grpc_servers import GrpcServing, settings_of
from tests.support.models import graphs


@pytest.fixture(scope="session")
def grpc_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    models = {"double": graphs.double(), "other": graphs.double(), "broken": b"no graph"}
    models |= {"brain": graphs.triple_bf16(), "exhausting": graphs.exhausting()}
    for name, content in models.items():
        graphs.write_plain(root, name, content)
    return root


@pytest.fixture(scope="session")
def server(grpc_store: Path) -> Iterator[GrpcServing]:
    with GrpcServing(settings_of(grpc_store, max_body_bytes=1 << 20, lanes=1, max_queue_rows=1024)) as serving:
        yield serving


@pytest.fixture
def client(server: GrpcServing) -> Iterator[triton.InferenceServerClient]:
    with server.grpc_client() as client:
        yield client
