"""The store is followed while loads take long, while many changes come at once, and by several workers."""

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import ModelVersion, Store
from service.models.lifecycle import loads
from service.models.lifecycle.index import StoredModel, StoreReader
from service.settings import Settings
from tests.service.models.asking import index
from tests.service.models.following.stores import card_of, publish, replace, until, who
from tests.support.models import graphs
from tests.support.processes import Served
from tests.support.servers import FAST, ClosingWorker, Serving, settings_for

CHANGES = 1000


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings with which others wait only briefly for an endless version, but for any other as long as it takes."""

    def count(version: ModelVersion) -> int:
        return 0 if graphs.endless() in [path.read_bytes() for path in version.folder.glob("*.onnx")] else 1 << 60

    monkeypatch.setattr(loads, "count_files", count)
    return {"ready_wait_s": 0.1, "follow": True}


def test_version_that_never_loads_delays_no_other(tmp_path: Path, impatient: dict[str, Any]) -> None:
    """It is LOADING with a reason while aliases and newer versions are followed, and disappears with its folder."""
    publish(tmp_path, 1)
    with Serving(settings_for(tmp_path, **impatient), FAST) as server, server.client() as client:
        replace(tmp_path, "m", graphs.endless(), version=2)
        until(lambda: index(client)["m", "2"][0] == "LOADING" and "takes long" in index(client)["m", "2"][1])
        Store(tmp_path).set_alias("m", "live", 1)
        until(lambda: who(client, version="live") == "1")
        assert who(client) == "1"
        publish(tmp_path, 3)
        until(lambda: who(client) == "3")
        assert who(client, version="live") == "1"
        assert index(client)["m", "2"][0] == "LOADING"
        (tmp_path / "m" / "2" / "model.onnx").unlink()
        (tmp_path / "m" / "2").rmdir()
        until(lambda: ("m", "2") not in index(client), lambda: index(client))


def test_alias_of_a_version_that_takes_long_means_the_old_one_until_then(
    tmp_path: Path, impatient: dict[str, Any]
) -> None:
    """Callers see no gap, and the card says what is being waited for."""
    publish(tmp_path, 1)
    replace(tmp_path, "m", graphs.endless(), version=2)
    Store(tmp_path).set_alias("m", "stable", 1)
    with Serving(settings_for(tmp_path, **impatient), FAST) as server, server.client() as client:
        assert who(client, version="stable") == "1"
        Store(tmp_path).set_alias("m", "stable", 2)
        until(lambda: bool(card_of(client).get("warnings")))
        assert (
            "alias stable should mean version 2 and means 1 until that is in service" in card_of(client)["warnings"][0]
        )
        assert (who(client), who(client, version="stable")) == ("1", "1")


def test_many_changes_at_once_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand changes of a model cause only a few reads, and the last change counts."""
    reads: list[str] = []
    read = StoreReader.read

    async def count(self: StoreReader, name: str, *args: Any, **more: Any) -> StoredModel:
        reads.append(name)
        return await read(self, name, *args, **more)

    monkeypatch.setattr(StoreReader, "read", count)
    publish(tmp_path, 1)
    aliases = tmp_path / "m" / "aliases.json"
    with Serving(settings_for(tmp_path, follow=True), FAST) as server, server.client() as client:
        for number in range(CHANGES):
            (tmp_path / "m" / ".aliases").write_text(f'{{"number-{number}": 1}}')
            os.replace(tmp_path / "m" / ".aliases", aliases)
        until(lambda: card_of(client)["aliases"] == {f"number-{CHANGES - 1}": 1})
        assert who(client) == "1"
    assert len(reads) < CHANGES / 3


def test_policies_hold_at_the_start_and_while_the_store_changes(tmp_path: Path) -> None:
    """One for all models, and others for some."""
    names = ("latest", "every", "listed", "pinned")
    for name in names:
        for number in (1, 2, 3):
            publish(tmp_path, number, name)
    Store(tmp_path).set_alias("pinned", "live", 2)
    policies = {"every": "all", "listed": "1+3+5", "pinned": "pinned:live"}
    settings = settings_for(tmp_path, follow=True, versions="latest:2", model_versions=policies)
    with Serving(settings, FAST) as server, server.client() as client:

        def in_service() -> dict[str, tuple[str, str]]:
            """By model: what answers by default, and all that is in service."""
            states = index(client, ready=True)
            return {n: (who(client, n), "".join(v for m, v in states if m == n and v)) for n in names}

        assert in_service() == {
            "latest": ("3", "23"),
            "every": ("3", "123"),
            "listed": ("3", "13"),
            "pinned": ("2", "2"),
        }
        for name in names:
            for number in (4, 5):
                publish(tmp_path, number, name)
        Store(tmp_path).set_alias("pinned", "live", 4)
        expected = {"latest": ("5", "45"), "every": ("5", "12345"), "listed": ("5", "135"), "pinned": ("4", "4")}
        until(lambda: in_service() == expected, in_service)


def test_policy_that_names_no_version_is_told_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a server with a wrong alias in its settings would say only that nothing serves."""
    publish(tmp_path, 1)
    with (
        Serving(settings_for(tmp_path, model_versions={"m": "pinned:live"}), FAST) as server,
        server.client() as client,
    ):
        assert who(client) == "status 503"
    [told] = [record.getMessage() for record in caplog.records if "does not serve" in record.getMessage()]
    assert (
        told == "m does not serve: the policy in SLUICE_VERSIONS or SLUICE_MODEL_VERSIONS names none of its versions: 1"
    )


@pytest.mark.anyio
async def test_server_that_stops_while_it_follows_ends(tmp_path: Path, impatient: dict[str, Any]) -> None:
    """The load that never ends, what is being read, and the thread that watches, all end."""
    publish(tmp_path, 1)
    worker = ClosingWorker(Settings(store=tmp_path, **impatient))
    await worker.start()
    replace(tmp_path, "m", graphs.endless(), version=2)
    entries = worker.registry.entries
    await asyncio.to_thread(until, lambda: "m" in entries and bool(entries["m"].loading))
    await worker.stop()
    assert entries["m"].loading == {}


@pytest.mark.slow
def test_every_worker_follows(tmp_path: Path) -> None:
    """A version and an alias come to serve in all workers, and what one is asked to unload leaves all."""
    publish(tmp_path, 1)

    def ask(server: Served, version: str = "") -> set[str]:
        """What answers over many connections of their own."""
        found = set()
        for _ in range(24):
            with httpx.Client(base_url=server.url, verify=False, timeout=60) as client:  # noqa: S501  # plain HTTP
                found.add(who(client, version=version))
        return found

    settings = {"SLUICE_STORE": str(tmp_path), "SLUICE_CONTROL": "true"}
    with Served(workers=2, environment=settings) as server:
        assert ask(server) == {"1"}
        publish(tmp_path, 2)
        until(lambda: ask(server) == {"2"}, lambda: ask(server))
        Store(tmp_path).set_alias("m", "stable", 1)
        until(lambda: ask(server) == {"1"}, lambda: ask(server))
        assert ask(server, "2") == {"2"}
