"""Servers that serve only what is signed."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import ModelVersion, Store
from model_store.manifest import MANIFEST_FILE
from model_store.signing import SIGNATURE_FILE
from service.settings import SettingsError
from service.settings.store import open_store
from tests.service.models.asking import index, infer, load
from tests.support.answers import assert_error
from tests.support.models.graphs import double, write_plain
from tests.support.pipelines.models import BLUE, RED, as_row, halves, write_store
from tests.support.servers import FAST, Serving, settings_for
from tests.support.signing.keys import DAY, NOW, Key, make_root, usage

Publish = Callable[..., ModelVersion]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def card(client: httpx.Client, name: str = "m") -> dict[str, Any]:
    [found] = [each for each in client.get("/models").json()["models"] if each["name"] == name]
    return dict(found)


def times(client: httpx.Client, version: str = "") -> float:
    """What the answering version multiplies by, which is its number."""
    return float(infer(client, "m", version).raise_for_status().json()["outputs"][0]["data"][0])


def unsigned(version: ModelVersion, key: Key) -> str:
    return "m/2 has no signature"


def signed_by_a_stranger(version: ModelVersion, key: Key) -> str:
    Key().sign_version(version)
    return "none of the keys that count here made it"


def changed_manifest(version: ModelVersion, key: Key) -> str:
    path = key.sign_version(version).parent / MANIFEST_FILE
    path.write_bytes(path.read_bytes() + b" ")
    return "it does not fit manifest.json"


def changed_graph(version: ModelVersion, key: Key) -> str:
    path = key.sign_version(version).parent / "main.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    return "main.onnx is not the file that was published"


def added_file(version: ModelVersion, key: Key) -> str:
    (key.sign_version(version).parent / "more.bin").touch()
    return "more.bin in m/2 is not in its manifest"


def signature_of_version_1(version: ModelVersion, key: Key) -> str:
    shutil.copy(version.folder.parent / "1" / SIGNATURE_FILE, version.folder)
    return "it does not fit manifest.json"


def copy_of_version_1(version: ModelVersion, key: Key) -> str:
    shutil.rmtree(version.folder)
    shutil.copytree(version.folder.parent / "1", version.folder)
    return "a folder that was called '1'"


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize(
    "spoil",
    [
        *(unsigned, signed_by_a_stranger, changed_manifest, changed_graph, added_file),
        *(signature_of_version_1, copy_of_version_1),
    ],
)
def test_version_that_is_not_signed_as_it_is_never_serves(
    root: Path, key: Key, key_file: Path, publish: Publish, spoil: Callable[[ModelVersion, Key], str], lazy: bool
) -> None:
    """Not as the newest, by number, by an alias, or when it is asked for; index, card and refusals have the reason."""
    publish(signer=key)
    why = spoil(publish(), key)
    Store(root).set_alias("m", "new", 2)
    Store(root).set_alias("m", "stable", 2)
    settings = settings_for(root, signed_by=key_file, control=True, lazy=lazy)
    with Serving(settings, FAST) as server, server.client() as client:
        for version in ("", "1", "2", "new", "stable"):
            answer = infer(client, "m", version)
            assert answer.status_code in (200, 503)
            assert answer.status_code == 503 or answer.json()["outputs"][0]["data"][0] == 1
        assert times(client, "1") == 1
        assert_error(infer(client, "m", "2"), 503, why)
        assert_error(infer(client, "m", "new"), 503, why)
        for version in ("2", "new"):
            refused = load(client, "m", version=version)
            assert (refused.status_code, why in refused.text) == (503, True)
        state, reason = index(client)["m", "2"]
        assert (state, why in reason) == ("UNAVAILABLE", True)
        assert why in str(card(client))
        assert times(client, "1") == 1


def test_plain_version_does_not_serve(root: Path, key_file: Path) -> None:
    """Its configuration cannot be signed, nor its name; the reason says how to make a version of it."""
    write_plain(root, "plain", double())
    with Serving(settings_for(root, signed_by=key_file), FAST) as server, server.client() as client:
        assert_error(infer(client, "plain"), 503, "plain version 1 has no manifest.json")
        assert "`sluice import`" in index(client)["plain", "1"][1]


def test_pipeline_and_the_models_of_its_steps_need_signatures(tmp_path: Path, key: Key, key_file: Path) -> None:
    """An unsigned pipeline does not serve, nor do signed ones through an unsigned model."""
    store = write_store(tmp_path / "models", "colours", "sure")
    for name in ("finder", "colours"):
        key.sign_version(store.find(name))
    body = {"inputs": [as_row(halves(RED, BLUE))]}
    with Serving(settings_for(store.root, signed_by=key_file), FAST) as server, server.client() as client:
        assert_error(client.post("/pipeline", json={"model": "sure", **body}), 503, "sure/1 has no signature")
        assert_error(client.post("/pipeline", json={"model": "colours", **body}), 503, "painter/1 has no signature")
    key.sign_version(store.find("painter"))
    with Serving(settings_for(store.root, signed_by=key_file), FAST) as server, server.client() as client:
        assert client.post("/pipeline", json={"model": "colours", **body}).status_code == 200


def test_version_serves_once_it_is_signed(root: Path, key: Key, key_file: Path, publish: Publish) -> None:
    """When it is loaded again, without a restart."""
    publish(signer=key)
    newest = publish()
    with Serving(settings_for(root, signed_by=key_file, control=True), FAST) as server, server.client() as client:
        assert times(client) == 1
        key.sign_version(newest)
        assert load(client, "m").status_code == 200
        assert times(client) == 2


def test_version_in_service_goes_on_without_its_signature(
    root: Path, key: Key, key_file: Path, publish: Publish
) -> None:
    """What serves was checked when it was loaded. It is not loaded again."""
    version = publish(signer=key)
    with Serving(settings_for(root, signed_by=key_file, control=True), FAST) as server, server.client() as client:
        (version.folder / SIGNATURE_FILE).unlink()
        assert times(client) == 1
        client.post("/v2/repository/models/m/unload").raise_for_status()
        assert "m/1 has no signature" in load(client, "m").text


def test_versions_of_an_expired_certificate_do_not_serve(
    root: Path, tmp_path: Path, publish: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so at the start."""
    authority, path = make_root(), tmp_path / "root.pem"
    path.write_bytes(authority.certificate_pem)
    signs = usage("digital_signature")
    publish(signer=authority.issue("good", signs))
    publish(signer=authority.issue("old", signs, since=NOW - 9 * DAY, until=NOW - DAY))
    with Serving(settings_for(root, signed_by=path), FAST) as server, server.client() as client:
        assert times(client) == 1
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert [text for text in told if "m version 2 is unavailable: m/2/model.sig: its certificate (CN=old) has" in text]


@pytest.mark.parametrize(
    ("content", "why"), [(None, "it cannot be read: No such file or directory"), (b"no key", "there are none in it")]
)
def test_keys_that_cannot_be_read_stop_the_start(tmp_path: Path, content: bytes | None, why: str) -> None:
    """A server that knew no key would serve nothing; the error names the setting, the file and what was expected."""
    path = tmp_path / "public.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        open_store(settings_for(tmp_path, signed_by=path))
    assert str(caught.value) == f"SLUICE_SIGNED_BY={path}: expected a PEM file of public keys or certificates, {why}"
