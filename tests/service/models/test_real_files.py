"""Files that people have, against plain ONNX Runtime: pretrained ones of packages, and models of scikit-learn."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.inferring import Plain, Refused, Tensors, find_difference, infer, load, open_plain, read_bits
from tests.support.models import graphs
from tests.support.models.real_packages import FILES, RealFile, read
from tests.support.processes import served
from tests.support.servers import FAST, settings_for

try:
    from tests.support.models import sklearn_models

    MODELS = sklearn_models.MODELS
except (ImportError, pytest.skip.Exception):  # not all packages are there
    MODELS = {}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

_CALLERS = 16
_REQUESTS = 8
_ROUNDS = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository: a server finds what is put there when it is asked for it."""
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=_CALLERS)
    with (
        served(settings_for(root, lazy=True, control=True, deadline_s=120.0), FAST) as server,
        httpx.Client(base_url=server.url, timeout=120, verify=False, limits=limits) as client,  # noqa: S501  # plain HTTP
    ):
        yield client


def check_answers(client: httpx.Client, name: str, plain: Plain, requests: list[Tensors]) -> None:
    """Alone and among the requests of 16 callers: to the bit, or within rounding where its card says so."""
    load(client, name)
    bits = read_bits(client, name)
    rtol = 0.0 if bits == "exact" else 1e-5
    expected = [plain.run(inputs) for inputs in requests]
    alone = [infer(client, name, inputs) for inputs in requests]
    found = [find_difference(got, wanted, rtol=rtol) for got, wanted in zip(alone, expected, strict=True)]
    assert found == [None] * _REQUESTS

    def call(caller: int) -> list[str | None]:
        mine = [(caller + step) % _REQUESTS for step in range(_ROUNDS)]
        got = {at: infer(client, name, requests[at]) for at in mine}
        return [
            find_difference(got[at], expected[at], rtol=rtol)
            or (find_difference(got[at], alone[at]) if bits in ("exact", "exact padded to 2") else None)
            for at in mine
        ]

    with ThreadPoolExecutor(_CALLERS) as callers:
        together = [difference for answers in callers.map(call, range(_CALLERS)) for difference in answers]
    assert together == [None] * _CALLERS * _ROUNDS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_real_file_is_answered_as_by_plain_onnx_runtime(file: RealFile, root: Path, client: httpx.Client) -> None:
    """Requests have one row or two, each with inputs of its own."""
    content = read(file)
    graphs.write_plain(root, file.name, content)
    generator = np.random.default_rng(0)
    check_answers(client, file.name, Plain(content), [file.draw(generator, 1 + at % 2) for at in range(_REQUESTS)])


@pytest.mark.parametrize("name", MODELS)
def test_model_of_scikit_learn_is_served_or_told_what_helps(name: str, root: Path, client: httpx.Client) -> None:
    """Converted by skl2onnx. A ZipMap is refused by name, with ``zipmap=False``."""
    converted = MODELS[name]()
    graphs.write_plain(root, name, converted.content)
    plain = open_plain(converted.content)
    if plain.unknown_types:
        with pytest.raises(Refused, match=r"zipmap\W+False"):
            load(client, name)
    else:
        check_answers(client, name, plain, [converted.draw(1 + seed % 3, seed) for seed in range(_REQUESTS)])
