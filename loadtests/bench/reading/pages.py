"""Measures a pipeline that reads pages: many clients together, against the models' own package, page by page.

The models are too large to come with the project: ``--reading`` names a store with the pipeline ``page-reader``, as
``examples/page_reader.toml`` says.
"""

import dataclasses
import io
from contextlib import ExitStack
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from loadtests.bench.comparison import FAILURES, Comparison, RunningServer
from loadtests.bench.load.closedloop import Client, ask_together
from loadtests.bench.load.openloop import render_request
from loadtests.bench.models.model import BenchModel
from loadtests.bench.peer import Peer
from loadtests.bench.peers.sluice import TASKS_PEER, serve
from loadtests.bench.reading.rapidocr import make_peer, read_texts, request_page
from loadtests.bench.results.task_figures import Rate, Speedup, TaskFigures, measure_rate
from loadtests.bench.results.task_verdict import READING, READING_CLIENTS
from loadtests.bench.server import ServerFailed
from loadtests.http_client import exchange
from loadtests.wire import WrongAnswer

PIPELINE = "page-reader"
ROUNDS = 3
DEADLINE_S = 300
LINES = (
    "The quick brown fox jumps over the lazy dog.",
    "Invoice number 2024-0815",
    "Total amount: 1,234.56 EUR",
    "Thank you for your order!",
)
RAPIDOCR = make_peer(TASKS_PEER)


def measure_reading(comparison: Comparison, model: BenchModel, store: Path, is_quick: bool) -> TaskFigures:
    """``model`` names the folders of the servers' logs. What cannot be measured is missing, with the reason."""
    try:
        page = draw_page()
        with ExitStack() as stack:
            ours = comparison.enter(stack, model, _serve_pipeline(store), ())
            theirs = comparison.enter(stack, model, RAPIDOCR, ())
            own, other = (
                _check(server, path, page) for server, path in ((ours, f"/pipeline?model={PIPELINE}"), (theirs, "/"))
            )
            clients = [Client([own])] * READING_CLIENTS
            one = [Client([other] * READING_CLIENTS)]
            alone: list[Rate] = []
            together: list[Rate] = []
            for number in range(1 if is_quick else ROUNDS):
                comparison.say(f"reading: round {number + 1}")
                alone.append(measure_rate([ask_together(theirs.site.address, one)]))
                together.append(measure_rate([ask_together(ours.site.address, clients)]))
            return TaskFigures(speedups={READING: Speedup("pages", tuple(alone), tuple(together))})
    except FAILURES as failure:
        comparison.say(f"the figure of reading is missing: {failure}")
        return TaskFigures(missing=(f"reading: {str(failure).splitlines()[0]}",))


def draw_page() -> bytes:
    """Black lines on white, as a PNG."""
    page = Image.new("RGB", (900, 420), "white")
    for number, line in enumerate(LINES):
        ImageDraw.Draw(page).text((40, 40 + 90 * number), line, "black", ImageFont.load_default(32))
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def _check(server: RunningServer, path: str, page: bytes) -> bytes:
    """The request for the page, after its answer was right. Raises WrongAnswer."""
    request = request_page(path, page)
    answer = exchange(server.site.address, request)
    if answer.status != 200:
        text = answer.body[:300].decode("utf-8", "replace")
        raise WrongAnswer(f"{server.peer.name} answered {answer.status} instead of 200: {text}")
    if sorted(found := read_texts(answer)) != sorted(LINES):
        raise WrongAnswer(f"{server.peer.name}: expected the lines {LINES}, got {found}")
    return render_request(server.site.address, request)


def _serve_pipeline(store: Path) -> Peer:
    def prepare(_: object) -> None:
        if not (store / PIPELINE).is_dir():
            raise ServerFailed(f"expected a pipeline {PIPELINE!r} in the store {store}: see examples/page_reader.toml")

    return dataclasses.replace(
        TASKS_PEER,
        prepare=prepare,
        command=lambda site: serve(site, "--store", str(store.resolve()), "--deadline-s", str(DEADLINE_S)),
        ready_path=f"/v2/models/{PIPELINE}/ready",  # large models may load longer than the server waits for them
    )
