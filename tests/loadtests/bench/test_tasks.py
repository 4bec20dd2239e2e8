"""The figures of the tasks: what counts as failed or differing, what is judged, and what is asked of a server."""

import argparse
import dataclasses
import email
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtests.bench import command, tasks
from loadtests.bench.comparison import Comparison
from loadtests.bench.load.crowd import Client, Reply
from loadtests.bench.load.openloop import split_answer
from loadtests.bench.load.wrk import Sample
from loadtests.bench.models.picture import PNG, encode_png, make_classifier
from loadtests.bench.network import NoPrivateNetwork
from loadtests.bench.peers.bentoml_picture import PEER as BENTOML_PICTURE
from loadtests.bench.peers.sluice import STORE, TASKS_PEER
from loadtests.bench.results.promise import Row
from loadtests.bench.results.report import write_json, write_markdown
from loadtests.bench.results.result import Cell, Result
from loadtests.bench.results.task_figures import (
    Contest,
    FirstStep,
    Pace,
    Sameness,
    TaskFigures,
    compare_outputs,
    digest_outputs,
    measure_pace,
)
from loadtests.bench.results.task_verdict import (
    AGAIN,
    ARRIVING,
    ARRIVING_LONG,
    AT_ONCE,
    FIRST_STEP,
    FORECASTS,
    SAMENESS,
)
from loadtests.bench.results.verdict import judge
from loadtests.bench.tasks import Effort, Trials, answer_alone, answer_in_company, measure_tasks
from loadtests.http_client import Answer
from loadtests.wire import WrongAnswer
from tests.loadtests.bench.results.test_result import MACHINE

CLASSIFIER = make_classifier(STORE)


def reply(body: bytes = b'{"outputs":[1]}', status: int = 200, asked_s: float = 0.0, ended_s: float = 1.0) -> Reply:
    return Reply(0, 0, asked_s, ended_s, ended_s, status, body)


def contest(together: float, alone: float = 10.0, failed: int = 0, most_per_s: float | None = None) -> Contest:
    return Contest("samples", (Pace(alone, 0),) * 3, (Pace(together, failed),) * 3, most_per_s=most_per_s)


def find(figure: str, figures: TaskFigures, *cells: Cell) -> Row:
    result = Result(MACHINE, {}, {}, (), cells, (), tasks=figures, only_tasks=True)
    (row,) = (row for row in judge(result) if figure in row.figure)
    return row


def test_failed_answer_breaks_the_promise() -> None:
    """One answer but 200 fails the row, however good the ratio is."""
    row = find(AT_ONCE, TaskFigures({AT_ONCE: contest(1000.0, failed=1)}))
    assert (row.holds, row.reaches_aim, row.measured) == (False, False, "3 answers failed")
    assert find(FIRST_STEP, TaskFigures(first_step=FirstStep((1.0,), (1.0,), 40, 1))).holds is False
    assert find(SAMENESS, TaskFigures(sameness=Sameness(64, 10, 0, 1))).holds is False


def test_server_that_answers_nothing_breaks_the_promise() -> None:
    """Where all answers failed there is no ratio, and the row does not hold."""
    row = find(FORECASTS, TaskFigures({FORECASTS: contest(0.0, alone=0.0, failed=64)}))
    assert (row.holds, row.measured) == (False, "192 answers failed")


@pytest.mark.parametrize(
    ("figure", "together", "holds", "aim"),
    [
        (AT_ONCE, 29.0, False, False),
        (AT_ONCE, 30.0, True, False),
        (AGAIN, 50.0, True, True),
        (FORECASTS, 99.0, False, False),
        (FORECASTS, 100.0, True, True),
    ],
)
def test_contests_have_their_promises(figure: str, together: float, holds: bool, aim: bool) -> None:
    """Diffusion holds from 3 times on and aims at 5, forecasts hold from 10 times on."""
    row = find(figure, TaskFigures({figure: contest(together)}))
    assert (row.holds, row.reaches_aim) == (holds, aim)


def test_arrivals_that_bind_show_nothing() -> None:
    """Where a server that answers in no time would miss the ratio too, it neither holds nor fails, and it is said."""
    row = find(ARRIVING, TaskFigures({ARRIVING: contest(11.0, most_per_s=20.0)}))
    assert (row.holds, row.reaches_aim) == (None, None)
    assert row.measured == "1.10× (1.10–1.10); arriving takes so long that 2.00× is the most"
    assert find(ARRIVING, TaskFigures({ARRIVING: contest(11.0, most_per_s=30.0)})).holds is False


@pytest.mark.parametrize(("busy_s", "holds"), [(0.0049, True), (0.005, False)])
def test_first_step_stays_under_its_limit(busy_s: float, holds: bool) -> None:
    """Five times the idle service's time is too much."""
    figures = TaskFigures(first_step=FirstStep((0.001,) * 3, (busy_s,) * 3, 40, 0))
    assert find(FIRST_STEP, figures).holds is holds


def test_pictures_are_set_against_bentoml() -> None:
    """Both numbers of clients have a row; with errors on either side the ratio says nothing."""

    def cell(peer: str, rate: int, wrong: int = 0) -> Cell:
        return Cell(CLASSIFIER.name, PNG, 64, peer, (Sample(rate, 1.0, wrong, 0, 0, 0, 0.001, 0.002),))

    assert find("64 clients", TaskFigures(), cell("sluice", 400), cell("bentoml-picture", 100)).holds is True
    assert find("64 clients", TaskFigures(), cell("sluice", 399), cell("bentoml-picture", 100)).holds is False
    assert find("64 clients", TaskFigures(), cell("sluice", 900), cell("bentoml-picture", 100, 9)).holds is None
    assert find("16 clients", TaskFigures(), cell("sluice", 400), cell("bentoml-picture", 100)).holds is None


def test_pace_counts_right_answers_and_no_time_between_runs() -> None:
    """Failed answers are no work done; each run counts from its first request to its last answer."""
    runs = [[reply(asked_s=1.0, ended_s=2.0), reply(asked_s=1.5, ended_s=3.0)], [reply(ended_s=2.0), reply(status=500)]]
    assert measure_pace(runs, units=100) == Pace(75.0, 1)


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


def read_document(request: bytes) -> dict:
    answer = split_answer(b"HTTP/1.1 200 OK\r\n" + request.partition(b"\r\n")[2])
    assert answer is not None
    return json.loads(answer[1])


def test_round_measures_each_contest_alone_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every contest asks the same requests alone and in company, in each round."""
    server = StandIn()
    monkeypatch.setattr(tasks, "ask_together", server)
    trials = Trials("http://127.0.0.1:1", Effort(rounds=2, passes=2, again_s=1.0, probes=3))
    trials.play_round()
    trials.play_round()
    contests, first_step = trials.collect()
    assert set(contests) == {ARRIVING, ARRIVING_LONG, AT_ONCE, AGAIN, FORECASTS}
    assert all(len(one.alone) == len(one.together) == 2 and not one.failed for one in contests.values())
    assert contests[FORECASTS].alone[0].per_s == pytest.approx(64 * 100 / 4)
    assert contests[ARRIVING].most_ratio == pytest.approx(32 / (31 / 32) / (32 / 4))
    assert contests[AT_ONCE].most_ratio is None
    assert (first_step.idle_s, first_step.busy_s) == ((1.0, 1.0), (2.0, 2.0))
    for run in server.asked:
        sent = [read_document(request) for client in run for request in client.requests]
        assert len({json.dumps(document) for document in sent}) == len(sent), "each client has its own request"
    arriving = [run for run in server.asked if len(run) == 32 and run[-1].starts_s > 0 and not run[0].is_endless]
    assert [client.starts_s for client in arriving[0]] == [i / 32 for i in range(32)]


def test_failing_server_is_counted_in_all_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer but 200 is counted, those of the company of the probes among them."""
    monkeypatch.setattr(tasks, "ask_together", StandIn(status=503))
    trials = Trials("http://127.0.0.1:1", Effort(rounds=1, passes=1, again_s=1.0, probes=3))
    trials.play_round()
    contests, first_step = trials.collect()
    assert first_step.failed == 3 + 32 + 3
    assert {name: one.failed for name, one in contests.items()} == {
        **dict.fromkeys((ARRIVING, ARRIVING_LONG, AT_ONCE, AGAIN), 64),
        FORECASTS: 128,
    }
    assert all(one.ratio is None for one in contests.values())


def test_answers_are_kept_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, in company and in company in the opposite order, a seed is compared with itself."""
    monkeypatch.setattr(tasks, "ask_together", StandIn())
    address = "http://127.0.0.1:1"
    ways = [answer_alone(address), answer_in_company(address), answer_in_company(address, is_reversed=True)]
    for way in ways:
        assert {seed: json.loads(one.body)["outputs"] for seed, one in way.items()} == {n: n for n in range(64)}
    assert compare_outputs(ways) == Sameness(64, 128, 0, 0)


def test_server_that_does_not_start_is_a_missing_figure(tmp_path: Path) -> None:
    """A server that ends at once leaves a reason, and the promises stay open."""
    peer = dataclasses.replace(TASKS_PEER, command=lambda site: [sys.executable, "-c", "raise SystemExit(3)"])
    comparison = Comparison(tmp_path, tmp_path / "cache", 1, lambda text: None)
    figures = measure_tasks(comparison, peer, CLASSIFIER, Effort())
    assert "ended with code 3" in figures.missing[0]
    assert find(SAMENESS, figures).holds is None
    assert f"**A figure was not measured**: {figures.missing[0]}" in write_markdown(
        Result(MACHINE, {}, {}, (), (), (), tasks=figures, only_tasks=True)
    )


def parse_multipart(body: bytes, content_type: str) -> list[dict]:
    """The parts of a form, read by the standard library's parser of messages."""
    message = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    return [
        {
            "name": part.get_param("name", header="content-disposition"),
            "type": part.get_content_type(),
            "content": part.get_payload(decode=True),
        }
        for part in message.get_payload()
    ]


@pytest.mark.parametrize("peer", [TASKS_PEER, BENTOML_PICTURE], ids=["sluice", "bentoml"])
def test_picture_peers_ask_with_a_png_and_read_one_prediction(peer) -> None:
    """The body is the picture, for BentoML in a form; an answer without a prediction is wrong."""
    rows = CLASSIFIER.make_rows(1)
    request = peer.request(CLASSIFIER, PNG, rows)
    content = request.body
    if peer is BENTOML_PICTURE:
        (file,) = parse_multipart(content, request.headers["Content-Type"])
        assert (file["name"], file["type"]) == ("image", "image/png")
        content = file["content"]
    else:
        assert request.headers["Content-Type"] == "image/png"
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


def test_only_the_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--only tasks` starts no other comparison, reports its own promises alone, and a failed answer makes code 1."""
    figures = TaskFigures({AT_ONCE: contest(40.0)}, FirstStep((0.001,), (0.002,), 40, 0), Sameness(64, 192, 0, 0))

    class Refusing:
        def __enter__(self) -> None:
            raise NoPrivateNetwork("not in a test")

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(command, "private_network", Refusing)
    monkeypatch.setattr(command, "find_lacking", lambda: "")
    monkeypatch.setattr(Comparison, "install", lambda self, peers: None)
    monkeypatch.setattr(Comparison, "measure", lambda self, model, peers, schedule: [])
    parser = argparse.ArgumentParser()
    command.bench_arguments(parser)
    for found, code in ((figures, 0), (dataclasses.replace(figures, sameness=Sameness(64, 0, 0, 9)), 1)):
        monkeypatch.setattr(command, "measure_tasks", lambda *_, found=found: found)
        args = parser.parse_args(["--only", "tasks", "--quick", "--output", str(tmp_path), "--json"])
        assert command.bench(args) == code
        document = json.loads(capsys.readouterr().out)
        assert len(document["verdict"]) == 9
        assert document["tasks"]["contests"][AT_ONCE]["ratio"]["middle"] == 4.0


def test_rates_behind_a_ratio_are_written() -> None:
    """The report has the rates and times themselves, in both forms."""
    figures = TaskFigures({AT_ONCE: contest(40.0)}, FirstStep((0.001,), (0.002,), 40, 0))
    result = Result(MACHINE, {}, {}, (), (), (), tasks=figures, only_tasks=True)
    text = write_markdown(result)
    assert "all at once: 40 (40–40) samples/s, alone 10 (10–10) samples/s." in text
    assert "First streamed step: 2.00 (2.00–2.00) ms beside 32 others, 1.00 (1.00–1.00) ms idle; medians of 40" in text
    assert json.loads(write_json(result))["tasks"]["first_step"]["ratio"]["middle"] == 2.0
