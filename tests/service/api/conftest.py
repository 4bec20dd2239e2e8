"""The meaning of the routes is tested on the fast path alone; tests/service/transport compares the two paths."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from onnx import TensorProto

from model_store import DEFAULT_ROOT
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reference models beside plain repositories of tiny graphs."""
    root = tmp_path_factory.mktemp("store")
    for name in ("digits-classifier", "sunspots-forecaster", "elnino-forecaster", "date-translator"):
        shutil.copytree(DEFAULT_ROOT / name, root / name)
    echoes = {"floats": "FLOAT", "halves": "FLOAT16", "flags": "BOOL", "texts": "STRING"}
    models = {name: graphs.echo(TensorProto.DataType.Value(kind)) for name, kind in echoes.items()}
    models |= {"double": graphs.double(), "open": graphs.double("width"), "add": graphs.add(), "broken": b"no onnx"}
    models |= {"fixed": graphs.one_at_a_time(), "scalars": graphs.scalars(), "exhausting": graphs.exhausting()}
    models |= {"recurrent": graphs.recurrent(), "greatest": graphs.greatest()}
    for name, content in models.items():
        graphs.write_plain(root, name, content)
    graphs.write_loop(root, "counter", graphs.count_up(), {"total": "next_total", "x": None})
    return root


@pytest.fixture(scope="session")
def server(store: Path) -> Iterator[Serving]:
    with Serving(settings_for(store, max_body_bytes=4 << 20, max_rows=8), FAST) as serving:
        yield serving


@pytest.fixture(scope="session")
def reference_server() -> Iterator[Serving]:
    """All reference models, with small batches: each size up to the largest is run at load."""
    settings = settings_for(DEFAULT_ROOT, max_body_bytes=4 << 20, max_rows=8, state_key="of these tests")
    with Serving(settings, FAST) as serving:
        yield serving


@pytest.fixture
def reference(reference_server: Serving) -> Iterator[httpx.Client]:
    with reference_server.client() as client:
        yield client
