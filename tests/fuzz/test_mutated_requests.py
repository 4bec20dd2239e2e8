"""Mutated v2 requests over real connections: each is answered, and none leaves anything behind."""

from random import Random

import pytest

from service.settings import Settings
from tests.fuzz.calls import Caller, Findings, fuzz
from tests.fuzz.mutations import mutate
from tests.fuzz.requests import make_request, write_models
from tests.support.processes import served
from tests.support.servers import PATHS, ServerPath, settings_for

SEED = 6
FEW, MANY = 1_000, 10_000
"""Requests of a part."""
WARM_UP = 2
"""Over the first parts the caches fill, and what the C allocator keeps grows with them."""
MAX_GROWTH_BYTES = 16 << 20


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    store = write_models(tmp_path_factory.mktemp("fuzz"))
    return settings_for(store, provider="cpu", lanes=2, max_body_bytes=1 << 20, deadline_s=120.0)


def test_same_seed_makes_the_same_requests() -> None:
    """The same number makes the same request, and different numbers make different ones."""
    first = [mutate(Random(f"{SEED}/{i}")).render() for i in range(200)]
    assert first == [mutate(Random(f"{SEED}/{i}")).render() for i in range(200)]
    assert len(set(first)) > 190


@pytest.mark.parametrize(
    ("parts", "count"),
    [
        pytest.param(1, FEW, id="few"),
        pytest.param(5, MANY, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
@pytest.mark.parametrize("server_path", PATHS, ids=lambda path: path.name)
def test_mutated_requests(settings: Settings, server_path: ServerPath, parts: int, count: int) -> None:
    """Each is answered 2xx or 4xx in time, undamaged ones 200; no room stays reserved, and memory stays what it was."""
    with served(settings, server_path) as server:
        caller = Caller(server.port)
        assert {tuple(caller.ask(make_request(Random(i)))) for i in range(100)} == {(200,)}
        caller.close()
        found, resident_bytes = Findings(), []
        for part in range(parts):
            found += fuzz(server.port, SEED + part, count)
            resident_bytes.append(server.resident_bytes())
        print(f"{server_path.name}: {found}, resident MiB {[size >> 20 for size in resident_bytes]}")
        assert not found.faults, "\n".join(found.faults[:20])
        assert min(found.statuses[200], found.statuses[400]) > parts * count / 5
        assert resident_bytes[-1] - resident_bytes[:WARM_UP][-1] < MAX_GROWTH_BYTES
        assert server.stop() == {"bytes of bodies": 0, "waiting rows": 0}
