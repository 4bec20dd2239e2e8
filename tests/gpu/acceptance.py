"""The facts of the GPU acceptance, each as rows of a table. ``make test-gpu`` runs them on a GPU, tests on the CPU."""

import gc
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.gpu import Sweep, measure
from loadtests.bench.models.resnet import build_resnet
from model_store import DEFAULT_ROOT, Store
from service.engine.batching.buckets import make_buckets
from service.engine.onnx.binding import DeviceTensor
from service.engine.onnx.providers import NAMES
from service.engine.onnx.session import Session
from service.metrics.devices import read_gpus
from service.models.loading import LoadedVersion, load_version
from service.settings import Settings
from tests.chaos.checks import Check, at_most, equals
from tests.support.models import graphs

MAX_ROWS = 8
SHARE = 0.9
STEPS = 4
BATCHES = (1, 4, 16, 64)


@dataclass(frozen=True)
class Machine:
    """What the facts are checked on. ``device`` is ONNX Runtime's name of the place of tensors."""

    policy: str
    device: str
    used_bytes: Callable[[], int]

    @property
    def provider(self) -> str:
        return NAMES[self.policy]


GPU = Machine("cuda", "cuda", lambda: sum(gpu.used_bytes for gpu in read_gpus()))


@dataclass(frozen=True)
class Network:
    """A residual network: its file, and the sides of its pictures."""

    content: bytes
    side: int

    def make_rows(self, count: int, seed: int = 0) -> np.ndarray:
        shape = (count, 3, self.side, self.side)
        return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def check_references(machine: Machine, root: Path = DEFAULT_ROOT) -> list[Check]:
    """Every graph of every reference model runs on the provider, and gives its golden samples."""
    if not Store(root).names():
        raise FileNotFoundError(f"{root}: expected models to check")
    store, fallen, unproved, graph_count, worst = Store(root), [], [], 0, 0.0
    for name in store.names():
        loaded = load_version(store.versions(name)[-1], Settings(provider=machine.policy))  # raises if samples differ
        assert isinstance(loaded, LoadedVersion)
        for graph_name, graph in {"main": loaded, **loaded.graphs}.items():
            graph_count += 1
            if graph.session.provider != machine.provider:
                fallen.append(f"{name}/{graph_name} on {graph.session.provider}")
        if loaded.golden_error is None:
            unproved.append(name)
        else:
            worst = max(worst, loaded.golden_error)
    return [
        equals(f"graphs of {graph_count} that do not run on {machine.provider}", [], fallen),
        equals(f"models without golden samples (largest difference of the others: {worst:.1e})", [], unproved),
    ]


def check_bits(machine: Machine, network: Network) -> list[Check]:
    """In batches of one size a row gives the same bits, whoever its neighbours are and wherever it stands."""
    session = Session(network.content, policy=machine.policy, max_rows=MAX_ROWS)
    row, differing = network.make_rows(1), []
    for bucket in make_buckets(MAX_ROWS):
        alone = session.run({"image": np.repeat(row, bucket, axis=0)})[0][0]
        for seed in range(1, 4):
            for place in {0, bucket - 1}:
                batch = network.make_rows(bucket, seed)
                batch[place] = row[0]
                if session.run({"image": batch})[0][place].tobytes() != alone.tobytes():
                    differing.append(bucket)
    return [equals("buckets in which company changes bits", [], sorted(set(differing)))]


def check_memory(machine: Machine, network: Network) -> list[Check]:
    """Sessions that come and go leave nothing on the device, apart from what CUDA keeps after the first one."""

    def measure_used() -> int:
        gc.collect()
        return machine.used_bytes()

    def load_and_measure() -> int:
        session = Session(network.content, policy=machine.policy, max_rows=MAX_ROWS)
        session.run({"image": network.make_rows(MAX_ROWS)})
        return measure_used()

    load_and_measure()
    before = measure_used()
    loaded = max(load_and_measure() for _ in range(3)) - before
    left, size = measure_used() - before, len(network.content)
    was_there = Check("bytes that a session takes", f"at least {size / 2:,.0f}", f"{loaded:,}", loaded >= size / 2)
    return [was_there, at_most("bytes that are left after three unloads", size / 10, left)]


def check_loop(machine: Machine) -> list[Check]:
    """What a step leaves for the next one stays on the device, and the sums are right."""
    session = Session(graphs.add_up(), policy=machine.policy, bound=True)
    total: np.ndarray | DeviceTensor = np.zeros((1, 1), np.float32)
    places = set()
    for _ in range(STEPS):
        outputs = session.step({"x": np.ones((1, 1), np.float32), "total": total}, stay={"next_total"})
        total = dict(zip(session.output_names, outputs, strict=True))["next_total"]
        places.add(total.value.device_name() if isinstance(total, DeviceTensor) else "host")
    host = total.host if isinstance(total, DeviceTensor) else total
    return [
        equals("where the state of a loop is between steps", {machine.device}, places),
        equals(f"its sum after {STEPS} steps", float(STEPS), float(host[0, 0])),
    ]


def check_share(
    machine: Machine, network: Network, batches: Sequence[int] = BATCHES, seconds: float = 0.3
) -> list[Check]:
    """With callers of one row each the engine gives most of what bare ONNX Runtime gives with I/O binding."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "resnet.onnx"
        file.write_bytes(network.content)
        return [judge_share(measure(file, machine.policy, batches, seconds))]


def judge_share(sweep: Sweep) -> Check:
    best = max(sweep.points, key=lambda point: point.rows_per_s("bound"))
    share = sweep.engine_rows_per_s["bound"] / best.rows_per_s("bound")
    return Check(
        f"share of bare I/O binding at its best, {best.rows} rows a batch",
        f"at least {SHARE}",
        f"{share:.3f}",
        share >= SHARE,
    )


def make_facts(machine: Machine) -> dict[str, Callable[[], list[Check]]]:
    """The checks by the names of their rows. The network is made when it is needed."""

    def network() -> Network:
        return Network(build_resnet(), 224)

    return {
        "reference models": lambda: check_references(machine),
        "bits": lambda: check_bits(machine, network()),
        "memory": lambda: check_memory(machine, network()),
        "loop": lambda: check_loop(machine),
        "speed": lambda: check_share(machine, network()),
    }
