"""Measures what a pipeline costs beside its steps: one client asks it, and then each of its steps by itself."""

import dataclasses
import shutil
from contextlib import ExitStack
from statistics import median

from loadtests.bench.comparison import FAILURES, Comparison
from loadtests.bench.load.closedloop import Client, ask_together
from loadtests.bench.load.openloop import render_request
from loadtests.bench.models.model import BenchModel
from loadtests.bench.models.picture import PNG, encode_png
from loadtests.bench.peer import Site
from loadtests.bench.peers.sluice import PEER, STORE, TASKS_PEER, serve_store, store_of
from loadtests.bench.results.task_figures import PipelineCost, TaskFigures, count_failed
from loadtests.bench.server import run_to_end
from loadtests.http_client import Request

NAME = "three-steps"
STEPS = {
    "look": ("classify", "digits-classifier"),
    "match": ("embed", "digits-matcher"),
    "clean": ("reconstruct", "digits-denoiser"),
}
"""Name of a step -> its task and model. Each begins when the one before it has ended."""
OUTPUTS = {"label": "look.label", "vector": "match.embedding", "error": "clean.error"}
PUBLISH_LIMIT_S = 60


def write_pipeline() -> str:
    """In TOML. All steps take the picture of the request; conditions that always hold put them in order."""
    lines = [f'name = "{NAME}"']
    before = ""
    for name, (task, model) in STEPS.items():
        lines += [f"[steps.{name}]", f'model = "{model}"', f'task = "{task}"', 'input = "request"', before]
        before = 'when = "look.probability >= 0"' if name == "look" else 'when = "match.embedding[0] < 100"'
    lines += ["[outputs]", *(f'{name} = "{wire}"' for name, wire in OUTPUTS.items())]
    return "\n".join(lines) + "\n"


def _prepare(site: Site) -> None:
    """The models of the steps, and the pipeline of them, unless they are there. Raises ServerFailed."""
    store = store_of(site)
    if store.exists():
        return
    store.mkdir()
    for _, model in STEPS.values():
        shutil.copytree(STORE / model, store / model)
    file = store.parent / "pipeline.toml"
    file.write_text(write_pipeline())
    command = [str(site.python), "-m", "sluice", "pipeline", "publish", str(file), "--store", str(store)]
    run_to_end(command, PEER.environment(site), PUBLISH_LIMIT_S)


PIPELINE_PEER = dataclasses.replace(TASKS_PEER, prepare=_prepare, command=serve_store)
"""Serves the models of the steps and the pipeline."""


@dataclasses.dataclass(frozen=True)
class Effort:
    rounds: int = 9
    requests: int = 100
    """Requests of each kind in a round."""


QUICK = Effort(rounds=1, requests=10)


def measure_pipeline(comparison: Comparison, model: BenchModel, is_quick: bool) -> TaskFigures:
    """``model`` makes the picture, and is the one of the first step."""
    peer, effort = PIPELINE_PEER, QUICK if is_quick else Effort()
    try:
        with ExitStack() as stack:
            address = comparison.enter(stack, model, peer, (PNG,)).site.address
            picture = encode_png(model.make_rows(1))
            paths = [f"/pipeline?model={NAME}", *(f"/{task}?model={name}" for task, name in STEPS.values())]
            headers = {"Content-Type": "image/png"}
            requests = [render_request(address, Request(path, "POST", headers, picture)) for path in paths]
            times_s: list[list[float]] = [[] for _ in requests]
            failed = 0
            for number in range(-1, effort.rounds):
                comparison.say(f"pipelines: round {number + 1} of {effort.rounds}")
                replies = ask_together(address, [Client(requests * effort.requests)])  # one kind after the other
                failed += count_failed(replies)
                for kind, found in enumerate(times_s if number >= 0 else ()):
                    of_kind = [reply.ended_s - reply.asked_s for reply in replies if reply.number % len(paths) == kind]
                    found.append(median(of_kind))
            whole, *steps = times_s
            return TaskFigures(pipeline=PipelineCost(tuple(whole), tuple(map(sum, zip(*steps, strict=True))), failed))
    except FAILURES as failure:
        comparison.say(f"{peer.name}: the figure of pipelines is missing: {failure}")
        return TaskFigures(missing=(f"pipelines: {str(failure).splitlines()[0]}",))
