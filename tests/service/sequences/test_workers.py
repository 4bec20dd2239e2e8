"""Sequences of a server with two workers, as `sluice serve` starts them: whoever gets a request, the numbers are those
of one worker."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton

from tests.support.models import graphs
from tests.support.processes import Served, free_port
from tests.support.servers import Serving, settings_for

PLAYERS = 6
STEPS = 6
Totals = dict[str, list[float]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adder")
    graphs.write_loop(root, "adder", graphs.add_up(), {"total": "next_total", "x": None})
    return root


def post(url: str, name: str, number: float = 1, **marks: bool) -> httpx.Response:
    """One request over a connection of its own: the kernel may give it to either worker."""
    x = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number]}
    body = {"inputs": [x], "parameters": {"sequence_id": name, **marks}}
    with httpx.Client(verify=False) as client:  # noqa: S501  # plain HTTP: reading root certificates takes longer
        return client.post(f"{url}/v2/models/adder/infer", json=body)


def add_over_http(url: str, name: str, number: float, **marks: bool) -> float:
    answer = post(url, name, number, **marks)
    assert answer.status_code == 200, answer.text
    return float(np.float32(answer.json()["outputs"][0]["data"][0]))


def add_over_grpc(url: str, name: str, number: float, **marks: bool) -> float:
    x = triton.InferInput("x", [1, 1], "FP32")
    x.set_data_from_numpy(np.array([[number]], np.float32))
    options = [("grpc.use_local_subchannel_pool", 1)]  # again a connection of its own
    with triton.InferenceServerClient(url, channel_args=options) as client:
        return float(client.infer("adder", [x], sequence_id=name, **marks).as_numpy("next_total")[0, 0])


def play(url: str) -> Totals:
    """The totals of two sequences for each of six callers at once, their requests interleaved."""
    add = add_over_http if url.startswith("http") else add_over_grpc

    def play_two(player: int) -> Totals:
        totals: Totals = {f"sequence {player}": [], f"sequence {player + PLAYERS}": []}
        for step in range(STEPS):
            for name, found in totals.items():
                number = 0.1 * (player + 1) + step / 7
                found.append(add(url, name, number, sequence_start=step == 0, sequence_end=step == STEPS - 1))
        return totals

    with ThreadPoolExecutor(PLAYERS) as pool:
        return {name: totals for played in pool.map(play_two, range(PLAYERS)) for name, totals in played.items()}


@pytest.fixture(scope="module")
def expected(store: Path) -> Totals:
    with Serving(settings_for(store, provider="cpu")) as alone:
        return play(alone.url)


@pytest.mark.long
def test_sequences_over_two_workers_are_those_of_one(store: Path, expected: Totals) -> None:
    """Over HTTP and gRPC, by connections that either worker may get, the numbers are exactly the same."""
    grpc_port = str(free_port())
    with Served("--store", str(store), workers=2, environment={"SLUICE_GRPC_PORT": grpc_port}) as server:
        for url in (server.url, f"127.0.0.1:{grpc_port}"):
            assert play(url) == expected
        assert "sequence" in httpx.get(f"{server.url}/v2").json()["extensions"]
        assert "sequence_batching" in httpx.get(f"{server.url}/v2/models/adder/config").json()
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()
        prefix = 'sluice_requests_total{model="adder",route="infer handed on",status="200",version="1"}'
        [handed_on] = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(prefix)]
        assert 0 < handed_on < 2 * 2 * PLAYERS * STEPS


def keeps_rank(process: psutil.Process, number: int) -> bool:
    return any(file.path.endswith(f"/{number}.rank") for file in process.open_files())


@pytest.mark.slow
def test_sequences_of_a_killed_worker_are_gone_and_the_others_go_on(store: Path) -> None:
    """The sequences of a killed worker are 503 until another takes its place, and 400 after that."""
    with Served("--store", str(store), workers=2) as server:

        def ask(name: str, **marks: bool) -> httpx.Response:
            while True:
                try:
                    return post(server.url, name, **marks)
                except httpx.TransportError:  # a connection that the killed worker had been given
                    continue

        names = [f"sequence {i}" for i in range(16)]
        assert {ask(name, sequence_start=True).status_code for name in names} == {200}
        workers = psutil.Process(server.process.pid).children(recursive=True)
        next(worker for worker in workers if keeps_rank(worker, 0)).kill()
        answers = {name: [ask(name)] for name in names}
        for name, found in answers.items():
            while found[-1].status_code == 503:
                assert int(found[-1].headers["retry-after"]) >= 1
                found.append(ask(name))
        ends = [found[-1].status_code for found in answers.values()]
        assert set(ends) == {200, 400}
        assert 1 < ends.count(400) < 15
        assert {ask(name, sequence_start=True).status_code for name in names} == {200}
