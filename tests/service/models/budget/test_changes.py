"""Versions that were evicted, or had no room, while aliases, trials and new versions need them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import ModelVersion
from model_store.rollout import Rollout, write_rollout
from service.models.entry import EVICTED, NO_ROOM
from service.models.lifecycle import loads, versions
from service.models.loading import load_version
from tests.service.models.asking import index, load
from tests.service.models.following.stores import card_of, multiply, replace, until, who, write_aliases
from tests.service.models.rollout.serving import canary
from tests.support.pipelines.models import BLUE, RED, as_row, halves, write_store
from tests.support.servers import FAST, Serving, settings_for

SIZE = len(multiply(1.0))


@contextmanager
def serve(root: Path, room_for: float, **changes: Any) -> Iterator[tuple[Serving, httpx.Client]]:
    """A server that follows its store, with room for this many versions."""
    settings = settings_for(
        root, model_memory_bytes=int(room_for * SIZE), control=True, follow=True, poll_s=0.3, **changes
    )
    with Serving(settings, FAST) as server, server.client() as client:
        yield server, client


def test_stable_alias_moves_to_a_version_that_has_made_room(tmp_path: Path) -> None:
    """A rollback to an evicted version: it is loaded again, and answers requests that name no version."""
    for number in (1, 2):
        replace(tmp_path, "m", multiply(float(number)), number)
    replace(tmp_path, "other", multiply(9.0))
    write_aliases(tmp_path, '{"stable": 2, "previous": 1}')
    with serve(tmp_path, 2.5) as (_, client):
        assert (who(client, version="1"), who(client), who(client, "other")) == ("1", "2", "9")
        assert index(client)["m", "1"] == ("UNAVAILABLE", EVICTED)
        assert who(client) == "2"
        write_aliases(tmp_path, '{"stable": 1, "previous": 2}')
        until(lambda: who(client) == "1", lambda: card_of(client))
        assert who(client, version="previous") == "2"


def test_canary_that_found_no_room_begins_when_its_model_serves_again(tmp_path: Path) -> None:
    """Its model was evicted when the trial began. A request brings back both versions."""
    for name in ("m", "other", "third"):
        replace(tmp_path, name, multiply(1.0))
    write_aliases(tmp_path, '{"stable": 1}')
    with serve(tmp_path, 2.5) as (_, client):
        assert (who(client), who(client, "other"), who(client, "third")) == ("1", "1", "1")
        replace(tmp_path, "m", multiply(2.0), 2)
        write_rollout(tmp_path / "m", Rollout(canary=canary(percent=99.0)))
        until(lambda: ("m", "2") in index(client) and index(client)["m", "2"][1] == NO_ROOM, lambda: index(client))
        assert who(client) == "1"
        until(lambda: who(client) == "2", lambda: card_of(client))


def test_new_version_that_found_no_room_takes_over_when_there_is(tmp_path: Path) -> None:
    """It loads by itself when there is memory: without a change of the store, and without a request that names it."""
    for name in ("m", "big"):
        replace(tmp_path, name, multiply(1.0))
    with serve(tmp_path, 2.5, keep_models=("m", "big")) as (_, client):
        assert (who(client), who(client, "big")) == ("1", "1")
        replace(tmp_path, "m", multiply(2.0), 2)
        until(lambda: ("m", "2") in index(client) and "cannot be made free" in index(client)["m", "2"][1])
        assert who(client) == "1"
        assert client.post("/v2/repository/models/big/unload", json={}).status_code == 200
        until(lambda: who(client) == "2", lambda: (index(client), card_of(client)))


def test_alias_of_a_version_that_found_no_room_moves_when_there_is(tmp_path: Path) -> None:
    """Until then the alias names the old version, and the card says so."""
    for name in ("m", "big"):
        replace(tmp_path, name, multiply(1.0))
    write_aliases(tmp_path, '{"stable": 1, "prod": 1}')
    with serve(tmp_path, 2.5, keep_models=("m", "big")) as (_, client):
        replace(tmp_path, "m", multiply(2.0), 2)
        write_aliases(tmp_path, '{"stable": 1, "prod": 2}')
        until(lambda: ("m", "2") in index(client) and "cannot be made free" in index(client)["m", "2"][1])
        assert who(client, version="prod") == "1"
        assert client.post("/v2/repository/models/big/unload", json={}).status_code == 200
        until(lambda: who(client, version="prod") == "2", lambda: (index(client), card_of(client)))
        assert who(client) == "1"


def test_version_that_was_unloaded_while_it_loaded_is_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are not at fault: after its model is loaded again, its alias works too."""
    for name in ("m", "other"):
        replace(tmp_path, name, multiply(1.0))
    replace(tmp_path, "m", multiply(2.0), 2)
    write_aliases(tmp_path, '{"stable": 2, "previous": 1}')
    begun, may_load = threading.Event(), threading.Event()

    def load_late(version: ModelVersion, *args: Any) -> Any:
        begun.set()
        assert may_load.wait(60)
        return load_version(version, *args)

    with serve(tmp_path, 2.5) as (_, client), ThreadPoolExecutor() as threads:
        assert (who(client, version="1"), who(client), who(client, "other")) == ("1", "2", "1")
        monkeypatch.setattr(loads, "load_version", load_late)
        asked = threads.submit(who, client, version="previous")
        assert begun.wait(60)
        unloaded = threads.submit(client.post, "/v2/repository/models/m/unload", json={})
        assert asked.result(60) == "status 503"
        may_load.set()
        assert unloaded.result(60).status_code == 200
        assert load(client, "m").status_code == 200
        assert (who(client), who(client, version="previous")) == ("2", "1")


def test_version_that_made_room_answers_while_the_next_one_takes_long_to_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without its number. The next one takes over when it is loaded."""
    for name in ("m", "other"):
        replace(tmp_path, name, multiply(1.0))
    may_load = threading.Event()

    def load_late(version: ModelVersion, *args: Any) -> Any:
        assert version.version == 1 or may_load.wait(60)
        return load_version(version, *args)

    monkeypatch.setattr(loads, "load_version", load_late)
    with serve(tmp_path, 2.5, ready_wait_s=0.1, deadline_s=20.0) as (_, client):
        try:
            assert (who(client), who(client, "other")) == ("1", "1")
            replace(tmp_path, "m", multiply(2.0), 2)
            until(lambda: "takes long" in index(client).get(("m", "2"), ("", ""))[1])
            for version in ("", "1"):
                assert who(client, "other") == "1"
                assert index(client)["m", "1"] == ("UNAVAILABLE", EVICTED)
                assert who(client, version=version) == "1", index(client)
                assert index(client)["other", "1"] == ("UNAVAILABLE", EVICTED)
        finally:
            may_load.set()
        until(lambda: who(client) == "2", lambda: index(client))


def test_pipeline_whose_models_do_not_fit_together_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the figures, and without a load: else its models would evict each other until the deadline."""
    write_store(tmp_path, "colours")
    monkeypatch.setattr(versions, "count_weights", lambda loaded: 2500)
    row = as_row(halves(RED, BLUE))
    limit = 3200 / SIZE
    with serve(tmp_path, limit, max_rows=8, models=("colours", "finder", "painter"), deadline_s=5.0) as (
        _,
        client,
    ):
        for _ in range(2):
            refused = client.post("/pipeline", json={"model": "colours", "inputs": [row]})
            assert refused.status_code == 503, refused.text
            assert "its models take 0.0 MiB together" in refused.json()["error"]
        [evictions] = [line for line in client.get("/metrics").text.splitlines() if "evictions_total{" in line]
        assert float(evictions.split()[-1]) == 1, "at the start, to measure both"


def test_measurement_while_another_version_goes_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may include the memory of that one: the version would count as too large for ever."""
    for name in ("m", "other"):
        replace(tmp_path, name, multiply(1.0))
    with serve(tmp_path, 1.5) as (server, client):
        room = server.worker.registry.lifecycle.room

        def load_beside(version: ModelVersion, *args: Any) -> Any:
            room.freed_bytes += 10 * SIZE
            return load_version(version, *args)

        monkeypatch.setattr(loads, "load_version", load_beside)
        assert who(client, "other") == "1"
        monkeypatch.setattr(loads, "load_version", load_version)
        for name in ("m", "other"):
            assert who(client, name) == "1"
