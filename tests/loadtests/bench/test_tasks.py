"""The figures of the tasks: what counts as failed or differing, and what is asked of a server."""

import dataclasses
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from loadtests.bench import command, tasks
from loadtests.bench.comparison import Comparison
from loadtests.bench.load.closedloop import Client, Reply
from loadtests.bench.load.openloop import split_answer
from loadtests.bench.models.picture import PNG, encode_png, make_classifier
from loadtests.bench.peers.bentoml_picture import PEER as BENTOML_PICTURE
from loadtests.bench.peers.sluice import STORE, TASKS_PEER
from loadtests.bench.results.report import write_json, write_markdown
from loadtests.bench.results.result import TASKS, Result
from loadtests.bench.results.task_figures import (
    FirstStep,
    Rate,
    Sameness,
    Speedup,
    TaskFigures,
    compare_outputs,
    digest_outputs,
    measure_rate,
)
from loadtests.bench.results.task_verdict import AGAIN, ARRIVING, ARRIVING_LONG, AT_ONCE, FORECASTS, SAMENESS
from loadtests.bench.results.verdict import judge
from loadtests.bench.tasks import Effort, Trials, answer_alone, answer_together, measure_tasks
from loadtests.http_client import Answer
from loadtests.wire import WrongAnswer
from tests.loadtests.bench.forms import read_form
from tests.loadtests.bench.results.made_up import MACHINE

ADDRESS = "http://127.0.0.1:1"
CLASSIFIER = make_classifier(STORE)
FIGURES = TaskFigures(
    {AT_ONCE: Speedup("samples", (Rate(10.0, 0),) * 3, (Rate(40.0, 0),) * 3)},
    FirstStep((0.001,), (0.002,), 40, 0),
    Sameness(64, 192, 0, 0),
)


def reply(body: bytes = b'{"outputs":[1]}', status: int = 200, asked_s: float = 0.0, ended_s: float = 1.0) -> Reply:
    return Reply(0, 0, asked_s, ended_s, ended_s, status, body)


def result(figures: TaskFigures) -> Result:
    return Result(MACHINE, {}, {}, (), (), (), tasks=figures, only=TASKS)


def test_pace_counts_right_answers_and_no_time_between_runs() -> None:
    """Failed answers are no work done; each run counts from its first request to its last answer."""
    runs = [[reply(asked_s=1.0, ended_s=2.0), reply(asked_s=1.5, ended_s=3.0)], [reply(ended_s=2.0), reply(status=500)]]
    assert measure_rate(runs, units=100) == Rate(75.0, 1)


def test_differing_outputs_are_counted() -> None:
    """A seed's outputs are compared by their bytes with the first way's; what failed is counted apart."""
    same, other = b'{"seed":1,"outputs":[1.0]}', b'{"seed":1,"outputs":[1.0000001]}'
    first = {1: reply(same), 2: reply(same), 3: reply(same)}
    found = compare_outputs([first, {1: reply(other), 2: reply(same), 3: reply(b"", 503)}])
    assert found == Sameness(seeds=3, compared=2, differing=1, failed=1)
    with pytest.raises(ValueError):
        digest_outputs(b'{"error": "no"}')


class StandIn:
    """Takes the place of a server: answers at once, notes what it was asked and in which order."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[list[Client]] = []

    def __call__(self, address: str, clients: list[Client], for_s: float = 0.0) -> list[Reply]:
        self.asked.append(list(clients))
        replies = []
        for position, client in enumerate(clients):
            for number, request in enumerate(client.requests):
                document = read_document(request)
                body = json.dumps({"outputs": document.get("seed")}, separators=(",", ":")).encode()
                first_s = 2.0 if client.is_endless or len(clients) == 1 else 3.0
                replies.append(Reply(position, number, 1.0, first_s, 5.0, self.status, body))
        return replies[::-1]  # the order in which answers end is not that of the clients


def read_document(request: bytes) -> dict[str, Any]:
    answer = split_answer(b"HTTP/1.1 200 OK\r\n" + request.partition(b"\r\n")[2])
    assert answer is not None
    document: dict[str, Any] = json.loads(answer[1])
    return document


def play(monkeypatch: pytest.MonkeyPatch, server: StandIn, rounds: int, passes: int) -> Trials:
    monkeypatch.setattr(tasks, "ask_together", server)
    trials = Trials(ADDRESS, Effort(rounds=rounds, passes=passes, again_s=1.0, probes=3))
    for _ in range(rounds):
        trials.play_round()
    return trials


def test_round_measures_each_speedup_alone_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every speedup asks the same requests alone and together, in each round."""
    server = StandIn()
    speedups, first_step = play(monkeypatch, server, rounds=2, passes=2).collect()
    assert set(speedups) == {ARRIVING, ARRIVING_LONG, AT_ONCE, AGAIN, FORECASTS}
    assert all(len(one.alone) == len(one.together) == 2 and not one.failed for one in speedups.values())
    assert speedups[FORECASTS].alone[0].per_s == pytest.approx(64 * 100 / 4)
    assert speedups[ARRIVING].most_ratio == pytest.approx(32 / (31 / 32) / (32 / 4))
    assert speedups[AT_ONCE].most_ratio is None
    assert (first_step.idle_s, first_step.busy_s) == ((1.0, 1.0), (2.0, 2.0))
    for run in server.asked:
        sent = [read_document(request) for client in run for request in client.requests]
        assert len({json.dumps(document) for document in sent}) == len(sent), "each client has its own request"
    arriving = [run for run in server.asked if len(run) == 32 and run[-1].starts_s > 0 and not run[0].is_endless]
    assert [client.starts_s for client in arriving[0]] == [i / 32 for i in range(32)]


def test_failing_server_is_counted_in_all_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer but 200 is counted, also those of the other clients."""
    speedups, first_step = play(monkeypatch, StandIn(status=503), rounds=1, passes=1).collect()
    assert first_step.failed == 3 + 32 + 3
    expected = {**dict.fromkeys((ARRIVING, ARRIVING_LONG, AT_ONCE, AGAIN), 64), FORECASTS: 128}
    assert {name: one.failed for name, one in speedups.items()} == expected
    assert all(one.ratio is None for one in speedups.values())


def test_answers_are_kept_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, together, and together in the opposite order, a seed is compared with itself."""
    monkeypatch.setattr(tasks, "ask_together", StandIn())
    ways = [answer_alone(ADDRESS), answer_together(ADDRESS), answer_together(ADDRESS, is_reversed=True)]
    for way in ways:
        assert {seed: json.loads(one.body)["outputs"] for seed, one in way.items()} == {n: n for n in range(64)}
    assert compare_outputs(ways) == Sameness(64, 128, 0, 0)


def test_server_that_does_not_start_is_a_missing_figure(tmp_path: Path) -> None:
    """A server that ends at once leaves a reason, and the promises stay open."""
    peer = dataclasses.replace(TASKS_PEER, command=lambda site: [sys.executable, "-c", "raise SystemExit(3)"])
    comparison = Comparison(tmp_path, tmp_path / "cache", 1, lambda text: None)
    figures = measure_tasks(comparison, peer, CLASSIFIER, Effort())
    assert "ended with code 3" in figures.missing[0]
    assert [row.holds for row in judge(result(figures)) if SAMENESS in row.figure] == [None]
    assert f"**A figure was not measured**: {figures.missing[0]}" in write_markdown(result(figures))


@pytest.mark.parametrize("peer", [TASKS_PEER, BENTOML_PICTURE], ids=["sluice", "bentoml"])
def test_picture_peers_ask_with_a_png_and_read_one_prediction(peer) -> None:
    """The body is the picture, for BentoML in a form; an answer without a prediction is wrong."""
    rows = CLASSIFIER.make_rows(1)
    request = peer.request(CLASSIFIER, PNG, rows)
    media_type, content = request.headers["Content-Type"], request.body
    if peer is BENTOML_PICTURE:
        name, media_type, content = read_form(content, media_type)
        assert name == "image"
    assert media_type == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), rows[0])
    prediction = {"label": "0", "index": 0, "probability": 0.5}
    body = {"predictions": [prediction]} if peer is TASKS_PEER else prediction
    assert peer.read_scores(Answer(200, {}, json.dumps(body).encode())).tolist() == [[0.0, 0.5]]
    for wrong in (b"", b"[]", b'{"error": "x"}', b'{"predictions": []}'):
        with pytest.raises(WrongAnswer):
            peer.read_scores(Answer(200, {}, wrong))


def test_picture_shows_a_zero() -> None:
    """The reference classifier is sure of what the picture shows, so that a wrong preparation would be seen."""
    index, probability = CLASSIFIER.score(CLASSIFIER.make_rows(1))[0]
    assert index == 0
    assert probability > 0.9
    assert len(encode_png(CLASSIFIER.make_rows(1))) > 100


@pytest.mark.parametrize(
    ("figures", "code"), [(FIGURES, 0), (dataclasses.replace(FIGURES, sameness=Sameness(64, 0, 0, 9)), 1)]
)
def test_only_the_tasks(
    bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, figures: TaskFigures, code: int
) -> None:
    """`--only tasks` starts no other comparison, reports its own promises alone, and a failed answer makes code 1."""
    monkeypatch.setattr(Comparison, "install", lambda self, peers: None)
    monkeypatch.setattr(Comparison, "measure", lambda self, model, peers, schedule: [])
    monkeypatch.setattr(command, "measure_tasks", lambda *_: figures)
    document = bench(code, "--only", "tasks")
    assert len(document["verdict"]) == 13
    assert document["tasks"]["speedups"][AT_ONCE]["ratio"]["middle"] == 4.0


def test_rates_behind_a_ratio_are_written() -> None:
    """The report has the rates and times themselves, in both forms."""
    text = write_markdown(result(FIGURES))
    assert "all at once: 40 (40–40) samples/s, alone 10 (10–10) samples/s." in text
    assert "First streamed step: 2.00 (2.00–2.00) ms beside 32 others, 1.00 (1.00–1.00) ms idle; medians of 40" in text
    assert json.loads(write_json(result(FIGURES)))["tasks"]["first_step"]["ratio"]["middle"] == 2.0
