"""Sequences and states continue on their version while it goes out of service; afterwards the refusal is clear."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model_store import DEFAULT_ROOT, Store
from tests.service.models.following.stores import until
from tests.support.answers import assert_error
from tests.support.grpc_servers import GrpcServing, tensor
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for

ANSWER = tuple[str, float]


def publish(root: Path) -> None:
    graphs.write_loop(root, "adder", graphs.add_up(), {"total": "next_total", "x": None})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish(tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def server(root: Path) -> Iterator[Serving]:
    with Serving(settings_for(root, follow=True, control=True, drain_s=600.0, sequence_idle_s=600.0), FAST) as server:
        yield server


@pytest.fixture
def client(server: Serving) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def post(client: httpx.Client, sequence: str = "", version: str = "", **marks: bool) -> httpx.Response:
    """Add one, in a sequence or by itself."""
    x = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}
    inputs = [x] if sequence else [x, {**x, "name": "total"}]
    parameters = {"sequence_id": sequence, **marks} if sequence else {}
    path = f"/v2/models/adder{f'/versions/{version}' if version else ''}/infer"
    return client.post(path, json={"inputs": inputs, "parameters": parameters})


def add(client: httpx.Client, sequence: str = "", version: str = "", **marks: bool) -> ANSWER:
    """The version that answers, and the total."""
    said = post(client, sequence, version, **marks).raise_for_status().json()
    return said["model_version"], said["outputs"][0]["data"][0]


def drop_what_waits(server: Serving) -> None:
    """What happens when versions have drained for long enough."""
    server.worker.tasks.loop.call_soon_threadsafe(server.worker.sequences.stop_waiting)
    end = server.worker.registry.lifecycle.retirement.end
    asyncio.run_coroutine_threadsafe(end(), server.worker.tasks.loop).result(60)


def test_sequence_goes_on_where_it_was_begun(server: Serving, client: httpx.Client, root: Path) -> None:
    """With or without the number of its version. New sequences, and requests without state, go to the new version."""
    assert add(client, "a", sequence_start=True) == ("1", 1)
    publish(root)
    until(lambda: add(client)[0] == "2")
    assert add(client, "a") == ("1", 2)
    assert add(client, "a", "1") == ("1", 3)
    assert add(client, "b", sequence_start=True) == ("2", 1)
    assert add(client, "b") == ("2", 2)
    assert_error(post(client, version="1"), 503, "requests that it has accepted are finished")
    assert_error(post(client, "c", "1", sequence_start=True), 503, "requests that it has accepted are finished")
    assert_error(post(client, "a", "2"), 400, "there is no sequence 'a'")
    assert add(client, "a", sequence_end=True) == ("1", 4)
    until(lambda: post(client, "a", "1").json()["error"].endswith("it was unloaded"))  # it has nothing to wait for


def test_sequence_is_refused_clearly_when_its_version_has_gone(
    server: Serving, client: httpx.Client, root: Path
) -> None:
    """The refusal names the version, and how to go on; the same id can be begun anew."""
    add(client, "a", sequence_start=True)
    held_bytes = server.worker.sequences.held_bytes
    publish(root)
    until(lambda: add(client)[0] == "2")
    drop_what_waits(server)
    assert server.worker.sequences.held_bytes == 0
    reason = "sequence 'a' was begun on version 1, which has gone out of service: expected sequence_start"
    assert_error(post(client, "a"), 400, reason)
    assert add(client, "a", sequence_start=True) == ("2", 1)
    assert add(client, "a") == ("2", 2)
    assert server.worker.sequences.held_bytes == held_bytes > 0


def test_sequence_of_a_model_that_was_unloaded_goes_on(client: httpx.Client) -> None:
    """Other requests are told that it was unloaded."""
    add(client, "a", sequence_start=True)
    client.post("/v2/repository/models/adder/unload").raise_for_status()
    assert add(client, "a") == ("1", 2)
    assert_error(post(client), 503, "it was unloaded")
    assert add(client, "a", sequence_end=True) == ("1", 3)


def test_sequence_goes_on_in_a_version_that_stays_by_its_alias(client: httpx.Client, root: Path) -> None:
    """Also if the alias moves to another version while the sequence goes on."""
    Store(root).set_alias("adder", "live", 1)
    until(lambda: post(client, version="live").status_code == 200)
    assert add(client, "a", "live", sequence_start=True) == ("1", 1)
    publish(root)
    until(lambda: add(client)[0] == "2")
    assert add(client, "a") == ("1", 2)
    Store(root).set_alias("adder", "live", 2)
    until(lambda: add(client, version="live")[0] == "2")
    assert add(client, "a", "live") == ("1", 3)


def test_sequence_goes_on_over_grpc(root: Path) -> None:
    """By the same rules as over HTTP; an alias is a version there too."""
    with GrpcServing(settings_for(root, follow=True, drain_s=600.0)) as server, server.grpc_client() as client:

        def say(sequence: str, version: str = "", **marks: bool) -> ANSWER:
            x = tensor("x", np.ones((1, 1), np.float32))
            found = client.infer("adder", [x], version, sequence_id=sequence, **marks)
            return found.get_response().model_version, float(found.as_numpy("next_total")[0, 0])

        assert say("a", sequence_start=True) == ("1", 1)
        publish(root)
        Store(root).set_alias("adder", "stable", 2)
        until(lambda: client.is_model_ready("adder", "stable"))
        assert say("b", sequence_start=True) == ("2", 1)
        assert say("a") == ("1", 2)
        assert say("a", "stable") == ("1", 3)


@pytest.fixture
def forecaster(tmp_path: Path) -> Path:
    """A store with one version of a model that gives states."""
    shutil.copytree(DEFAULT_ROOT / "sunspots-forecaster" / "1", tmp_path / "store" / "sunspots-forecaster" / "1")
    return tmp_path / "store"


def test_signed_state_goes_on_where_it_was_begun(forecaster: Path) -> None:
    """While its version drains, also if the caller names it; then the refusal names both versions."""
    settings = settings_for(forecaster, follow=True, drain_s=600.0, state_key="of these tests")
    with Serving(settings, FAST) as server, server.client() as client:

        def ask(series: Any, **more: Any) -> httpx.Response:
            return client.post("/predict_sequence", json={"inputs": [series], "horizon": 1, **more})

        values = [float(number) for number in range(40)]
        begun = ask(values, return_state=True).raise_for_status().json()["predictions"][0]
        later = {"values": [40.0], "state": begun["state"]}
        expected = ask(later).raise_for_status().json()["predictions"]
        shutil.copytree(forecaster / "sunspots-forecaster" / "1", forecaster / ".next")
        os.rename(forecaster / ".next", forecaster / "sunspots-forecaster" / "2")
        until(lambda: client.get("/v2/models/sunspots-forecaster").json()["versions"] == ["2"])
        for version in (None, "1"):
            gone_on = ask(later, version=version).raise_for_status().json()
            assert (gone_on["version"], gone_on["predictions"]) == ("1", expected)
        assert ask(values).json()["version"] == "2"
        assert_error(ask(later, version="2"), 400, "expected a state of model 'sunspots-forecaster' version 2")
        assert_error(ask(values, version="1"), 503, "requests that it has accepted are finished")
        server.worker.tasks.loop.call_soon_threadsafe(server.worker.continuations.stop)
        drop_what_waits(server)
        assert_error(ask(later), 400, "got one of model 'sunspots-forecaster' version 1; begin without a state")
