"""Mutated connections of HTTP/2 over real sockets: each ends or goes on, and none leaves anything behind."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from service.transport.grpc import protocol
from tests.fuzz.frames import fuzz, make_conversation
from tests.support.grpc_servers import GrpcServing, ones, settings_of
from tests.support.models import graphs

SEED = 25
FEW, MANY = 300, 20_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServing]:
    store: Path = graphs.write_plain(tmp_path_factory.mktemp("frames"), "double", graphs.double())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "_LOOK_S", 0.1)
        with GrpcServing(settings_of(store, body_timeout_s=0.5, header_timeout_s=0.5, lanes=2)) as serving:
            yield serving


def test_same_seed_makes_the_same_conversations() -> None:
    """The same number makes the same bytes, and different numbers different ones."""
    first = [make_conversation(Random(f"{SEED}/{i}")) for i in range(100)]
    assert first == [make_conversation(Random(f"{SEED}/{i}")) for i in range(100)]
    assert len({b"".join(each) for each in first}) > 95


@pytest.mark.parametrize(
    "count",
    [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_mutated_frames(server: GrpcServing, count: int) -> None:
    """The server sends whole frames, closes what is broken, answers others meanwhile, and holds nothing at the end."""
    host, _, port = server.grpc_url.rpartition(":")
    with server.grpc_client() as client:
        found = fuzz((host, int(port)), SEED, count, lambda: client.infer("double", ones(2)).as_numpy("y").sum())
    print(found)
    assert not found.faults, "\n".join(found.faults[:20])
    assert found.answers > count / 4
    assert found.ends > count / 20
    handler = server.worker.handler
    server.until(lambda: handler.body_budget.held_bytes == 0 and handler.in_flight == 0)
