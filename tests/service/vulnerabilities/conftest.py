"""A server as everybody gets it and one that may be changed, with a secret beside their stores."""

import pickle
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from model_store import DEFAULT_ROOT
from tests.support.grpc_servers import GrpcServing
from tests.support.models import graphs
from tests.support.servers import FAST, settings_for

SECRET = "only-the-owner-knows"
X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}


@dataclass(frozen=True)
class Target:
    """A server, the folder that has its store, and what must not be there afterwards."""

    server: GrpcServing
    folder: Path
    client: httpx.Client

    @property
    def mark(self) -> Path:
        """The file that code of an attacker would make."""
        return self.folder / "mark"

    def check(self, reply: httpx.Response) -> None:
        """Refused, as the caller's fault or as what is not offered; and the server answers others."""
        assert 400 <= reply.status_code < 500 or reply.status_code == 501, reply.text
        assert SECRET not in reply.text
        self.check_alive()

    def check_alive(self) -> None:
        assert not self.mark.exists()
        answer = self.client.post("/v2/models/double/infer", json={"inputs": [X]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == [2, 4, 6]


def make_folder(folder: Path) -> Path:
    store = graphs.write_plain(folder / "store", "double", graphs.double())
    shutil.copytree(DEFAULT_ROOT / "digits-classifier", store / "digits-classifier")
    (folder / "secret.txt").write_text(SECRET)
    return store


def serve(folder: Path, **settings: object) -> Iterator[Target]:
    store = make_folder(folder)
    with GrpcServing(settings_for(store, max_rows=4, **settings), FAST) as server, server.client() as client:
        yield Target(server, folder, client)


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    yield from serve(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="package")
def changeable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Its owner lets callers on this machine load and unload models."""
    yield from serve(tmp_path_factory.mktemp("changeable"), control=True)


class _Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._path,)


def pickle_that_runs(mark: Path) -> bytes:
    """Bytes that make ``mark`` if anybody unpickles them."""
    return pickle.dumps(_Touch(mark))
