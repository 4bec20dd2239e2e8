"""Loading and unloading while requests go on. These routes are the ASGI path's, also where the fast path is open."""

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import DEFAULT_ROOT, Store
from tests.service.models.asking import Y, index, infer
from tests.support.answers import assert_error
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for

CHANGES = (
    *("repository/models/double/load", "repository/models/double/unload"),
    *("logging", "trace/setting", "models/double/trace/setting"),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return graphs.write_plain(tmp_path / "store", "double", graphs.double())


@pytest.fixture
def serving(root: Path) -> Iterator[Serving]:
    with Serving(settings_for(root, control=True), FAST) as server:
        yield server


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that refuses what it is asked for."""
    root = graphs.write_plain(tmp_path_factory.mktemp("unchanged") / "store", "double", graphs.double())
    with Serving(settings_for(root, control=True), FAST) as server, server.client() as client:
        yield client


@pytest.fixture
def client(serving: Serving) -> Iterator[httpx.Client]:
    with serving.client() as client:
        yield client


def change(client: httpx.Client, do: str, name: str = "double", **parameters: Any) -> httpx.Response:
    body = {"parameters": parameters} if parameters else None
    return client.post(f"/v2/repository/models/{name}/{do}", json=body)


def who_serves(client: httpx.Client) -> Any:
    return infer(client).raise_for_status().json()["model_version"]


def take(client: httpx.Client, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Ask for a change; ``{host}`` in a header is the server's own. Returns the status."""
    host = client.base_url.netloc.decode()
    headers = {name: value.replace("{host}", host) for name, value in headers.items()}
    return client.post(f"/v2/{path}", content=body, headers=headers).status_code


def settle(serving: Serving) -> None:
    """Wait until the versions that were unloaded are gone."""
    end = serving.worker.registry.lifecycle.retirement.end
    asyncio.run_coroutine_threadsafe(end(), serving.worker.tasks.loop).result(60)


def test_server_that_allows_no_change_says_how_to_allow_it(root: Path) -> None:
    """Without SLUICE_CONTROL nothing can be changed, and the refusal names the setting; the index is there."""
    with Serving(settings_for(root), FAST) as server, server.client() as client:
        for path in CHANGES:
            assert_error(client.post(f"/v2/{path}", json={}), 403, "SLUICE_CONTROL=true")
        assert index(client) == {("double", "1"): ("READY", "")}


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "cross-site"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=a"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://{host}.evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1", "Content-Type": "application/json"}, 403),
        ({"Origin": "http://127.0.0.1", "Content-Type": "application/json"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),  # a name that leads here
    ],
)
@pytest.mark.parametrize("body", [b"", b"{}"], ids=["empty", "object"])
def test_change_that_a_page_of_another_site_could_ask_for_is_refused(
    unchanged: httpx.Client, path: str, headers: dict[str, str], status: int, body: bytes
) -> None:
    """A request that a browser sends without asking, as a form or text or from another origin, changes nothing."""
    assert take(unchanged, path, body, headers) == status
    assert who_serves(unchanged) == "1"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "application/x-www-form-urlencoded"},  # curl -d
        {"Content-Type": "Application/JSON; charset=utf-8", "Origin": "http://{host}"},
    ],
)
def test_change_by_a_program_or_a_page_of_this_server_is_made(unchanged: httpx.Client, headers: dict[str, str]) -> None:
    """Clients that name no type, such as Triton's, may change the server, and so may pages of its own origin."""
    assert [take(unchanged, "logging", body, headers) for body in (b"", b"{}")] == [200, 200]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"parameters": {"config": "{}"}}, 501, "parameters.config: a published model never changes"),
        ({"parameters": {"file:1/model.onnx": "AAAA"}}, 501, "parameters.file:1/model.onnx"),
        ({"parameters": {"versions": "1"}}, 400, "parameters.versions: unknown field"),
        ({"parameters": {"version": [1]}}, 400, "parameters.version.int: expected a valid integer"),
        ({"parameters": {"version": True}}, 400, "parameters.version.int: expected a valid integer"),
        ({"parameters": {"unload_dependents": 1}}, 400, "unload_dependents: expected a valid boolean"),
        ({"parameters": []}, 400, "parameters: expected an object"),
        ({"version": 1}, 400, "version: unknown field"),
        ([], 400, "expected a JSON object"),
        ({"parameters": {"version": 9}}, 404, "no version '9' of 'double'"),
        ({"parameters": {"version": "stable"}}, 404, "no alias 'stable' of 'double'"),
    ],
)
def test_bad_change_is_refused_and_changes_nothing(unchanged: httpx.Client, body: Any, status: int, text: str) -> None:
    """A change that is malformed or not offered is refused with the parameter's name, and the model still serves."""
    for do in ("load", "unload"):
        assert_error(unchanged.post(f"/v2/repository/models/double/{do}", json=body), status, text)
    assert who_serves(unchanged) == "1"


def test_member_that_is_null_is_as_absent(unchanged: httpx.Client) -> None:
    """A null member of the request means the same as no such member."""
    everything = unchanged.post("/v2/repository/index", json={"ready": None})
    assert (everything.status_code, everything.json()) == (200, unchanged.post("/v2/repository/index").json())
    for parameters in (None, {"version": None, "unload_dependents": None}):
        loaded = unchanged.post("/v2/repository/models/double/load", json={"parameters": parameters})
        assert loaded.status_code == 200, loaded.text
    assert who_serves(unchanged) == "1"


def test_unknown_model_is_404_and_large_body_413(unchanged: httpx.Client) -> None:
    """A name that is not in the store, or cannot be one, is 404 without the store's folder; a large request is 413."""
    for do in ("load", "unload"):
        for name in ("nobody", "..", "%2e%2e%2fetc"):
            response = change(unchanged, do, name)
            assert response.status_code == 404, response.text
            assert "/store" not in response.text
    response = unchanged.post("/v2/repository/models/double/load", content=b" " * (1 << 17))
    assert response.status_code == 413
    assert who_serves(unchanged) == "1"


def test_version_that_cannot_serve_leaves_the_old_one_serving(client: httpx.Client, root: Path) -> None:
    """A load that fails answers with the reason; the version before it still serves, and the index shows both."""
    graphs.write_plain(root, "double", b"no onnx", version=2)
    response = change(client, "load")
    assert response.status_code == 503
    assert "version 2 of 'double' cannot serve: " in response.json()["error"]
    assert who_serves(client) == "1"
    states = index(client)
    assert states["double", "1"] == ("READY", "")
    assert states["double", "2"][0] == "UNAVAILABLE"
    assert "ONNX Runtime cannot load the graph" in states["double", "2"][1]


def test_replaced_file_that_is_broken_leaves_the_old_one_serving(client: httpx.Client, root: Path) -> None:
    """If the new content of a file without a manifest does not load, the old content still serves."""
    path = root / "double" / "1" / "model.onnx"
    path.write_bytes(b"no onnx")
    assert change(client, "load").status_code == 503
    assert infer(client).json()["outputs"][0]["data"] == Y
    assert index(client)["double", "1"] == ("READY", "")
    path.write_bytes(graphs.double(width=1))
    assert change(client, "load").status_code == 200
    assert client.get("/v2/models/double").json()["inputs"][0]["shape"] == [-1, 1]


def test_new_version_takes_over_until_the_old_is_asked_for(client: httpx.Client, serving: Serving, root: Path) -> None:
    """After a load the newest version serves and the one before it does not; a load by number brings that one back."""
    graphs.write_plain(root, "double", graphs.double(), version=2)
    assert index(client)["double", "2"] == ("UNAVAILABLE", "it is not loaded")
    assert change(client, "load").json() == {"name": "double", "load": True}
    assert who_serves(client) == "2"
    settle(serving)
    assert index(client) == {("double", "1"): ("UNAVAILABLE", "it was unloaded"), ("double", "2"): ("READY", "")}
    assert index(client, ready=True) == {("double", "2"): ("READY", "")}
    assert_error(infer(client, version="1"), 503, "unloaded")
    assert client.get("/v2/models/double").json()["versions"] == ["2"]
    change(client, "load", version=1).raise_for_status()
    assert who_serves(client) == "1"
    assert client.get("/v2/models/double/versions/2/ready").status_code == 503


def test_version_of_an_alias_stays_beside_the_newest(client: httpx.Client, root: Path) -> None:
    """A load reads the aliases again; a version with an alias serves by it, and alone when the newest is unloaded."""
    graphs.write_plain(root, "double", graphs.double(), version=2)
    Store(root).set_alias("double", "old", 1)
    change(client, "load").raise_for_status()
    assert who_serves(client) == "2"
    assert infer(client, version="old").json()["model_version"] == "1"
    change(client, "unload", version=2).raise_for_status()
    assert who_serves(client) == "1"
    change(client, "load").raise_for_status()
    change(client, "load", version="old").raise_for_status()
    assert who_serves(client) == "1"


def test_model_that_is_new_in_the_store_is_loaded_and_unloaded(client: httpx.Client, root: Path) -> None:
    """A model that was published after the start serves after a load; after an unload it is not ready."""
    graphs.write_plain(root, "late", graphs.double())
    assert infer(client, "late").status_code == 404
    change(client, "load", "late").raise_for_status()
    assert infer(client, "late").json()["outputs"][0]["data"] == Y
    assert change(client, "unload", "late").json() == {"name": "late", "unload": True}
    assert_error(infer(client, "late"), 503, "it was unloaded")
    assert client.get("/v2/models/late/ready").status_code == 503
    assert 'sluice_model_ready{model="late",version="1"} 0.0' in client.get("/metrics").text
    change(client, "load", "late").raise_for_status()
    assert infer(client, "late").json()["outputs"][0]["data"] == Y


def test_default_model_of_a_task_follows_what_serves(root: Path) -> None:
    """A task route finds a model that was loaded after the start, and none after it was unloaded."""
    row = [[[0.0] * 8] * 8]
    with Serving(settings_for(root, control=True), FAST) as server, server.client() as client:
        assert client.post("/classify", json={"inputs": [row]}).status_code == 404
        shutil.copytree(DEFAULT_ROOT / "digits-classifier", root / "digits-classifier")
        change(client, "load", "digits-classifier").raise_for_status()
        assert client.post("/classify", json={"inputs": [row]}).json()["model"] == "digits-classifier"
        change(client, "unload", "digits-classifier").raise_for_status()
        assert client.post("/classify", json={"inputs": [row]}).status_code == 404


def test_lazy_model_that_was_unloaded_is_not_loaded_by_the_next_request(root: Path) -> None:
    """With SLUICE_LAZY a request loads no model that was taken out of service, nor a load one beside SLUICE_MODELS."""
    graphs.write_plain(root, "other", graphs.double())
    settings = settings_for(root, control=True, lazy=True, models=("double",))
    with Serving(settings, FAST) as server, server.client() as client:
        assert_error(change(client, "load", "other"), 404, "SLUICE_MODELS")
        assert index(client)["double", "1"] == ("UNAVAILABLE", "the next request loads it")
        change(client, "unload").raise_for_status()
        assert infer(client).status_code == 503
        change(client, "load").raise_for_status()
        assert who_serves(client) == "1"


def test_no_request_is_lost_while_versions_change(root: Path) -> None:
    """While versions take over from each other, every request of four callers is answered by one of them."""
    graphs.write_plain(root, "double", graphs.double(), version=2)
    done = False

    def ask(_: int) -> set[tuple[int, str]]:
        seen = set()
        with serving.client() as own:
            while not done:
                response = infer(own)
                seen.add((response.status_code, response.json().get("model_version", response.text)))
        return seen

    settings = settings_for(root, control=True)
    with Serving(settings, FAST) as serving, serving.client() as client, ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(ask, i) for i in range(4)]
        try:
            for turn in range(12):
                change(client, "load", version=turn % 2 + 1).raise_for_status()
        finally:
            done = True
        assert set().union(*(caller.result() for caller in callers)) <= {(200, "1"), (200, "2")}


def test_task_under_way_ends_on_the_version_that_began_it(tmp_path: Path) -> None:
    """A stream that runs while its model is unloaded goes on to its end; then the version is gone."""
    root = tmp_path / "store"
    shutil.copytree(DEFAULT_ROOT / "digits-diffusion", root / "digits-diffusion")
    body = {"count": 2, "steps": 200, "stream": True, "seed": 1}
    name = "digits-diffusion"
    with Serving(settings_for(root, control=True), FAST) as server, server.client() as client:
        with client.stream("POST", "/generate", json=body) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data:")
            with server.client() as other:
                change(other, "unload", name).raise_for_status()
                assert index(other)[name, "1"][0] in ("UNLOADING", "UNAVAILABLE")
                assert other.post("/generate", json=body).status_code == 404
            assert "event: done" in list(lines)
        settle(server)
        assert index(client)[name, "1"] == ("UNAVAILABLE", "it was unloaded")


def test_change_reaches_every_worker(root: Path, tmp_path: Path) -> None:
    """A change that one of two workers is asked for is made by both before the answer: models, traces, logs."""
    settings = settings_for(root, control=True, workers=2, metrics_dir=tmp_path / "m")
    graphs.write_plain(root, "double", graphs.double(), version=2)
    with Serving(settings, FAST) as one, Serving(settings, FAST) as two, one.client() as first, two.client() as second:
        change(first, "load", version=1).raise_for_status()
        assert (who_serves(first), who_serves(second)) == ("1", "1")
        change(second, "unload").raise_for_status()
        assert (infer(first).status_code, infer(second).status_code) == (503, 503)
        first.post("/v2/trace/setting", json={"trace_rate": "7"}).raise_for_status()
        assert second.get("/v2/trace/setting").json()["trace_rate"] == "7"
        two.stop()
        two._thread.join(30)
        change(first, "load").raise_for_status()
        assert who_serves(first) == "2"


def test_workers_without_a_folder_in_common_refuse_changes(root: Path) -> None:
    """A change that could reach one worker only is not made."""
    with Serving(settings_for(root, control=True, workers=2), FAST) as server, server.client() as client:
        assert_error(change(client, "unload"), 501, "SLUICE_METRICS_DIR")
