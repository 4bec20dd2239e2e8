"""``sluice bench``: measures the chosen servers and writes JSON, Markdown and, if possible, a chart.

Exit codes: 0 everything was measured, 1 a peer could not be measured or answered with errors, 2 the command cannot run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from loadtests.bench.comparison import Comparison, Schedule
from loadtests.bench.environment import cache_root
from loadtests.bench.load.ceiling import Ceiling, measure_ceiling
from loadtests.bench.machine import Machine, count_cores, describe_machine
from loadtests.bench.measurement import measure_figures
from loadtests.bench.models.model import MODELS
from loadtests.bench.models.picture import make_classifier
from loadtests.bench.network import NoPrivateNetwork, private_network
from loadtests.bench.peer import ENCODINGS, Peer
from loadtests.bench.peers import PEERS
from loadtests.bench.peers.sluice import STORE, TASKS_PEER, make_before_peer
from loadtests.bench.pictures import measure_pictures, picture_peers
from loadtests.bench.pipelines import measure_pipeline
from loadtests.bench.reading.pages import RAPIDOCR, measure_reading
from loadtests.bench.results.chart import can_draw, draw_chart
from loadtests.bench.results.figures import Figures
from loadtests.bench.results.report import write_json, write_markdown
from loadtests.bench.results.result import (
    PICTURES,
    PIPELINES,
    READING,
    SPEECH,
    TASKS,
    TELEMETRY,
    TEXTS,
    TRANSPORTS,
    Result,
)
from loadtests.bench.results.task_figures import TaskFigures
from loadtests.bench.results.verdict import SELF
from loadtests.bench.sounds.speech import measure_speech
from loadtests.bench.tasks import QUICK, Effort, measure_tasks
from loadtests.bench.telemetry.cost import measure_telemetry
from loadtests.bench.texts import measure_texts
from loadtests.bench.transports.analyzer import ANALYZER
from loadtests.bench.transports.measure import measure_transports
from loadtests.termination import exit_on_sigterm

MEASURED, INCOMPLETE, USAGE = 0, 1, 2

FULL_CLIENTS, QUICK_CLIENTS = (1, 16, 64), (1, 16)
BEFORE_ROUNDS = 30
"""Many short rounds side by side show a change of 1 to 3 % although the machine's own speed varies by 20 %."""
FULL_CEILING_S, QUICK_CEILING_S = 1.0, 0.2


def bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peers", default=tuple(PEERS), type=_names(PEERS), metavar="A,B", help=f"servers ({','.join(PEERS)})"
    )
    parser.add_argument(
        "--models", default=None, type=_names(MODELS), metavar="A,B", help=f"models ({','.join(MODELS)})"
    )
    parser.add_argument(
        "--encodings", default=ENCODINGS, type=_names(ENCODINGS), metavar="A,B", help="bodies (json,binary)"
    )
    parser.add_argument("--clients", default=None, type=_counts, metavar="N,N", help="connections at once (1,16,64)")
    parser.add_argument("--gpu", action="store_true", help="measure the engine on a GPU instead, without HTTP")
    parser.add_argument(
        "--only",
        choices=(TASKS, PICTURES, TEXTS, PIPELINES, SPEECH, READING, TELEMETRY, TRANSPORTS),
        default="",
        help="measure only the task routes and the loop, pictures, texts, what a pipeline costs beside its steps, "
        "speech, pages, what the access log and traces cost, or gRPC and shared memory against HTTP",
    )
    parser.add_argument("--speech", type=Path, metavar="STORE", help="a store with a model called speech")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="WAV files with speech, for --speech")
    parser.add_argument("--reading", type=Path, metavar="STORE", help="a store with the pipeline page-reader")
    parser.add_argument(
        "--before",
        type=_checkout,
        metavar="FOLDER",
        help="compare only with another checkout of Sluice, in many short rounds; with --only transports its gRPC",
    )
    parser.add_argument("--quick", action="store_true", help="one model, few short rounds: does it work?")
    parser.add_argument("--no-ceiling", action="store_true", help="leave out ONNX Runtime in process")
    parser.add_argument("--no-tasks", action="store_true", help="leave out the task routes and the loop")
    parser.add_argument("--no-figures", action="store_true", help="leave out latency, overload and the poisoned row")
    parser.add_argument(
        "--output", default=Path("reports/bench"), type=Path, metavar="FOLDER", help="results (reports/bench)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of the table")


def bench(args: argparse.Namespace) -> int:
    """Run the comparison that ``args`` ask for."""
    messages = Console(stderr=True)

    def say(text: str) -> None:
        messages.print(text, markup=False, highlight=False, soft_wrap=True)

    if args.gpu:
        return _bench_gpu()
    if (args.speech is None) != (args.recordings is None) or (args.only == SPEECH and args.speech is None):
        say("sluice bench: speech needs both --speech STORE and --recordings FOLDER: see examples/sounds/speech.py")
        return USAGE
    if args.only == READING and args.reading is None:
        say("sluice bench: reading needs --reading STORE: see examples/page_reader.toml")
        return USAGE
    lacking = find_lacking()
    if lacking:
        say(f"sluice bench: {lacking}")
        return USAGE
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    with exit_on_sigterm():
        result = _measure(args, folder, say)
    _write(result, args.output, say)
    sys.stdout.write(write_json(result) + "\n" if args.json else write_markdown(result))
    tasks = result.tasks
    has_failed = result.absences or result.figures.missing or tasks.missing or tasks.failed
    if has_failed or any(cell.errors for cell in result.cells):
        say(f"the servers' logs are in {folder}")
        return INCOMPLETE
    shutil.rmtree(folder)
    return MEASURED


def find_lacking() -> str:
    """What must be installed first, and how; empty if nothing is missing."""
    if shutil.which("wrk") is None:
        return "the load generator wrk is not installed: apt-get install wrk (brew install wrk)"
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    return f"{' and '.join(missing)} missing: pip install {' '.join(missing)}" if missing else ""


def _bench_gpu() -> int:
    """Run the engine against bare ONNX Runtime in another process, because this package knows the service only by
    HTTP."""
    from loadtests.bench.models.resnet import write_networks  # needs onnx, which the other servers do not

    with tempfile.TemporaryDirectory(prefix="sluice-bench-gpu-") as folder:
        files = [*write_networks(Path(folder)), *sorted(Path("model_store/models").glob("*/*/main.onnx"))]
        command = [sys.executable, "-m", "benchmarks.gpu", *map(str, files), "--output", "docs/gpu.md"]
        return subprocess.run(command, check=False).returncode


def _measure(args: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> Result:
    """Install first, which needs the package index; then measure in a private network, if there can be one."""
    peers = _choose_peers(args)
    cores = count_cores()
    comparison = Comparison(folder, cache_root(os.environ), cores, say)
    asks_tasks = SELF in args.peers and not (args.no_tasks or args.before)
    asks_pictures = asks_tasks and args.only in ("", TASKS, PICTURES)
    asks_reading = asks_tasks and args.reading is not None and args.only in ("", READING)
    further = [*(picture_peers(args.peers) if asks_pictures else ()), *([RAPIDOCR] if asks_reading else ())]
    comparison.install([*peers, *further, *([ANALYZER] if args.only == TRANSPORTS else ())])
    with ExitStack() as stack:
        try:
            stack.enter_context(private_network())
        except NoPrivateNetwork as failure:
            comparison.no_private_network = str(failure)
        machine = describe_machine()
        pictures = measure_pictures(comparison, args.peers, args.quick) if asks_pictures else []
        texts = measure_texts(comparison, args.quick) if asks_tasks and args.only in ("", TEXTS) else []
        telemetry = measure_telemetry(comparison, args.quick) if args.only == TELEMETRY else []
        transports = measure_transports(comparison, args.before, args.quick) if args.only == TRANSPORTS else []
        tasks = TaskFigures()
        if asks_tasks and args.only in ("", TASKS):
            effort = QUICK if args.quick else Effort()
            tasks = measure_tasks(comparison, TASKS_PEER, make_classifier(STORE), effort)
        if asks_tasks and args.only in ("", PIPELINES):
            found = measure_pipeline(comparison, make_classifier(STORE), args.quick)
            tasks = replace(tasks, pipeline=found.pipeline, missing=(*tasks.missing, *found.missing))
        if asks_tasks and args.speech is not None and args.only in ("", SPEECH):
            found = measure_speech(comparison, make_classifier(STORE), args.speech, args.recordings, args.quick)
            tasks = _add_speedups(tasks, found)
        if asks_reading:
            found = measure_reading(comparison, make_classifier(STORE), args.reading, args.quick)
            tasks = _add_speedups(tasks, found)
        if args.only:
            result = Result(machine, {}, comparison.versions, (), (), (), only=args.only)
        else:
            result = _measure_all(args, comparison, peers, cores, machine)
        cells = (*result.cells, *pictures, *texts, *telemetry, *transports)
        return replace(result, cells=cells, tasks=tasks, absences=tuple(comparison.absences))


def _add_speedups(tasks: TaskFigures, found: TaskFigures) -> TaskFigures:
    speedups = {**(tasks.speedups or {}), **(found.speedups or {})}
    return replace(tasks, speedups=speedups, missing=(*tasks.missing, *found.missing))


def _choose_peers(args: argparse.Namespace) -> list[Peer]:
    if args.only:
        return []
    return [PEERS[SELF], args.before] if args.before else [PEERS[name] for name in args.peers]


def _measure_all(
    args: argparse.Namespace, comparison: Comparison, peers: list[Peer], cores: int, machine: Machine
) -> Result:
    quick = args.quick
    models = [MODELS[name] for name in args.models or (["tiny"] if quick else MODELS)]
    schedule = Schedule(
        encodings=args.encodings,
        clients=args.clients or (QUICK_CLIENTS if quick else FULL_CLIENTS),
        rounds=2 if quick else BEFORE_ROUNDS if args.before else 5,
        round_s=1 if quick or args.before else 2,
        warm_up_s=1,
    )
    ceilings: dict[str, Ceiling] = {}
    if not (args.no_ceiling or args.before):
        for model in models:
            comparison.say(f"{model.name}: ONNX Runtime in process")
            ceilings[model.name] = measure_ceiling(model, cores, QUICK_CEILING_S if quick else FULL_CEILING_S)
    figures = Figures()
    if not (args.no_figures or args.before) and SELF in args.peers:
        figures = measure_figures(comparison, PEERS[SELF], rounds=1 if quick else 5, round_s=2 if quick else 4)
    cells = [cell for model in models for cell in comparison.measure(model, peers, schedule, ceilings.get(model.name))]
    return Result(machine, asdict(schedule), comparison.versions, tuple(ceilings.values()), tuple(cells), (), figures)


def _write(result: Result, folder: Path, say: Callable[[str], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(write_json(result) + "\n")
    (folder / "bench.md").write_text(write_markdown(result))
    if not result.cells:
        return
    if can_draw():
        draw_chart(result, folder / "bench.png")
    else:
        say("no chart: pip install matplotlib to have one")
    say(f"written: {folder}/bench.*")


def _names(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}, got {text!r}")
        return names

    return read


def _checkout(text: str) -> Peer:
    try:
        return make_before_peer(Path(text))
    except ValueError as refusal:
        raise argparse.ArgumentTypeError(str(refusal)) from None


def _counts(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= 1024 for part in parts):
        raise argparse.ArgumentTypeError(f"expected numbers from 1 to 1024 such as 1,16,64, got {text!r}")
    return tuple(dict.fromkeys(int(part) for part in parts))
