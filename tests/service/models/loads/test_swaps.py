"""The resources of a version are free again when another takes its place."""

import asyncio
import gc
import multiprocessing
import os
import threading
import weakref
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper

from service.models import profile
from service.settings import Settings
from tests.service.models.asking import infer
from tests.support.models import graphs
from tests.support.servers import FAST, ClosingWorker, Serving, settings_for

WIDTH = 256
WEIGHTS_MIB = 32
LOADS = 6


def multiply() -> bytes:
    """y = x w, with weights of 32 MiB."""
    columns = (WEIGHTS_MIB << 20) // 4 // WIDTH
    weights = np.random.default_rng(0).standard_normal((WIDTH, columns), np.float32)
    return graphs.build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [("y", TensorProto.FLOAT, ["batch", columns])],
        {"w": weights},
    )


def measure(store: Path, pipe: Connection, beside: bool) -> None:
    """Swap a model, and tell its memory in MiB, threads and open files: without it, and after each load."""
    profile._COMPARE_S = 0.0  # each size is measured once, which takes half as long

    async def swap() -> None:
        worker = ClosingWorker(Settings(store=store, control=True, provider="cpu", max_rows=4))
        registry, process = worker.registry, psutil.Process(os.getpid())

        def look() -> tuple[int, int, int]:
            return process.memory_info().rss >> 20, process.num_threads(), process.num_fds()

        for _ in range(2):
            await registry.load("m")  # the first brings in what is imported and started only once
            await registry.unload("m")
            await registry.lifecycle.retirement.end()
        pipe.send(look())
        for _ in range(LOADS):
            await registry.load("m")
            await registry.lifecycle.retirement.end()
            pipe.send(look())
            if not beside:
                await registry.unload("m")
                await registry.lifecycle.retirement.end()
        await worker.stop()

    asyncio.run(swap())


@pytest.mark.long
@pytest.mark.parametrize("beside", [False, True], ids=["unloaded before", "loaded beside"])
def test_swaps_give_memory_threads_and_files_back(tmp_path: Path, beside: bool) -> None:
    """A model holds its weights once, or twice where it also runs on all cores, and no swap adds to that."""
    graphs.write_plain(tmp_path, "m", multiply())
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=measure, args=(tmp_path, theirs, beside))
    process.start()
    theirs.close()  # so that we notice when the process ends
    seen = [ours.recv() for _ in range(1 + LOADS)]
    process.join(60)
    (without, _, _), first, *_, last = seen
    assert first[0] - without < 2.5 * WEIGHTS_MIB, seen
    assert last[0] < 1.1 * first[0], seen
    assert last[1] < first[1] + LOADS // 2, seen  # the pools of a server have more threads or fewer at any moment
    assert last[2] <= first[2], seen


def test_model_that_was_unloaded_is_let_go_of_at_once(tmp_path: Path) -> None:
    """Its memory is free without the garbage collector: no answer holds the model."""
    graphs.write_plain(tmp_path, "m", graphs.double())
    gone = threading.Event()
    with Serving(settings_for(tmp_path, control=True), FAST) as server, server.client() as client:
        gc.disable()
        try:
            for _ in range(3):
                assert infer(client, "m").status_code == 200
            weakref.finalize(server.worker.registry.find("m").loaded.session, gone.set)
            assert client.post("/v2/repository/models/m/unload").status_code == 200
            assert gone.wait(30)
        finally:
            gc.enable()
