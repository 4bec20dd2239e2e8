"""Versions that are published one after another while many clients send requests: no request fails."""

import asyncio
import gc
import json
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pytest

from model_store import Store
from service.settings import Settings
from tests.service.models.following.stores import publish
from tests.support.servers import FAST, Serving

POOLS = ("other", "store", "decode", "parse")
"""Pools of a few threads, which begin when they are first needed."""
VERSIONS = 50
CLIENTS = 64
_REQUEST = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}).encode()
_HEAD = b"POST /v2/models/m%s/infer HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Clients:
    """Keep asking, each on its own connection: every second by the alias ``live``. They count what they see."""

    def __init__(self, port: int, tell: Callable[[int], None]) -> None:
        self.port = port
        self.tell = tell
        """Called with each version that is seen first."""
        self.seen: Counter[str] = Counter()
        """Answers by version."""
        self.wrong: list[str] = []
        self.longest_s = 0.0
        self.newest = asyncio.Event()
        self._stops = False

    async def ask(self, path: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = _HEAD % (path, len(_REQUEST))
        before = 0
        while not self._stops:
            began = time.perf_counter()
            writer.write(head + _REQUEST)
            lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            size = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length"))
            said = json.loads(await reader.readexactly(size))
            self.longest_s = max(self.longest_s, time.perf_counter() - began)
            if b" 200 " not in lines[0]:
                self.wrong.append(str(said))
                continue
            number, data = int(said["model_version"]), said["outputs"][0]["data"]
            if data != [number * x for x in (1, 2, 3)] or number < before:
                self.wrong.append(f"version {number} after {before}: {data}")
            before = number
            if str(number) not in self.seen:
                self.tell(number)
            self.seen[str(number)] += 1
            if number == VERSIONS:
                self.newest.set()
        writer.close()

    async def run(self) -> None:
        tasks = [asyncio.create_task(self.ask(b"/versions/live" if i % 2 else b"")) for i in range(CLIENTS)]
        await self.newest.wait()
        self._stops = True
        await asyncio.gather(*tasks)


def ask(port: int, pipe: Connection) -> None:
    """The clients, in a process of their own."""
    clients = Clients(port, pipe.send)
    asyncio.run(asyncio.wait_for(clients.run(), 600))
    pipe.send((clients.seen, clients.wrong, clients.longest_s))


def publish_all(root: Path, pipe: Connection) -> None:
    """Publish the versions as fast as they are seen, each with the alias, in a process of its own."""
    for number in range(2, VERSIONS + 1):
        pipe.recv()  # the version before it has been seen
        publish(root, number)
        Store(root).set_alias("m", "live", number)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fifty_versions_are_published_under_64_clients(tmp_path: Path) -> None:
    """Every answer is that of the version it names, none is an error or goes back to an older version, and memory,
    threads and open files are afterwards what they were before."""
    publish(tmp_path, 1)
    Store(tmp_path).set_alias("m", "live", 1)
    context = multiprocessing.get_context("spawn")
    process = psutil.Process(os.getpid())

    def look() -> tuple[float, int, int]:
        gc.collect()
        of_pools = sum(thread.name.startswith(POOLS) for thread in threading.enumerate())
        return process.memory_info().rss / (1 << 20), process.num_threads() - of_pools, process.num_fds()

    with Serving(Settings(store=tmp_path), FAST) as server, server.client() as client:
        registry, loop = server.worker.registry, server.worker.tasks.loop

        def settle() -> None:
            asyncio.run_coroutine_threadsafe(registry.lifecycle.retirement.end(), loop).result(60)

        def wait_for(number: int) -> None:
            ends = time.monotonic() + 120
            while client.get("/v2/models/m").json()["versions"] != [str(number)]:
                assert time.monotonic() < ends, client.get("/models").json()

        asking, publishing = context.Pipe(), context.Pipe()
        seen = []
        processes = [
            context.Process(target=ask, args=(server.port, asking[1])),
            context.Process(target=publish_all, args=(tmp_path, publishing[1])),
        ]
        for each in processes:
            each.start()
        for number in range(1, VERSIONS + 1):
            assert asking[0].recv() == number
            wait_for(number)
            settle()
            seen.append(look())
            if number < VERSIONS:
                publishing[0].send("seen")
        counts, wrong, longest_s = asking[0].recv()
        for each in processes:
            each.join(60)
    print(f"{sum(counts.values())} answers of {len(counts)} versions, longest {longest_s * 1000:.0f} ms")
    print("MiB, threads, files after version 10:", seen[9], "and after 50:", seen[-1])
    assert wrong == []
    assert set(counts) == {str(number) for number in range(1, VERSIONS + 1)}
    early, late = np.array(seen[9]), np.array(seen[-1])
    assert (late <= early * 1.05).all(), seen
