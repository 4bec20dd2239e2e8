"""A server with more models than fit into its memory: ``python -m benchmarks.many_models``.

It writes a store of models of one size, measures what one of them takes, and gives a server room for some of them.
Callers choose models by Zipf's law, and check that each answer is that of the model which they asked. The report has
errors, the share of requests that found their model in memory, latencies, and the memory of the server.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from loadtests.bench.server import free_port, run_server

_WIDTH = 64
_START_S = 120.0
_TIMEOUT_S = 60.0


def write_store(root: Path, models: int, weight_bytes: int) -> None:
    """Plain models m0, m1, …: model i multiplies a row by i + 1, and by a matrix that takes the memory."""
    columns = max(1, weight_bytes // 4 // _WIDTH)
    weights = np.random.default_rng(0).standard_normal((_WIDTH, columns), np.float32)
    for number in range(models):
        factor = np.array([number + 1], np.float32)
        graph = helper.make_graph(
            [helper.make_node("Mul", ["x", "factor"], ["y"]), helper.make_node("MatMul", ["y", "w"], ["z"])],
            "m",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", _WIDTH])],
            [
                helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", _WIDTH]),
                helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", columns]),
            ],
            [numpy_helper.from_array(factor, "factor"), numpy_helper.from_array(weights + np.float32(number), "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        folder = root / f"m{number}" / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(model.SerializeToString())


@contextlib.contextmanager
def serve(store: Path, **settings: object) -> Iterator[int]:
    """A server of one worker. Gives its port when it is ready. Raises ServerFailed if it does not get ready."""
    port = free_port()
    given = {"STORE": store, "PORT": port, "LOG_LEVEL": "warning", "PROVIDER": "cpu", "FOLLOW": "false", **settings}
    environ = {name: "" for name in os.environ if name.startswith("SLUICE_")}  # an empty variable counts as unset
    environ |= {f"SLUICE_{name}": str(value) for name, value in given.items()}
    command, address = [sys.executable, "-m", "sluice", "serve"], f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory() as folder,
        run_server(command, environ, Path(folder, "server.log"), address, "/readyz", _START_S),
    ):
        yield port


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def read_metrics(port: int) -> Mapping[str, float]:
    """The sum of each metric over its labels."""
    sums: dict[str, float] = {}
    for name, value in re.findall(r"^(sluice_\w+)(?:\{.*\})? (\S+)$", get(port, "/metrics")[1], re.MULTILINE):
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums


@dataclass
class Caller:
    """Sends the next request when the last is answered, until ``until``. ``weights`` are how often models are asked."""

    port: int
    seed: int
    weights: list[float]
    until: float
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def run(self) -> None:
        choose = random.Random(self.seed)  # noqa: S311  # not for secrets
        numbers = range(len(self.weights))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        while time.monotonic() < self.until:
            number = choose.choices(numbers, self.weights)[0]
            began = time.perf_counter()
            fault = self._ask(connection, number)
            self.seconds.append(time.perf_counter() - began)
            if fault:
                self.errors.append(fault)
                connection.close()
        connection.close()

    @staticmethod
    def _ask(connection: http.client.HTTPConnection, number: int) -> str:
        """What is wrong with the answer of a model; "" if nothing is."""
        x = {"name": "x", "shape": [1, _WIDTH], "datatype": "FP32", "data": [1.0] * _WIDTH}
        try:
            connection.request(
                "POST", f"/v2/models/m{number}/infer", json.dumps({"inputs": [x], "outputs": [{"name": "y"}]})
            )
            answer = connection.getresponse()
            content = answer.read()
        except OSError as error:
            return f"{type(error).__name__}: {error}"
        if answer.status != 200:
            return f"{answer.status}: {content.decode()}"
        got = json.loads(content)["outputs"][0]["data"]
        return "" if got == [number + 1.0] * _WIDTH else f"m{number}: a wrong answer"


def measure_one(store: Path) -> float:
    """The most bytes that one of the first models takes in a server that counts them."""
    with serve(store, MODEL_MEMORY_BYTES=1 << 40, MODELS="m0,m1,m2,m3") as port:
        text = get(port, "/metrics")[1]
        return max(map(float, re.findall(r"^sluice_model_memory_bytes\{.*\} (\S+)$", text, re.MULTILINE)))


def run(store: Path, models: int, room_for: int, callers: int, seconds: float, exponent: float) -> dict[str, Any]:
    """The report of one load."""
    one = measure_one(store)
    limit = int((room_for + 0.5) * one)
    with serve(store, MODEL_MEMORY_BYTES=limit) as port:
        weights = [1.0 / rank**exponent for rank in range(1, models + 1)]
        random.Random(1).shuffle(weights)  # noqa: S311  # the popular models are not those that load at the start
        before, began = read_metrics(port), time.monotonic()
        clients = [Caller(port, seed, weights, began + seconds) for seed in range(callers)]
        threads = [threading.Thread(target=caller.run) for caller in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = read_metrics(port)
        took = time.monotonic() - began
    durations = sorted(each for caller in clients for each in caller.seconds)
    errors = [each for caller in clients for each in caller.errors]

    def gained(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    cuts = statistics.quantiles(durations, n=1000)
    loads = gained("sluice_model_loads_on_demand_total")
    return {
        "models": models,
        "room for": room_for,
        "callers": callers,
        "requests": len(durations),
        "requests/s": round(len(durations) / took, 1),
        "errors": len(errors),
        "first errors": errors[:3],
        "hit rate": round(1 - loads / len(durations), 4),
        "loads on demand": int(loads),
        "evictions": int(gained("sluice_model_evictions_total")),
        "p50 ms": round(1e3 * cuts[499], 2),
        "p99 ms": round(1e3 * cuts[989], 2),
        "largest ms": round(1e3 * durations[-1], 2),
        "one model MiB": round(one / 2**20, 2),
        "limit MiB": round(limit / 2**20, 1),
        "counted at the end MiB": round(after["sluice_model_memory_bytes"] / 2**20, 1),
        "server at the start MiB": round(before["sluice_worker_memory_bytes"] / 2**20, 1),
        "server at the end MiB": round(after["sluice_worker_memory_bytes"] / 2**20, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--room-for", type=int, default=20)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law")
    parser.add_argument("--weight-bytes", type=int, default=2 << 20, help="of each model")
    asked = parser.parse_args()
    store = Path(tempfile.mkdtemp(prefix="many-models-"))
    try:
        write_store(store, asked.models, asked.weight_bytes)
        report = run(store, asked.models, asked.room_for, asked.callers, asked.seconds, asked.exponent)
    finally:
        shutil.rmtree(store)
    for name, value in report.items():
        print(f"{name:>24}: {value}")
    return 1 if report["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
