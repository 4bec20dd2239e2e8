"""Servers that follow a store of signed versions."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_store import ModelVersion, Store
from model_store.manifest import MANIFEST_FILE
from tests.service.models.asking import index, infer
from tests.service.models.following.stores import card_of, until
from tests.support.servers import FAST, Serving, settings_for
from tests.support.signing.keys import Key

Publish = Callable[..., ModelVersion]


@pytest.fixture
def server(tmp_path: Path, key: Key, key_file: Path, publish: Publish) -> Iterator[Serving]:
    """It follows a store with one signed version of ``m``."""
    publish(signer=key)
    settings = settings_for(tmp_path / "store", signed_by=key_file, follow=True, poll_s=0.5)
    with Serving(settings, FAST) as server:
        yield server


def ask(server: Serving, version: str = "") -> str:
    """The version that answers; the reason if none does."""
    with server.client() as client:
        answer = infer(client, "m", version).json()
        return str(answer.get("model_version") or answer["error"])


def reason(server: Serving, version: int) -> str:
    with server.client() as client:
        return index(client).get(("m", str(version)), ("", ""))[1]


def test_version_takes_over_when_it_is_signed(server: Serving, key: Key, publish: Publish) -> None:
    """Until then the one before it serves, and the index says what is missing. Nobody has to ask for a load."""
    version = publish()
    until(lambda: "m/2 has no signature" in reason(server, 2))
    assert ask(server) == "1"
    Key().sign_version(version)
    until(lambda: "none of the keys that count here made it" in reason(server, 2))
    assert ask(server) == "1"
    key.sign_version(version)
    until(lambda: ask(server) == "2")


def test_alias_of_a_version_that_is_not_signed_means_the_one_before(
    server: Serving, key: Key, publish: Publish, tmp_path: Path
) -> None:
    """``stable`` too; the card says why it does not count yet."""
    store = Store(tmp_path / "store")
    store.set_alias("m", "stable", 1)
    until(lambda: ask(server, "stable") == "1")
    version = publish()
    store.set_alias("m", "stable", 2)

    def warns() -> bool:
        with server.client() as client:
            return "m/2 has no signature" in str(card_of(client))

    until(warns)
    assert (ask(server), ask(server, "stable")) == ("1", "1")
    assert "m/2 has no signature" in ask(server, "2")
    key.sign_version(version)
    until(lambda: (ask(server), ask(server, "stable")) == ("2", "2"))


def test_files_of_a_version_in_service_may_change(server: Serving, key: Key, tmp_path: Path) -> None:
    """It is what was loaded, and is not loaded again: neither for a new signature, nor when somebody spoils it."""
    store = Store(tmp_path / "store")
    model = server.worker.registry.find("m")
    signature = key.sign_version(store.find("m"))
    store.set_alias("m", "signed-again", 1)
    until(lambda: ask(server, "signed-again") == "1")  # what came before the alias was seen too
    signature.unlink()
    (signature.parent / MANIFEST_FILE).write_bytes(b"{}")
    store.set_alias("m", "spoilt", 1)
    until(lambda: ask(server, "spoilt") == "1")
    assert server.worker.registry.find("m") is model
