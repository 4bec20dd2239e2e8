"""Changes of the store take effect without a restart or a call; faulty ones change nothing."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model_store import Store
from tests.service.models.asking import index, infer, load
from tests.service.models.following.stores import (
    card_of,
    copy_elsewhere,
    multiply,
    publish,
    replace,
    until,
    who,
    write_aliases,
)
from tests.support.answers import assert_error
from tests.support.servers import FAST, Serving, settings_for


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with a model ``m`` of one version."""
    publish(tmp_path / "store", 1)
    return tmp_path / "store"


@pytest.fixture
def client(root: Path) -> Iterator[httpx.Client]:
    settings = settings_for(root, follow=True, control=True, poll_s=0.5)
    with Serving(settings, FAST) as server, server.client() as client:
        yield client


def state_of(client: httpx.Client, version: int, name: str = "m") -> tuple[str, str]:
    return index(client).get((name, str(version)), ("", ""))


def test_version_that_fails_its_proof_never_serves(client: httpx.Client, root: Path) -> None:
    """The version before it goes on, the card says why; the next good one takes over, and the old one leaves."""
    publish(root, 2, fails=True)
    until(lambda: "golden" in state_of(client, 2)[1])
    assert state_of(client, 2)[0] == "UNAVAILABLE"
    assert who(client) == "1"
    card = card_of(client)
    assert (card["ready"], card["serving"]) == (True, "1")
    assert "golden" in next(each for each in card["versions"] if each["version"] == "2")["reason"]
    publish(root, 3)
    until(lambda: who(client) == "3")
    until(lambda: state_of(client, 1) == ("UNAVAILABLE", "it was unloaded"))


def test_alias_counts_at_once(client: httpx.Client, root: Path) -> None:
    """``stable`` answers by default; it is set, moved and removed by its file alone."""
    store = Store(root)
    publish(root, 2)
    until(lambda: who(client) == "2")
    store.set_alias("m", "stable", 1)  # it is not in service any more
    until(lambda: who(client) == "1")
    assert [who(client, version=version) for version in ("stable", "1", "2")] == ["1", "1", "2"]
    assert card_of(client)["aliases"] == {"stable": 1}
    store.set_alias("m", "stable", 2)
    until(lambda: who(client) == "2")
    until(lambda: state_of(client, 1)[0] == "UNAVAILABLE")
    write_aliases(root, "{}")
    until(lambda: who(client, version="stable") == "status 404")
    assert who(client) == "2"


def test_alias_of_a_version_that_is_not_there_is_told_with_that_version(client: httpx.Client, root: Path) -> None:
    """404 names the alias and the version that it should mean."""
    write_aliases(root, '{"live": 1, "gone": 99}')
    until(lambda: who(client, version="live") == "1")
    error = client.get("/v2/models/m/versions/gone").json()["error"]
    assert error == "no version '99' of 'm', which the alias 'gone' names, was loaded: there are 1"


def test_alias_that_moves_to_a_version_that_fails_goes_on_meaning_the_old_one(client: httpx.Client, root: Path) -> None:
    """Callers see no gap; the card says which version it should mean and why it does not."""
    store = Store(root)
    store.set_alias("m", "live", 1)
    publish(root, 2, fails=True)
    until(lambda: "golden" in state_of(client, 2)[1])
    store.set_alias("m", "live", 2)
    until(lambda: bool(card_of(client).get("warnings")))
    [warning] = card_of(client)["warnings"]
    assert "alias live should mean version 2 and means 1 until that is in service: " in warning
    assert "golden" in warning
    assert who(client, version="live") == "1"
    store.set_alias("m", "live", 1)
    until(lambda: "warnings" not in card_of(client))


@pytest.mark.parametrize("text", ["{", '{"stable": "1"}', ""])
def test_broken_file_of_aliases_changes_nothing(client: httpx.Client, root: Path, text: str) -> None:
    """The aliases of before stay, the card says why, and a new version is still followed."""
    Store(root).set_alias("m", "live", 1)
    until(lambda: who(client, version="live") == "1")
    write_aliases(root, text)
    until(lambda: bool(card_of(client).get("warnings")))
    assert "m/aliases.json: expected a JSON object" in card_of(client)["warnings"][0]
    assert who(client, version="live") == "1"
    publish(root, 2)
    until(lambda: who(client) == "2")
    assert who(client, version="live") == "1"
    write_aliases(root, '{"live": 2}')
    until(lambda: who(client, version="live") == "2")
    assert "warnings" not in card_of(client)


def test_version_that_is_copied_file_by_file_serves_when_it_is_whole(client: httpx.Client, root: Path) -> None:
    """Half of it never serves, whichever file comes first."""
    publish(root, 2, "other")
    whole = copy_elsewhere(root / "other" / "1")
    files = sorted(whole.iterdir(), key=lambda path: path.name == "manifest.json")
    (root / "late" / "1").mkdir(parents=True)
    for path in files:
        content = path.read_bytes()
        with (root / "late" / "1" / path.name).open("wb", buffering=0) as file:
            for half in (content[: len(content) // 2], content[len(content) // 2 :]):
                assert who(client, "late") in ("status 404", "status 503")
                file.write(half.replace(b'"other"', b'"late"'))
    until(lambda: who(client, "late") == "2", lambda: card_of(client, "late"))


@pytest.mark.long
def test_file_without_a_manifest_is_loaded_again_when_it_changes(client: httpx.Client, root: Path) -> None:
    """A broken one changes nothing, and is reported; a repaired one serves."""
    replace(root, "plain", multiply(2))
    until(lambda: who(client, "plain") == "2")
    replace(root, "plain", multiply(3)[:-20])
    until(lambda: "its new content cannot serve, so the old one does" in state_of(client, 1, "plain")[1])
    assert who(client, "plain") == "2"
    replace(root, "plain", multiply(4))
    until(lambda: who(client, "plain") == "4")
    assert state_of(client, 1, "plain") == ("READY", "")


def test_model_comes_and_goes_with_its_folder(client: httpx.Client, root: Path) -> None:
    """A new model serves; one whose folder is removed is unknown; a file beside the models is no model."""
    (root / "README.txt").write_text("models")
    publish(root, 5, "new")
    until(lambda: who(client, "new") == "5")
    shutil.rmtree(root / "new")
    until(lambda: who(client, "new") == "status 404")
    assert_error(infer(client, "new"), 404, "no model 'new': there are m")
    assert [card["name"] for card in client.get("/models").json()["models"]] == ["m"]
    assert who(client) == "1"
    assert 'sluice_model_ready{model="new",version="1"} NaN' in client.get("/metrics").text  # no alert asks for it


def test_version_whose_folder_is_removed_serves_until_another_takes_its_place(client: httpx.Client, root: Path) -> None:
    """An older one if there is one; else it goes on, and the card says so."""
    publish(root, 2)
    until(lambda: who(client) == "2")
    shutil.rmtree(root / "m" / "2")
    until(lambda: who(client) == "1")
    shutil.rmtree(root / "m" / "1")
    until(lambda: bool(card_of(client).get("warnings")))
    assert card_of(client)["warnings"] == ["version 1 serves, but it is not in the store any more"]
    assert who(client) == "1"
    publish(root, 7)  # the first number again
    until(lambda: who(client) == "7", lambda: card_of(client))


def test_store_that_goes_away_and_comes_back_is_followed_again(client: httpx.Client, root: Path) -> None:
    """Meanwhile everything serves, and the cards say that it is away."""
    away = root.with_name("away")
    root.rename(away)
    until(lambda: bool(card_of(client).get("warnings")))
    assert "the store is not followed, and what serves goes on: No such file" in card_of(client)["warnings"][-1]
    assert who(client) == "1"
    root.mkdir()  # as a mount point before the file system is mounted
    until(lambda: "the store is empty" in card_of(client)["warnings"][-1])
    assert who(client) == "1"
    root.rmdir()
    away.rename(root)
    publish(root, 2)
    until(lambda: who(client) == "2")
    until(lambda: "warnings" not in card_of(client))
    publish(root, 3)
    until(lambda: who(client) == "3")


def test_store_that_is_replaced_by_another_folder_is_watched_anew(root: Path, tmp_path: Path) -> None:
    """Right after the next scan, even if the system gives the folder the same inode."""
    other = tmp_path / "other"
    publish(other, 1)
    publish(other, 2)
    with Serving(settings_for(root, follow=True, poll_s=0.2), FAST) as server, server.client() as client:
        follower = server.worker.registry.lifecycle.follower
        until(lambda: follower._watcher is not None)
        first = follower._watcher
        shutil.rmtree(root)
        os.rename(other, root)
        until(lambda: who(client) == "2")
        until(lambda: follower._watcher not in (None, first))


def test_what_was_unloaded_stays_so_until_a_newer_version_appears(client: httpx.Client, root: Path) -> None:
    """Aliases and older versions that change meanwhile bring nothing back."""
    client.post("/v2/repository/models/m/unload").raise_for_status()
    Store(root).set_alias("m", "live", 1)
    until(lambda: card_of(client)["aliases"] == {"live": 1})
    assert_error(infer(client, "m"), 503, "it was unloaded")
    publish(root, 2)
    until(lambda: who(client) == "2")


def test_version_that_was_loaded_by_hand_serves_until_a_newer_one_appears(client: httpx.Client, root: Path) -> None:
    """This is a way back without an alias."""
    publish(root, 2)
    until(lambda: who(client) == "2")
    load(client, "m", version=1).raise_for_status()
    Store(root).set_alias("m", "live", 2)
    until(lambda: who(client, version="live") == "2")
    assert who(client) == "1"
    publish(root, 3)
    until(lambda: who(client) == "3")


def test_changes_that_the_system_does_not_tell_are_found_by_a_look(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If folders cannot be watched, scans find new versions, aliases, changed files and removed models."""

    def watch(*_: object, **__: object) -> Iterator[set[object]]:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr("watchfiles.watch", watch)
    replace(root, "plain", multiply(2))
    with Serving(settings_for(root, follow=True, poll_s=0.05), FAST) as server, server.client() as client:
        publish(root, 2)
        until(lambda: who(client) == "2")
        Store(root).set_alias("m", "stable", 1)
        until(lambda: who(client) == "1")
        (root / "plain" / "1" / "model.onnx").write_bytes(multiply(3))
        until(lambda: who(client, "plain") == "3")
        shutil.rmtree(root / "plain")
        until(lambda: who(client, "plain") == "status 404")


def test_model_that_is_loaded_on_demand_is_followed_once_it_is_loaded(root: Path) -> None:
    """A new model is known at once and loaded when it is asked for."""
    with Serving(settings_for(root, follow=True, lazy=True), FAST) as server, server.client() as client:
        publish(root, 2, "new")
        until(lambda: card_of(client, "new") is not None)
        assert card_of(client, "new")["versions"] == []
        assert who(client, "new") == "2"
        publish(root, 3, "new")
        until(lambda: who(client, "new") == "3")
        assert card_of(client)["versions"] == []
        assert who(client) == "1"


def test_only_models_that_may_serve_are_followed(root: Path) -> None:
    """Others that appear are not loaded."""
    with Serving(settings_for(root, follow=True, models=("m",)), FAST) as server, server.client() as client:
        publish(root, 5, "other")
        publish(root, 2)
        until(lambda: who(client) == "2")
        assert who(client, "other") == "status 404"


def test_links_that_are_turned_to_another_store_are_followed(tmp_path: Path) -> None:
    """Kubernetes and git-sync replace folders like this: no event reports a change of the root itself."""
    for factor, name in ((1, "one"), (2, "two")):
        publish(tmp_path / name, factor)
    (tmp_path / "now").symlink_to("one")
    with Serving(settings_for(tmp_path / "now", follow=True, poll_s=0.05), FAST) as server, server.client() as client:
        assert who(client) == "1"
        (tmp_path / "next").symlink_to("two")
        os.replace(tmp_path / "next", tmp_path / "now")
        until(lambda: who(client) == "2")
        publish(tmp_path / "two", 3)
        until(lambda: who(client) == "3")
