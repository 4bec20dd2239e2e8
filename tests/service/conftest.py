import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from onnx import TensorProto

from model_store import DEFAULT_ROOT
from tests.support.models import graphs
from tests.support.servers import PATHS, ServerPath, Serving, settings_for
from tests.support.wires import Wire


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits classifier beside plain repositories of tiny graphs."""
    root = tmp_path_factory.mktemp("store")
    shutil.copytree(DEFAULT_ROOT / "digits-classifier", root / "digits-classifier")
    graphs.write_plain(root, "double", graphs.double())
    graphs.write_plain(root, "look-up", graphs.look_up())
    graphs.write_plain(root, "exhausting", graphs.exhausting())
    graphs.write_plain(root, "add", graphs.add())
    graphs.write_plain(root, "fixed", graphs.one_at_a_time())
    graphs.write_plain(root, "texts", graphs.echo(TensorProto.STRING))
    graphs.write_plain(root, "halves", graphs.echo(TensorProto.FLOAT16))
    return root


@pytest.fixture(scope="session", params=PATHS, ids=lambda path: path.name)
def server_path(request: pytest.FixtureRequest) -> ServerPath:
    found: ServerPath = request.param
    return found


@pytest.fixture(scope="session")
def server(store: Path, server_path: ServerPath) -> Iterator[Serving]:
    with Serving(settings_for(store, max_body_bytes=1 << 20), server_path) as serving:
        yield serving


@pytest.fixture
def client(server: Serving) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def wire(server: Serving) -> Iterator[Wire]:
    with Wire(server) as wire:
        yield wire


@pytest.fixture(scope="session")
def reference_server(server_path: ServerPath) -> Iterator[Serving]:
    """All reference models."""
    settings = settings_for(DEFAULT_ROOT, max_body_bytes=4 << 20, state_key="of these tests")
    with Serving(settings, server_path) as serving:
        yield serving


@pytest.fixture
def reference(reference_server: Serving) -> Iterator[httpx.Client]:
    with reference_server.client() as client:
        yield client
