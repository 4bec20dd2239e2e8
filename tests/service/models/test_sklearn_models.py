"""Models of scikit-learn, converted by skl2onnx: served as they are, or refused with the option that makes them so."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.inferring import Refused, find_difference, infer, load, open_plain, read_bits
from tests.support.models import graphs
from tests.support.processes import Process, served
from tests.support.servers import FAST, settings_for

models = pytest.importorskip("tests.support.models.sklearn_models", exc_type=ImportError)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

_CALLERS = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sklearn")


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Process]:
    with served(settings_for(root, lazy=True, control=True, deadline_s=120.0), FAST) as process:
        yield process


@pytest.fixture
def client(server: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120, verify=False) as client:  # noqa: S501  # plain HTTP
        yield client


@pytest.mark.parametrize("name", models.MODELS)
def test_model_of_scikit_learn_is_served_or_refused_with_what_helps(
    name: str, root: Path, client: httpx.Client
) -> None:
    """Alone and in company the answers are ONNX Runtime's; a ZipMap is refused by name, with ``zipmap=False``."""
    converted = models.MODELS[name]()
    graphs.write_plain(root, name, converted.content)
    plain = open_plain(converted.content)
    if plain.unknown_types:
        with pytest.raises(Refused, match=r"zipmap\W+False"):
            load(client, name)
        return
    load(client, name)
    rtol = 0.0 if read_bits(client, name) == "exact" else 1e-5
    requests = [converted.draw(1 + seed % 3, seed) for seed in range(_CALLERS)]
    expected = [plain.run(inputs) for inputs in requests]

    def call(at: int) -> str | None:
        return find_difference(infer(client, name, requests[at]), expected[at], rtol=rtol)

    assert [call(at) for at in range(_CALLERS)] == [None] * _CALLERS
    with ThreadPoolExecutor(_CALLERS) as callers:
        assert list(callers.map(call, [*range(_CALLERS)] * 4)) == [None] * 4 * _CALLERS
