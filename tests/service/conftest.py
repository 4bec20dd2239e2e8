import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model_store import DEFAULT_ROOT
from tests.support.models import graphs
from tests.support.servers import PATHS, ServerPath, Serving, settings_for
from tests.support.wires import Wire


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What runs the tests that are coroutines."""
    return "asyncio"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits classifier beside plain repositories of tiny graphs."""
    root = tmp_path_factory.mktemp("store")
    shutil.copytree(DEFAULT_ROOT / "digits-classifier", root / "digits-classifier")
    graphs.write_plain(root, "add", graphs.add())
    graphs.write_plain(root, "wide", graphs.double("width"))
    return graphs.write_plain(root, "double", graphs.double())


MAX_ROWS = 8
"""Of a batch: each size is run at load, which takes seconds where there are 64."""


@pytest.fixture(scope="session", params=PATHS, ids=lambda path: path.name)
def server_path(request: pytest.FixtureRequest) -> ServerPath:
    found: ServerPath = request.param
    return found


@pytest.fixture(scope="session")
def server(store: Path, server_path: ServerPath) -> Iterator[Serving]:
    with Serving(settings_for(store, max_body_bytes=1 << 20, max_rows=MAX_ROWS), server_path) as serving:
        yield serving


@pytest.fixture
def client(server: Serving) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def wire(server: Serving) -> Iterator[Wire]:
    with Wire(server) as wire:
        yield wire
