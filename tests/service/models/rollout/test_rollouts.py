"""Canaries of a running server: a harmful one goes back by itself, a harmless one stays until it is promoted."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from model_store import Store
from model_store.maintenance.moves import promote
from model_store.rollout import read_rollout
from tests.service.models.rollout.serving import (
    PATH,
    TENSOR,
    ask,
    ask_until,
    begin,
    canary,
    fails,
    refresh,
    serving,
    shadow,
    slow,
    triples,
    write,
)
from tests.support.models import graphs


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "cause"), [(fails, "errors"), (slow, "p99"), (triples, "disagreement")], ids=["fails", "slow", "other"]
)
def test_harmful_canary_goes_back(make, cause, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    """Card, log, metrics and the store say why. After that the stable version answers everything."""
    with caplog.at_level(logging.ERROR, "sluice.rollout"), serving(write(tmp_path, make())) as server:
        begin(server, canary=canary(p99_extra_s=0.002))
        seen = ask_until(server, lambda state: state["canary"]["state"] == "returned")
        assert seen[200, "1"] > 0
        with server.client() as client:
            assert {ask(client).json()["model_version"] for _ in range(20)} == {"1"}
            [card] = client.get("/models").json()["models"]
            reason = card["rollout"]["canary"]["reason"]
            assert reason.startswith(f"{cause}: ")
            metrics = client.get("/metrics").text
            named = ask(client, path="/v2/models/m/versions/2/infer")
            assert named.status_code == (500 if cause == "errors" else 200)  # who asks for it still gets it
    assert f"m: version 2 went back to the stable version: {reason}" in caplog.messages
    assert 'sluice_canary_returned{model="m",version="2"} 1.0' in metrics
    assert 'sluice_rollout_percent{kind="canary",model="m",version="2"} 0.0' in metrics
    found = read_rollout(tmp_path / "m").canary
    assert found is not None
    assert found.returned == reason


@pytest.mark.long
def test_harmless_canary_stays_and_is_promoted(tmp_path: Path) -> None:
    """It has its part of the requests; nothing fails, neither then nor at its promotion, which the command makes."""
    with serving(write(tmp_path, graphs.double()), window_s=0.02, follow=True) as server:
        begin(server, canary=canary())
        seen = ask_until(server, lambda state: state["canary"]["compared"]["same"] >= 50, callers=2)
        assert set(seen) == {(200, "1"), (200, "2")}
        assert 0.2 < seen[200, "2"] / seen.total() < 0.4
        with server.client() as client:
            state = client.get("/v2/models/m/rollout").json()
            assert (state["stable"], state["canary"]["state"]) == ("1", "on trial")
            assert state["canary"]["requests"] > 0
            assert (state["canary"]["failed"], state["canary"]["compared"]["differs"]) == (0, 0)
        promote(Store(tmp_path), "m")
        assert not (tmp_path / "m" / "rollout.json").exists()
        seen = ask_until(server, lambda state: (state["stable"], state["canary"]) == ("2", None))
        assert {status for status, _ in seen} == {200}


def test_value_of_the_header_keeps_its_version(tmp_path: Path) -> None:
    """Every caller gets one version, and the callers get both."""
    with serving(write(tmp_path, graphs.double())) as server, server.client() as client:
        begin(server, canary=canary(percent=50, header="x-user"))
        got = {
            user: {ask(client, {"X-User": f"u{user}"}).json()["model_version"] for _ in range(3)} for user in range(20)
        }
        assert all(len(versions) == 1 for versions in got.values())
        assert set().union(*got.values()) == {"1", "2"}


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/classify", {"model": "m", "inputs": [[1, 2, 3]]}),
        (PATH, {"parameters": {"timeout": 1}, "inputs": [TENSOR]}),
    ],
    ids=["a task that no version does", "less time than any version needs"],
)
def test_caller_who_is_chosen_by_a_header_cannot_send_the_canary_back(
    tmp_path: Path, path: str, asked: dict[str, Any]
) -> None:
    """Its requests fail by its own fault, and all of them come to the canary."""
    with serving(write(tmp_path, graphs.double())) as server, server.client() as client:
        begin(server, canary=canary(percent=50, header="x-user"))
        users = {ask(client, {"X-User": f"u{n}"}).json()["model_version"]: f"u{n}" for n in range(40)}
        for _ in range(40):
            assert ask(client, {"X-User": users["1"]}).status_code == 200
            assert client.post(path, json=asked, headers={"X-User": users["2"]}).status_code >= 400
        state = client.get("/v2/models/m/rollout").json()["canary"]
        assert (state["state"], state["failed"]) == ("on trial", 0)


def test_request_that_names_a_version_is_neither_chosen_nor_noted(tmp_path: Path) -> None:
    """Whoever asks for version 1 gets it, and the trial hears nothing of it."""
    with serving(write(tmp_path, graphs.double())) as server, server.client() as client:
        begin(server, canary=canary(percent=99))
        for _ in range(10):
            assert ask(client, path="/v2/models/m/versions/1/infer").json()["model_version"] == "1"
        state = client.get("/v2/models/m/rollout").json()["canary"]
        assert (state["requests"], state["stable_requests"]) == (0, 0)


def test_canary_that_cannot_be_loaded_gets_no_requests(tmp_path: Path) -> None:
    """The card says why it waits; the stable version answers."""
    write(tmp_path, b"no ONNX file")
    with serving(tmp_path) as server, server.client() as client:
        begin(server, canary=canary(percent=99))
        assert {ask(client).json()["model_version"] for _ in range(10)} == {"1"}
        [card] = client.get("/models").json()["models"]
        told = card["rollout"]["canary"]
        assert told["state"] == "waiting"
        assert "cannot load the graph" in told["reason"]


def test_canary_that_went_back_stays_back_though_the_store_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the store again does not begin the trial again; a new trial of the same version does."""

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    with serving(write(tmp_path, fails())) as server:
        first = canary()
        begin(server, canary=first)
        monkeypatch.setattr("service.models.rollout.rollouts.write_rollout", refuse)
        ask_until(server, lambda state: state["canary"]["state"] == "returned")
        begin(server, canary=first.model_copy(update={"percent": 50.0}))
        with server.client() as client:
            assert client.get("/v2/models/m/rollout").json()["canary"]["state"] == "returned"
            begin(server, canary=canary())
            assert client.get("/v2/models/m/rollout").json()["canary"]["state"] == "on trial"
    assert any("the store does not know that the canary went back" in message for message in caplog.messages)


def test_damaged_rollout_leaves_what_serves(tmp_path: Path) -> None:
    """The model goes on as before, canary included; the card names the file."""
    with serving(write(tmp_path, graphs.double())) as server, server.client() as client:
        begin(server, canary=canary(percent=50))
        (tmp_path / "m" / "rollout.json").write_text("{")
        refresh(server)
        assert {ask(client).json()["model_version"] for _ in range(30)} == {"1", "2"}
        [card] = client.get("/models").json()["models"]
        assert card["warnings"][0].startswith("m/rollout.json: ")


def test_shadow_answers_nobody_and_is_compared(tmp_path: Path) -> None:
    """All answers are the stable version's; the shadow's are counted as the same or not."""
    with serving(write(tmp_path, graphs.double(), triples())) as server:
        begin(server, shadow=shadow(2))
        seen = ask_until(server, lambda state: state["shadow"]["compared"]["same"] >= 20, callers=2)
        assert set(seen) == {(200, "1")}
        begin(server, shadow=shadow(3))
        seen = ask_until(server, lambda state: state["shadow"]["compared"]["differs"] >= 20, callers=2)
        assert set(seen) == {(200, "1")}
        with server.client() as client:
            state = client.get("/v2/models/m/rollout").json()["shadow"]
            assert state["compared"]["same"] == 0


def test_shadow_that_fails_costs_no_answer(tmp_path: Path) -> None:
    """Its failures are counted, and not told to callers."""
    with serving(write(tmp_path, fails())) as server:
        begin(server, shadow=shadow())
        seen = ask_until(server, lambda state: state["shadow"]["compared"]["failed"] >= 20, callers=2)
        assert set(seen) == {(200, "1")}
        with server.client() as client:
            assert json.loads(client.get("/v2/models/m/rollout").text)["shadow"]["state"] == "on trial"
