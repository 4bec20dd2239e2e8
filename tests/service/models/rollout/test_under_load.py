"""Canaries of a whole server with two workers, under load, by the commands: the figures of the documentation."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.rollout import read_rollout
from tests.chaos.caller import Caller, Gone
from tests.chaos.server import ChaosServer
from tests.chaos.server import serving as serving_processes
from tests.service.models.rollout.serving import PATH, fails, slow, triples, write
from tests.support.models import graphs
from tests.support.processes import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CALLERS, EACH_PER_S = 40, 5
"""200 requests a second."""
WITHIN_S = 30.0
WATCHED_S = 15.0
_BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1000, 2, 3]}]}).encode()


class Load:
    """Callers who ask at a steady rate until they are stopped. ``seen`` counts statuses by version."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: Counter[tuple[int, str]] = Counter()
        self.lost = 0
        self._stop = asyncio.Event()

    async def _call(self, number: int) -> None:
        async with Caller(self.port) as caller:
            due = time.perf_counter() + number / (CALLERS * EACH_PER_S)
            while not self._stop.is_set():
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                due += 1 / EACH_PER_S
                try:
                    answer = await caller.post(PATH, _BODY)
                except Gone:
                    self.lost += 1
                    continue
                self.seen[answer.status, answer.json().get("model_version", "")] += 1

    async def run(self, until: Callable[[], bool], within_s: float) -> float:
        """Ask until something holds. Returns the seconds that took. Raises TimeoutError."""
        tasks = [asyncio.create_task(self._call(number)) for number in range(CALLERS)]
        began = time.perf_counter()
        try:
            async with asyncio.timeout(within_s):
                while not until():  # noqa: ASYNC110  # the server tells it by a file
                    await asyncio.sleep(0.1)
            return time.perf_counter() - began
        finally:
            self._stop.set()
            await asyncio.gather(*tasks)


def models(root: Path, *words: str) -> None:
    """``sluice models``."""
    command = [sys.executable, "-m", "sluice", "models", *words, "--store", str(root)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)


def has_returned(root: Path) -> bool:
    canary = read_rollout(root / "m").canary
    return canary is not None and bool(canary.returned)


async def settle(server: ChaosServer, holds: Callable[[dict[str, str | None]], bool]) -> None:
    """Until the cards of both workers say so. Each connection has one worker."""
    async with asyncio.timeout(30):
        for _ in range(8):
            async with Caller(server.port) as caller:
                while not holds((await caller.get("/v2/models/m/rollout")).json()):  # noqa: ASYNC110  # as a caller must
                    await asyncio.sleep(0.05)


async def begin_canary(server: ChaosServer, root: Path) -> None:
    """Give version 2 5 % of the requests of a server that is ready, in all workers."""
    await server.until_ready()
    models(root, "canary", "m", "2", "--percent", "5")
    await settle(server, lambda state: state["canary"] is not None and state["canary"]["state"] == "on trial")  # type: ignore[index]


@pytest.mark.parametrize("make", [fails, slow, triples], ids=["errors", "p99", "disagreement"])
def test_harmful_canary_is_back_within_30_s(make: Callable[[], bytes], tmp_path: Path) -> None:
    """With 5 % of 200 requests a second over two workers, and default limits. No answer is lost."""
    write(tmp_path, make())

    async def main() -> float:
        with serving_processes(tmp_path, workers=2) as server:
            await begin_canary(server, tmp_path)
            load = Load(server.port)
            seconds = await load.run(lambda: has_returned(tmp_path), WITHIN_S)
            await settle(server, lambda state: state["canary"]["state"] == "returned")  # type: ignore[index]
            again = Load(server.port)
            began = time.perf_counter()
            await again.run(lambda: time.perf_counter() - began > 2, 10)
            assert set(again.seen) == {(200, "1")}
            assert (load.lost, again.lost) == (0, 0)
            return seconds

    seconds = asyncio.run(main())
    canary = read_rollout(tmp_path / "m").canary
    assert canary is not None
    print(f"back after {seconds:.1f} s: {canary.returned}")


def test_harmless_canary_stays_and_is_promoted_without_a_failure(tmp_path: Path) -> None:
    """Watched for 15 s at 5 %, then for 5 s at 50 %; then it answers everything. No answer is lost or fails."""
    write(tmp_path, graphs.double())

    async def main() -> Counter[tuple[int, str]]:
        with serving_processes(tmp_path, workers=2) as server:
            await begin_canary(server, tmp_path)
            seen: Counter[tuple[int, str]] = Counter()
            for words, seconds in (
                ((), WATCHED_S),
                (("canary", "m", "2", "--percent", "50"), 5.0),
                (("promote", "m"), 5.0),
            ):
                if words:
                    models(tmp_path, *words)
                load, began = Load(server.port), time.perf_counter()
                await load.run(lambda: time.perf_counter() - began > seconds, seconds + 30)  # noqa: B023  # it is awaited
                assert load.lost == 0
                assert not has_returned(tmp_path)
                seen += load.seen
            await settle(server, lambda state: (state["stable"], state["canary"]) == ("2", None))
            return seen

    seen = asyncio.run(main())
    print(seen)
    assert {status for status, _ in seen} == {200}
