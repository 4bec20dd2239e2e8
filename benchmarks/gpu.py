"""``sluice bench --gpu``: the engine on a GPU, without HTTP, compared with bare ONNX Runtime in the same run.

For each ONNX file it sweeps the batch sizes of a bare ``session.run``, of bound buffers and of CUDA graphs, in
alternating rounds whose medians count. Then it measures the rows per second of the engine (dispatcher, lanes, buckets)
with many callers of one row each, as a share of the best bare batch. Provider and options are always the same.

Without a GPU it says so and exits with 0. ``--provider cpu`` tries the same code on the CPU and writes no file.
"""

import argparse
import asyncio
import functools
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.load import run_load
from model_store.datatypes import DATATYPES
from model_store.errors import BadGraph
from model_store.graph import Tensor
from model_store.graphs.batch import apply_analysis
from model_store.rows import analyse
from service.cores import count_cores
from service.engine.batching.buckets import bucket_of, make_buckets
from service.engine.batching.cost import CostModel
from service.engine.batching.policy import INLINE_S
from service.engine.batching.queue import BatchQueue
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.onnx.providers import GPU_LANES, GpuOptions
from service.engine.onnx.session import Session, available_providers, host_allocator
from service.engine.tensors import Arrays, Signature
from service.errors import NotReady
from service.metrics.devices import find_lacking_gpu, read_driver, read_gpus

ROUNDS = 5
_DYNAMIC_SIZE = 8
Modes = Mapping[str, Session]


@dataclass(frozen=True, slots=True)
class Point:
    """Median seconds of a batch of ``rows`` rows, by mode: ``bare``, ``bound`` and, where they work, ``graphs``."""

    rows: int
    seconds: Mapping[str, float]

    def rows_per_s(self, mode: str) -> float:
        return self.rows / self.seconds[mode]


@dataclass(frozen=True, slots=True)
class Sweep:
    """The figures of one file. ``engine_rows_per_s`` has the median of several rounds for each mode."""

    name: str
    provider: str
    points: tuple[Point, ...]
    engine_rows_per_s: Mapping[str, float]

    @property
    def best(self) -> Point:
        """The batch size at which bare ONNX Runtime gives the most rows per second."""
        return max(self.points, key=lambda point: point.rows_per_s("bare"))

    def share(self, mode: str) -> float:
        return self.engine_rows_per_s[mode] / self.best.rows_per_s("bare")


def measure(path: Path, policy: str, batches: Sequence[int], seconds: float, tf32: bool = False) -> Sweep:
    """Measure one file; each figure is the median of rounds of ``seconds``. Raises BadGraph, NotReady."""
    content = path.read_bytes()
    modes = open_modes(content, policy, max(batches), tf32)
    signature = Signature(apply_analysis(modes["bare"].describe(path.name), analyse(content)))
    points = []
    for rows in batches if signature.batches else (1,):
        inputs = make_inputs(signature, rows)
        points.append(Point(rows, time_alternately({m: _caller(s, inputs) for m, s in modes.items()}, seconds)))
    engine = measure_engine(modes, signature, policy, points, seconds) if signature.batches else {}
    return Sweep(name_of(path), modes["bare"].provider, tuple(points), engine)


def open_modes(content: bytes, policy: str, max_rows: int, tf32: bool) -> Modes:
    """A session for each mode. ``graphs`` is missing if CUDA graphs cannot be captured."""

    def open_session(bound: bool, cuda_graphs: bool = False) -> Session:
        gpu = GpuOptions(cuda_graphs=cuda_graphs, tf32=tf32)
        return Session(content, policy=policy, gpu=gpu, max_rows=max_rows, lanes=GPU_LANES, bound=bound)

    modes = {"bare": open_session(bound=False), "bound": open_session(bound=True)}
    if not modes["bare"].on_cpu:
        graphs = open_session(bound=True, cuda_graphs=True)
        if graphs.has_cuda_graphs:
            modes["graphs"] = graphs
    return modes


def make_inputs(signature: Signature, rows: int) -> Arrays:
    """Random rows. Indices and flags are 0, which every graph accepts; open sizes are 8."""
    return {t.name: _make_tensor(t, rows) for t in signature.graph.inputs}


def _make_tensor(tensor: Tensor, rows: int) -> np.ndarray:
    shape = [
        rows if axis == tensor.batch_axis else size if isinstance(size, int) else _DYNAMIC_SIZE
        for axis, size in enumerate(tensor.shape)
    ]
    datatype = DATATYPES[tensor.datatype]
    if datatype.is_float:
        return np.random.default_rng(0).standard_normal(shape, dtype=np.float32).astype(datatype.dtype)
    return np.zeros(shape, datatype.dtype) if datatype.itemsize else np.full(shape, "", object)


def _caller(session: Session, inputs: Arrays) -> Callable[[], object]:
    return lambda: session.run(inputs)


def time_alternately(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """The median over rounds of the mean seconds of a call. The calls take turns, after one warm-up call each."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            runs, began = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - began) < seconds or not runs:
                call()
                runs += 1
            times[name].append(elapsed / runs)
    return {name: statistics.median(values) for name, values in times.items()}


def measure_engine(
    modes: Modes, signature: Signature, policy: str, points: Sequence[Point], seconds: float
) -> dict[str, float]:
    """Rows per second that the engine gives many callers of one row each, by mode."""
    rates: dict[str, list[float]] = {mode: [] for mode in modes}
    for _ in range(ROUNDS):
        for mode, session in modes.items():
            rates[mode].append(asyncio.run(_drive(session, signature, policy, mode, points, seconds)))
    return {mode: statistics.median(values) for mode, values in rates.items()}


async def _drive(
    session: Session, signature: Signature, policy: str, mode: str, points: Sequence[Point], seconds: float
) -> float:
    """One round, with four callers for each row of the largest batch."""
    max_rows = points[-1].rows
    loop = asyncio.get_running_loop()
    device = Device(
        count_cores() if session.on_cpu else GPU_LANES,
        loop,
        inline_s=INLINE_S if session.on_cpu else 0.0,
        splits=session.on_cpu,
        empty=host_allocator(policy),
    )
    cost = CostModel()
    for point in points:
        cost.observe(point.rows, point.seconds[mode])
    buckets = make_buckets(max_rows)
    queue: BatchQueue = BatchQueue(max_rows, 8 * max_rows, 0.0)
    pad = functools.partial(bucket_of, buckets=() if session.on_cpu else buckets)
    dispatcher = Dispatcher(session, signature, device, queue, cost=cost, pad=pad)
    return await run_load(device, dispatcher, signature.check(make_inputs(signature, 1)), 4 * max_rows, seconds)


def name_of(path: Path) -> str:
    """The name of a file in the tables: its own name, or ``<model>/<version>`` in a store."""
    return f"{path.parent.parent.name}/{path.parent.name}" if path.parent.name.isdecimal() else path.stem


def write_markdown(sweeps: Sequence[Sweep], facts: Sequence[str]) -> str:
    """The machine and versions, a table for each file, and the meaning of the columns."""
    lines = [*facts, ""]
    for sweep in sweeps:
        modes = list(sweep.points[0].seconds)
        lines += [f"### {sweep.name} on {sweep.provider}", ""]
        head = ["batch", "bare, ms", "bare, rows/s", *(f"{mode} : bare" for mode in modes[1:])]
        lines += [_row(head), _row(["---:"] * len(head))]
        for point in sweep.points:
            speed = [f"{point.seconds['bare'] / point.seconds[mode]:.2f}x" for mode in modes[1:]]
            lines.append(
                _row(
                    [str(point.rows), f"{point.seconds['bare'] * 1e3:.3f}", f"{point.rows_per_s('bare'):,.0f}", *speed]
                )
            )
        lines.append("")
        for mode, rate in sweep.engine_rows_per_s.items():
            lines.append(
                f"- engine, {mode}: {rate:,.0f} rows/s with requests of one row, {sweep.share(mode):.2f} of the best "
                f"bare batch ({sweep.best.rows} rows)"
            )
        lines.append("")
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def describe_run(policy: str, tf32: bool, seconds: float, commit: str) -> list[str]:
    """The facts without which a figure is worthless."""
    gpus = ", ".join(f"{g.name} ({g.total_bytes / 2**30:.0f} GiB)" for g in read_gpus()) or "no GPU"
    return [
        f"- machine: {gpus}, driver {read_driver() or 'none'}, {count_cores()} cores, {platform.machine()}",
        f"- versions: ONNX Runtime {ort.__version__}, Python {platform.python_version()}, NumPy {np.__version__}"
        + (f", commit {commit}" if commit else ""),
        f"- run: {datetime.now(UTC).isoformat(timespec='seconds')}, provider {policy}, TF32 {'on' if tf32 else 'off'}, "
        f"medians of {ROUNDS} alternating rounds of {seconds:g} s",
    ]


BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def put_figures(page: str, figures: str) -> str:
    """The page with its figures replaced and the rest unchanged. If it has no marks, the figures go to its end."""
    before, begin, rest = page.partition(BEGIN)
    after = rest.partition(END)[2] if begin else "\n"
    return f"{before.rstrip()}\n\n{BEGIN}\n\n{figures.strip()}\n\n{END}{after}"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description="Measure the engine on a GPU, without HTTP."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.onnx", help="networks to measure")
    parser.add_argument("--provider", default="cuda", choices=("cuda", "tensorrt", "cpu"), help="what runs (cuda)")
    parser.add_argument(
        "--batches", default=tuple(1 << n for n in range(9)), type=_sizes, metavar="N,N", help="batch sizes (1 to 256)"
    )
    parser.add_argument("--seconds", default=0.3, type=_positive, metavar="S", help="length of a round (0.3)")
    parser.add_argument("--tf32", action="store_true", help="multiply with 10 bits of mantissa, in all modes")
    parser.add_argument("--commit", default="", metavar="TEXT", help="the commit to name beside the figures")
    parser.add_argument(
        "--output", default=Path("docs/gpu.md"), type=Path, metavar="FILE.md", help="page for the figures (docs/gpu.md)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page. 0: measured, or skipped without a GPU; 1: a file could not be measured."""
    args = make_parser().parse_args(arguments)
    lacking = "" if args.provider == "cpu" else find_lacking_gpu(available_providers(args.provider))
    if lacking:
        sys.stdout.write(f"skipped: {lacking}. Nothing was measured and no file was written.\n")
        return 0
    try:
        sweeps = [measure(path, args.provider, args.batches, args.seconds, args.tf32) for path in args.files]
    except (BadGraph, NotReady, OSError) as failure:
        sys.stderr.write(f"sluice bench --gpu: {failure}\n")
        return 1
    figures = write_markdown(sweeps, describe_run(args.provider, args.tf32, args.seconds, args.commit))
    sys.stdout.write(figures)
    if args.provider == "cpu":
        sys.stdout.write("On the CPU: a trial of this program, not written to any file.\n")
        return 0
    page = args.output.read_text() if args.output.exists() else "# The engine on a GPU\n"
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(put_figures(page, figures))
    return 0


def _sizes(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= 4096 for part in parts):
        raise argparse.ArgumentTypeError(f"expected numbers from 1 to 4096 such as 1,16,64, got {text!r}")
    return tuple(sorted({int(part) for part in parts}))


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
