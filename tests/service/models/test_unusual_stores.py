"""What a server says of a store that is missing, empty, or not as we would write it."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import Settings, SettingsError
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for

REPOSITORY = Path(__file__).resolve().parents[2]
X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}


def infer(client: httpx.Client, name: str, version: str = "") -> httpx.Response:
    return client.post(f"/v2/models/{name}{version and f'/versions/{version}'}/infer", json={"inputs": [X]})


def index(client: httpx.Client, **body: Any) -> dict[tuple[str, str | None], tuple[str, str]]:
    lines = client.post("/v2/repository/index", json=body).raise_for_status().json()
    return {(line["name"], line.get("version")): (line["state"], line.get("reason", "")) for line in lines}


def cards(client: httpx.Client) -> dict[str, dict[str, Any]]:
    return {card["name"]: card for card in client.get("/models").raise_for_status().json()["models"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A good model with a version that cannot be used, a flat one, and two that cannot serve."""
    root = graphs.write_plain(tmp_path / "store", "good", graphs.double())
    (root / "good/v2").mkdir()
    (root / "good/v2/model.onnx").write_bytes(graphs.double())
    (root / "good/stray.onnx").write_bytes(graphs.double())
    (root / "flat").mkdir()
    (root / "flat/net.onnx").write_bytes(graphs.double())
    graphs.write_plain(root, "with space", graphs.double())
    (root / "empty/3").mkdir(parents=True)
    return root


@pytest.fixture(params=[False, True], ids=["eager", "lazy"])
def client(root: Path, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    settings = settings_for(root, control=True, lazy=request.param)
    with Serving(settings, FAST) as server, server.client() as client:
        yield client


# No store


def missing(root: Path) -> Path:
    return root / "none"


def a_file(root: Path) -> Path:
    (root / "file").touch()
    return root / "file"


@pytest.mark.parametrize(("make", "fault"), [(missing, "there is none"), (a_file, "it is not a folder")])
def test_store_that_is_no_folder_ends_the_start(tmp_path: Path, make: Any, fault: str) -> None:
    """`sluice serve` ends with code 2 and one line that names the path, the setting and what to do."""
    store = make(tmp_path)
    command = [sys.executable, "-m", "sluice", "serve", "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"sluice serve: SLUICE_STORE={store} (--store): expected a folder of models")
    assert f"{fault}: correct the path" in done.stderr


def test_store_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be read is an error of the settings, not an empty store."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SettingsError, match=r"SLUICE_STORE=.*permission is denied: let the user"):
        Settings(store=tmp_path).check_store()


def test_worker_of_bentoml_serve_refuses_a_store_that_is_not_there(tmp_path: Path) -> None:
    """A worker that is not started by `sluice serve` looks for the store too, and names the setting."""
    done = subprocess.run(
        [sys.executable, "-c", "import service.app; service.app._open_worker()"],
        env={**os.environ, "SLUICE_STORE": str(tmp_path / "none")},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert f"SettingsError: SLUICE_STORE={tmp_path / 'none'} (--store): expected a folder of models" in done.stderr


def test_empty_store_starts_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store without models is no error, for they may come later; the log says where they are expected."""
    with Serving(settings_for(tmp_path), FAST) as server, server.client() as client:
        assert client.get("/livez").status_code == 200
        assert index(client) == {}
    [warning] = [r.getMessage() for r in caplog.records if r.name.startswith("sluice") and r.levelno > logging.INFO]
    assert warning == f"{tmp_path} holds no models: expected files <name>/<version>/model.onnx in it"


# An unusual one


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


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("with%20space", "", "the name of a model's folder"),
        ("empty", "", "empty/3 is empty"),
        ("empty", "3", "empty/3 is empty"),
        ("good", "v2", "good/v2 is no version"),
    ],
)
def test_caller_is_told_why_it_cannot_be_asked(client: httpx.Client, name: str, version: str, reason: str) -> None:
    """Who asks for it, or loads it, gets 503 with the reason, not that there is no such thing."""
    answer = infer(client, name, version)
    assert (answer.status_code, reason in answer.json()["error"]) == (503, True), answer.text
    body = {"parameters": {"version": version}} if version else {}
    loading = client.post(f"/v2/repository/models/{name}/load", json=body)
    assert (loading.status_code, reason in loading.json()["error"]) == (503, True), loading.text


def test_model_that_was_put_right_is_loaded(client: httpx.Client, root: Path) -> None:
    """A load reads the folder anew: what was wrong is forgotten, in the index, on the card and for callers."""
    (root / "empty/3/model.onnx").write_bytes(graphs.double())
    client.post("/v2/repository/models/empty/load").raise_for_status()
    assert infer(client, "empty", "3").status_code == 200
    assert index(client)["empty", "3"] == ("READY", "")
    assert "reason" not in cards(client)["empty"]


def test_log_has_one_line_for_each_that_cannot_serve(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the start each is logged once with its reason; those that SLUICE_MODELS leaves out are not."""
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
    """What serves goes on without the folder, and the index has it; a load says that there is no such model."""
    root = graphs.write_plain(tmp_path / "store", "double", graphs.double())
    with Serving(settings_for(root, control=True), FAST) as server, server.client() as client:
        root.rename(tmp_path / "moved")
        assert client.post("/v2/repository/models/double/load").status_code == 404
        assert infer(client, "double").status_code == 200
        assert index(client) == {("double", "1"): ("READY", "")}
