"""Servers with stores of every kind: missing, empty, lazy, large, exact, or with another layout."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import Settings, SettingsError
from tests.service.models.asking import Y, index, infer, load
from tests.support.answers import assert_error
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for


def cards(client: httpx.Client) -> dict[str, dict[str, Any]]:
    return {card["name"]: card for card in client.get("/models").raise_for_status().json()["models"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A good model with a version that cannot be used, a flat one, and two that cannot serve."""
    root = graphs.write_plain(tmp_path / "store", "good", graphs.double())
    for path in ("good/v2/model.onnx", "good/stray.onnx", "flat/net.onnx", "with space/1/model.onnx"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(graphs.double())
    (root / "empty/3").mkdir(parents=True)
    return root


@pytest.fixture(params=[False, True], ids=["eager", "lazy"])
def client(root: Path, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    settings = settings_for(root, control=True, lazy=request.param)
    with Serving(settings, FAST) as server, server.client() as client:
        yield client


@pytest.mark.parametrize(
    ("name", "fault"),
    [("none", "there is none: correct"), ("file", "it is not a folder: correct"), (".", "permission is denied")],
)
def test_unreadable_store_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: str) -> None:
    """It is an error of the settings, with the path, the setting and what to do, and not an empty store."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    store = tmp_path / name
    with pytest.raises(SettingsError) as caught:
        Settings(store=store).check_store()
    assert f"SLUICE_STORE={store} (--store): expected a folder of models" in str(caught.value)
    assert fault in str(caught.value)


def test_empty_store_starts_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store without models is live and not ready, for they may come later; the log says where they are expected."""
    with Serving(settings_for(tmp_path), FAST) as server, server.client() as client:
        assert client.get("/livez").status_code == 200
        assert_error(client.get("/readyz"), 503, "no model serves")
        assert index(client) == {}
    [warning] = [r.getMessage() for r in caplog.records if r.name.startswith("sluice") and r.levelno > logging.INFO]
    assert warning == f"{tmp_path} holds no models: expected files <name>/<version>/model.onnx in it"


def test_lazy_models_are_loaded_by_the_first_who_ask(tmp_path: Path) -> None:
    """Callers at the same time share a load. One whose time is over gets 504; one of a broken model, the reason."""
    for name in ("double", "late", "unused"):
        graphs.write_plain(tmp_path, name, graphs.double())
    graphs.write_plain(tmp_path, "broken", b"no onnx")
    with Serving(settings_for(tmp_path, lazy=True), FAST) as server, server.client() as client:

        def find_ready() -> set[str]:
            return {card["name"] for card in client.get("/models").json()["models"] if card["ready"]}

        assert client.get("/readyz").status_code == 200
        assert find_ready() == set()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: infer(client, "double").json(), range(8)))
        assert [answer["outputs"][0]["data"] for answer in answers] == [Y] * 8
        assert find_ready() == {"double"}
        refused = infer(client, "late", timeout=1000)
        assert refused.status_code == 504
        assert refused.json()["error"] == "the deadline passed before the request could be looked at"
        assert infer(client, "late").status_code == 200
        for _ in range(2):
            refused = infer(client, "broken")
            assert refused.status_code == 503
            assert "ONNX Runtime cannot load the graph" in refused.json()["error"]
        assert client.get("/v2/models/unused").json()["name"] == "unused"


def test_model_that_mixes_rows_serves_each_request_whole(tmp_path: Path) -> None:
    """Rows that influence each other are never cut or joined, so their bits are exact: also where that is required."""
    graphs.write_plain(tmp_path, "mixing", graphs.mixing())
    x = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}
    with Serving(settings_for(tmp_path, require_exact=True), FAST) as server, server.client() as client:
        answer = client.post("/v2/models/mixing/infer", json={"inputs": [x]}).json()
        assert answer["outputs"][0]["data"] == [-1, -1, 1, 1]  # each minus the mean of the request
        [card] = client.get("/models").json()["models"]
        assert (card["batching"]["rows"], card["batching"]["bits"]) == ("mixing", "exact")
        assert "ReduceMean" in card["batching"]["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
def test_store_of_1500_models_starts_and_serves_each(tmp_path: Path, lazy: bool) -> None:
    """Fifteen hundred small models are loaded at the start, or when asked for, and each answers."""
    for number in range(1500):
        graphs.write_plain(tmp_path, f"model-{number}", graphs.double())
    with Serving(settings_for(tmp_path, lazy=lazy), FAST) as server, server.client() as client:
        for number in range(1500):
            assert infer(client, f"model-{number}").json()["outputs"][0]["data"] == Y


def test_index_and_cards_tell_what_cannot_serve(client: httpx.Client) -> None:
    """Each thing that cannot serve is UNAVAILABLE with its reason, also where the model itself serves."""
    assert infer(client, "good").status_code == 200
    assert infer(client, "flat").json()["model_version"] == "1"
    states = index(client)
    assert {key: state for key, (state, _) in states.items()} == {
        ("empty", "3"): "UNAVAILABLE",
        ("flat", "1"): "READY",
        ("good", None): "UNAVAILABLE",
        ("good", "v2"): "UNAVAILABLE",
        ("good", "1"): "READY",
        ("with space", None): "UNAVAILABLE",
    }
    assert all(reason for state, reason in states.values() if state == "UNAVAILABLE")
    assert index(client, ready=True) == {("flat", "1"): ("READY", ""), ("good", "1"): ("READY", "")}
    told = cards(client)
    assert [(v["version"], v["state"]) for v in told["good"]["versions"]] == [("1", "READY"), ("v2", "UNAVAILABLE")]
    assert (told["good"]["ready"], told["good"]["reason"]) == (True, states["good", None][1])
    assert (told["with space"]["ready"], told["with space"]["reason"]) == (False, states["with space", None][1])
    assert [(v["version"], v["reason"]) for v in told["empty"]["versions"]] == [("3", states["empty", "3"][1])]


def test_caller_is_told_why_it_cannot_be_asked(client: httpx.Client, root: Path) -> None:
    """Requests and loads get 503 with the reason. After the model is put right, a load forgets the reason."""
    for name, version, reason in (
        ("with%20space", "", "the name of a model's folder"),
        ("empty", "", "empty/3 is empty"),
        ("empty", "3", "empty/3 is empty"),
        ("good", "v2", "good/v2 is no version"),
    ):
        for answer in (infer(client, name, version), load(client, name, **({"version": version} if version else {}))):
            assert (answer.status_code, reason in answer.json()["error"]) == (503, True), answer.text
    (root / "empty/3/model.onnx").write_bytes(graphs.double())
    load(client, "empty").raise_for_status()
    assert infer(client, "empty", "3").status_code == 200
    assert index(client)["empty", "3"] == ("READY", "")
    assert "reason" not in cards(client)["empty"]


def test_log_has_one_line_for_each_that_cannot_serve(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the start each is logged once with its reason; models that SLUICE_MODELS leaves out are not logged."""
    with Serving(settings_for(root, models=("good", "empty")), FAST):
        pass
    lines = [r.getMessage() for r in caplog.records if "is unavailable" in r.getMessage()]
    assert [line.partition(" is unavailable: ")[0] for line in lines] == ["empty version 3", "good version v2", "good"]


def test_models_of_links_serve_where_they_are_allowed(tmp_path: Path) -> None:
    """SLUICE_FOLLOW_LINKS lets a model be a link out of the store; without it the index names the setting."""
    graphs.write_plain(tmp_path / "elsewhere", "double", graphs.double())
    root = tmp_path / "store"
    root.mkdir()
    (root / "double").symlink_to(tmp_path / "elsewhere/double")
    with Serving(settings_for(root), FAST) as server, server.client() as client:
        assert "SLUICE_FOLLOW_LINKS=true" in index(client)["double", None][1]
    with Serving(settings_for(root, follow_links=True), FAST) as server, server.client() as client:
        assert infer(client, "double").status_code == 200


def test_store_that_goes_away_takes_nothing_out_of_service(tmp_path: Path) -> None:
    """Models that serve go on without the folder and stay in the index; a load says that it is away."""
    root = graphs.write_plain(tmp_path / "store", "double", graphs.double())
    with Serving(settings_for(root, control=True), FAST) as server, server.client() as client:
        root.rename(tmp_path / "moved")
        assert_error(load(client, "double"), 503, "the store cannot be read: ")
        assert infer(client, "double").status_code == 200
        assert index(client) == {("double", "1"): ("READY", "")}
