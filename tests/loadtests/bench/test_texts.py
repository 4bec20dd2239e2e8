"""The comparison of texts: what is asked, and what the figure is made of."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

import sluice
from loadtests.bench.load.closedloop import Reply
from loadtests.bench.load.wrk import Sample
from loadtests.bench.models.text_encoder import ENCODER, LEAST_TOKENS, MOST_TOKENS, TEXTS, write_text, write_tokenizer
from loadtests.bench.peers.sluice_texts import FIXED_PEER, TEXTS_PEER, write_import
from loadtests.bench.results.result import TEXTS as ONLY_TEXTS
from loadtests.bench.results.result import Cell, Result
from loadtests.bench.results.verdict import judge
from loadtests.bench.texts import CLIENTS, make_requests, summarise
from loadtests.http_client import Answer
from loadtests.wire import WrongAnswer
from model_store.texts.tokenizer import Tokenizer
from tests.loadtests.bench.results.made_up import MACHINE
from tests.loadtests.bench.test_photograph_peers import make_site


def reply(status: int, asked_s: float, ended_s: float) -> Reply:
    return Reply(0, 0, asked_s, ended_s, ended_s, status, b"")


def cell(peer: str, requests: int, wrong: int = 0) -> Cell:
    return Cell(ENCODER.name, TEXTS, 64, peer, (Sample(requests, 1.0, wrong, 0, 0, 0, 0.1, 0.2),) * 3)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"predictions": [{}]}', b'{"predictions": [{"embedding": 3}]}'])
def test_unreadable_answer_is_wrong(body: bytes) -> None:
    """Not a crash."""
    with pytest.raises(WrongAnswer):
        TEXTS_PEER.read_scores(Answer(200, {}, body))


def test_answers_without_status_200_are_no_work() -> None:
    """A run lasts until its last answer; an answer that never came is an error."""
    sample = summarise([reply(200, 0, 1), reply(500, 1, 2), reply(0, 1, 4)])
    assert (sample.requests, sample.wrong_status, sample.socket_errors, sample.duration_s) == (2, 1, 1, 4.0)
    assert (sample.errors, sample.answers_per_s, sample.p50_s) == (2, 0.25, 1)
    assert summarise([]).answers_per_s == 0


def test_clients_send_texts_of_all_lengths() -> None:
    """The same ones to both servers; each word is one token."""
    requests = make_requests("http://127.0.0.1:1")
    assert len(requests) == CLIENTS
    tokenizer = Tokenizer(write_tokenizer().encode(), "")
    [*texts] = (json.loads(each.partition(b"\r\n\r\n")[2])["inputs"][0] for of_client in requests for each in of_client)
    lengths = [len(tokenizer.encode(text).ids) for text in texts]
    assert (min(lengths), max(lengths)) == (LEAST_TOKENS, MOST_TOKENS)
    assert np.mean(lengths) == pytest.approx((LEAST_TOKENS + MOST_TOKENS) / 2, rel=0.05)
    assert make_requests("http://127.0.0.1:1") == requests


def test_answer_is_the_vector_of_the_text() -> None:
    """The ids of the words are those of the tokenizer, and the graph runs."""
    rows = ENCODER.make_rows(1)
    assert Tokenizer(write_tokenizer().encode(), "").encode(write_text(rows[0])).ids == rows[0].tolist()
    vectors = ENCODER.score(rows)
    body = {"predictions": [{"embedding": base64.b64encode(vectors[0].tobytes()).decode()}]}
    assert ENCODER.agrees(TEXTS_PEER.read_scores(Answer(200, {}, json.dumps(body).encode())), vectors)


def test_options_of_the_import_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every option that the import is given is one of the command's."""
    with pytest.raises(SystemExit):
        sluice.main(["import", "--help"])
    known = capsys.readouterr().out
    words = write_import(make_site(tmp_path, ENCODER), tmp_path / "tokenizer.json")
    assert all(f"{word} " in known for word in words[4:] if word.startswith("--"))


@pytest.mark.parametrize(
    ("cells", "holds", "text"),
    [
        ((), None, "not measured"),
        ((cell(TEXTS_PEER.name, 160), cell(FIXED_PEER.name, 100)), True, "1.60×"),
        ((cell(TEXTS_PEER.name, 140), cell(FIXED_PEER.name, 100)), False, "1.40×"),
        ((cell(TEXTS_PEER.name, 160, wrong=1), cell(FIXED_PEER.name, 100)), None, "not measured"),
    ],
)
def test_promise_of_texts(cells: tuple[Cell, ...], holds: bool | None, text: str) -> None:
    """At least one and a half times as many texts; a server with errors proves nothing."""
    [row] = judge(Result(MACHINE, {}, {}, (), cells, (), only=ONLY_TEXTS))
    assert row.holds is holds
    assert text in row.measured
