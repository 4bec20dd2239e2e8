"""Measures speech to text: the same recordings from many clients together, and one after the other.

The model is too large to come with the project: ``--speech`` names a store that has one called ``speech``, such as
``examples/sounds/speech.py`` publishes, and ``--recordings`` a folder of WAV files.
"""

import dataclasses
import shutil
from contextlib import ExitStack
from pathlib import Path

from loadtests.bench.comparison import FAILURES, Comparison
from loadtests.bench.load.closedloop import Client, ask_together
from loadtests.bench.load.openloop import render_request
from loadtests.bench.models.model import BenchModel
from loadtests.bench.peer import Peer, Site
from loadtests.bench.peers.sluice import TASKS_PEER, serve
from loadtests.bench.results.task_figures import Rate, Speedup, TaskFigures, measure_rate
from loadtests.bench.results.task_verdict import SPEECH, SPEECH_CLIENTS
from loadtests.bench.server import ServerFailed
from loadtests.http_client import Request

MODEL = "speech"
RECORDINGS = 32
ROUNDS = 3
DEADLINE_S = 300


def measure_speech(
    comparison: Comparison, model: BenchModel, store: Path, recordings: Path, is_quick: bool
) -> TaskFigures:
    """``model`` names the folder of the server's log. What cannot be measured is missing, with the reason."""
    try:
        sounds = read_recordings(recordings)
        with ExitStack() as stack:
            address = comparison.enter(stack, model, _make_peer(store), ()).site.address  # answers are not compared
            headers = {"Content-Type": "audio/wav"}
            path = f"/predict_sequence?model={MODEL}"
            requests = [render_request(address, Request(path, "POST", headers, sound)) for sound in sounds]
            alone: list[Rate] = []
            together: list[Rate] = []
            ask_together(address, [Client(requests[:1])])  # the server has not yet seen how long it takes
            for number in range(1 if is_quick else ROUNDS):
                comparison.say(f"speech: round {number + 1}")
                alone.append(measure_rate([ask_together(address, [Client(requests)])]))
                together.append(measure_rate([ask_together(address, share_out(requests))]))
            speedup = Speedup("recordings", tuple(alone), tuple(together))
            return TaskFigures(speedups={SPEECH: speedup})
    except FAILURES as failure:
        comparison.say(f"the figure of speech is missing: {failure}")
        return TaskFigures(missing=(f"speech: {str(failure).splitlines()[0]}",))


def read_recordings(folder: Path) -> list[bytes]:
    """The first of the WAV files in ``folder``, by name. Raises OSError if there are too few."""
    files = sorted(folder.glob("*.wav"))[:RECORDINGS]
    if len(files) < SPEECH_CLIENTS:
        raise OSError(f"expected {SPEECH_CLIENTS} or more WAV files in {folder}, got {len(files)}")
    return [file.read_bytes() for file in files]


def share_out(requests: list[bytes]) -> list[Client]:
    """The requests, each once, by so many clients that start together."""
    return [Client(requests[number::SPEECH_CLIENTS]) for number in range(SPEECH_CLIENTS)]


def _make_peer(store: Path) -> Peer:
    """Serves this model alone."""

    def prepare(site: Site) -> None:
        folder = _folder(site)
        if folder.exists():
            return
        if not (store / MODEL).is_dir():
            raise ServerFailed(f"expected a model {MODEL!r} in the store {store}: see examples/sounds/speech.py")
        shutil.copytree(store / MODEL, folder / MODEL)

    return dataclasses.replace(
        TASKS_PEER,
        prepare=prepare,
        command=lambda site: serve(site, "--store", str(_folder(site)), "--deadline-s", str(DEADLINE_S)),
        ready_path=f"/v2/models/{MODEL}/ready",  # a large model may load longer than the server waits for it
    )


def _folder(site: Site) -> Path:
    return site.repository.parent / "speech-store"
