"""Mutated v2 requests over real connections: each is answered, and none leaves anything behind."""

from random import Random

import pytest

from service.settings import Settings
from tests.fuzz.calls import LIMIT_S, Caller, fuzz
from tests.fuzz.mutations import mutate
from tests.fuzz.requests import make_request, write_models
from tests.support.processes import served
from tests.support.servers import PATHS, ServerPath, settings_for

SEED = 6
FEW, MANY = 1_000, 50_000
"""Requests for each path."""
WARM_UP_SHARE = 0.4
"""Over the first requests the caches fill, and what the C allocator keeps grows with them."""
MAX_GROWTH_BYTES = 16 << 20

by_path = pytest.mark.parametrize("server_path", PATHS, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    store = write_models(tmp_path_factory.mktemp("fuzz"))
    return settings_for(store, provider="cpu", lanes=2, max_body_bytes=1 << 20, deadline_s=120.0)


def test_same_seed_makes_the_same_requests() -> None:
    """A fault that was found can be sent again by its number, and different numbers differ."""
    first = [mutate(Random(f"{SEED}/{i}")).render() for i in range(200)]
    assert first == [mutate(Random(f"{SEED}/{i}")).render() for i in range(200)]
    assert len(set(first)) > 190


@by_path
def test_few_mutated_requests(settings: Settings, server_path: ServerPath) -> None:
    """Each is answered 2xx or 4xx in time, both kinds come, no room stays reserved; undamaged ones are all answered."""
    with served(settings, server_path) as server:
        caller = Caller(server.port)
        assert {tuple(caller.ask(make_request(Random(i)))) for i in range(100)} == {(200,)}
        caller.close()
        found = fuzz(server.port, SEED, FEW)
        assert not found.faults, "\n".join(found.faults[:20])
        assert found.slowest_s < LIMIT_S
        assert found.statuses[200] > FEW / 5
        assert found.statuses[400] > FEW / 5
        assert server.stop() == {"bytes of bodies": 0, "waiting rows": 0}


@pytest.mark.slow
@pytest.mark.timeout(900)
@by_path
def test_many_mutated_requests(settings: Settings, server_path: ServerPath) -> None:
    """Each of 50,000 is answered 2xx or 4xx in time, and the server's memory stays what it was after the warm-up."""
    with served(settings, server_path) as server:
        warm_up = int(MANY * WARM_UP_SHARE)
        found = fuzz(server.port, SEED, warm_up)
        device_tensor = [server.resident_bytes()]
        for part in range(4):
            found += fuzz(server.port, SEED + 1 + part, (MANY - warm_up) // 4)
            device_tensor.append(server.resident_bytes())
        print(
            f"{server_path.name}: {dict(sorted(found.statuses.items()))}, cut off without an answer {found.unanswered}"
        )
        print(f"slowest {found.slowest_s:.2f} s, resident MiB {[size >> 20 for size in device_tensor]}")
        assert not found.faults, "\n".join(found.faults[:20])
        assert found.slowest_s < LIMIT_S
        assert device_tensor[-1] - device_tensor[0] < MAX_GROWTH_BYTES
        assert server.stop() == {"bytes of bodies": 0, "waiting rows": 0}
