from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.access.asking import Clock, guard_of, settings_with_keys
from tests.support.grpc_servers import GrpcServing
from tests.support.models import graphs
from tests.support.servers import ServerPath


@pytest.fixture(scope="session")
def plain_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graphs.write_plain(tmp_path_factory.mktemp("plain"), "double", graphs.double())


@pytest.fixture(scope="session")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.toml"


@pytest.fixture(scope="session")
def server(plain_store: Path, keys_file: Path, server_path: ServerPath) -> Iterator[GrpcServing]:
    """It asks for keys, over HTTP and gRPC."""
    with GrpcServing(settings_with_keys(plain_store, keys_file), server_path) as serving:
        yield serving


@pytest.fixture
def clock(server: GrpcServing) -> Clock:
    """The time of the guard, at which no limit has been touched."""
    guard = guard_of(server)
    guard._keys.ring._limits.clear()
    guard._keys.ring.replace(guard._keys._read())
    clock = Clock(guard)
    if guard._keys._watched is not None:
        guard._keys._watched._next_look = 0.0
    return clock
