"""Files that people have: pretrained ONNX files of packages, served as they are, against plain ONNX Runtime."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.inferring import Plain, Tensors, find_difference, infer, load, read_bits
from tests.support.models import graphs
from tests.support.models.real_packages import FILES, RealFile, read
from tests.support.processes import Process, served
from tests.support.servers import FAST, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_CALLERS = 16
_REQUESTS = 8
_ROUNDS = 3


@dataclass(frozen=True)
class Asked:
    """A model by its name, and requests with the answers that they must get."""

    name: str
    requests: tuple[tuple[Tensors, Tensors], ...]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository: a server finds what is put there when it is asked for it."""
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Process]:
    with served(settings_for(root, lazy=True, control=True, deadline_s=120.0), FAST) as process:
        yield process


@pytest.fixture
def client(server: Process) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=_CALLERS)
    with httpx.Client(base_url=server.url, timeout=120, verify=False, limits=limits) as client:  # noqa: S501  # plain HTTP
        yield client


@pytest.fixture(params=FILES, ids=lambda file: file.name)
def asked(request: pytest.FixtureRequest, root: Path) -> Asked:
    """Requests of one row and of two, each with inputs of its own."""
    file: RealFile = request.param
    content = read(file)
    graphs.write_plain(root, file.name, content)
    plain, generator = Plain(content), np.random.default_rng(0)
    drawn = [file.draw(generator, 1 + at % 2) for at in range(_REQUESTS)]
    return Asked(file.name, tuple((inputs, plain.run(inputs)) for inputs in drawn))


def test_real_file_is_answered_as_by_plain_onnx_runtime(asked: Asked, client: httpx.Client) -> None:
    """Alone and among the requests of 16 callers: to the bit, or within rounding where its card says so."""
    load(client, asked.name)
    bits = read_bits(client, asked.name)
    rtol = 0.0 if bits == "exact" else 1e-5
    alone = [infer(client, asked.name, inputs) for inputs, _ in asked.requests]
    found = [find_difference(got, wanted, rtol=rtol) for got, (_, wanted) in zip(alone, asked.requests, strict=True)]
    assert found == [None] * _REQUESTS

    def call(caller: int) -> list[str | None]:
        mine = [(caller + step) % _REQUESTS for step in range(_ROUNDS)]
        got = {at: infer(client, asked.name, asked.requests[at][0]) for at in mine}
        return [
            find_difference(got[at], asked.requests[at][1], rtol=rtol)
            or (find_difference(got[at], alone[at]) if bits in ("exact", "exact padded to 2") else None)
            for at in mine
        ]

    with ThreadPoolExecutor(_CALLERS) as callers:
        together = [difference for answers in callers.map(call, range(_CALLERS)) for difference in answers]
    assert together == [None] * _CALLERS * _ROUNDS
