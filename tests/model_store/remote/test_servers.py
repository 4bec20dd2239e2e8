"""Real servers: S3 by moto, a registry by docker-registry, and a web server, each in a process or thread of its own."""

import functools
import hashlib
import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import Store
from model_store.errors import RemoteAway
from model_store.remote.address import read_address
from model_store.remote.mirror import Mirror
from model_store.remote.state import read_status
from model_store.remote.stores.opening import open_remote
from model_store.remote.transfers.blobs import PART_BYTES
from tests.model_store.remote.conftest import list_versions
from tests.support.commands.models import run_models
from tests.support.models.manifests import describe
from tests.support.remotes.servers import Bucket, Registry

pytestmark = pytest.mark.slow
LARGE = os.urandom(PART_BYTES * 2 + 1)


@pytest.fixture(params=["bucket", "registry"])
def remote(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with Bucket.running(monkeypatch) if request.param == "bucket" else Registry(tmp_path / "registry") as server:
        yield server


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with Bucket.running(monkeypatch) as server:
        yield server


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry") as server:
        yield server


def run(*arguments: str, store: Store) -> int:
    return run_models(*arguments, "--store", store.root)


def open_mirror(address: str, copy: Store) -> Mirror:
    return Mirror(read_address(address), copy.root, copy.root.parent)


def test_what_is_pushed_is_pulled_and_mirrored(remote: Any, source: Store, copy: Store, tmp_path: Path) -> None:
    """All files, bit by bit, large ones in parts; aliases; and what lies beside versions."""
    source.publish(describe(), {"main.onnx": LARGE})
    source.set_alias("m", "stable", 2)
    (source.root / "m/labels.txt").write_text("a\nb\n")
    assert run("push", remote.address, store=source) == 0
    pulled = Store(tmp_path / "pulled")
    assert run("pull", remote.address, store=pulled) == 0
    open_mirror(remote.address, copy).refresh()
    for store in (pulled, copy):
        for version in store.versions("m"):
            assert version.verify() == source.find("m", version.version).read_manifest()
        assert (list_versions(store), store.aliases("m")) == ([1, 2, 3], {"stable": 2})
        assert (store.root / "m/labels.txt").read_text() == "a\nb\n"
    assert [path.name for path in pulled.root.iterdir()] == ["m"], "nothing else is left in the folder"


def test_pushing_again_sends_what_is_new(
    remote: Any, source: Store, copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rollback is one alias; a version that is there is not sent; what is removed here stays there."""
    source.set_alias("m", "stable", 2)
    source.set_alias("m", "old", 1)
    run("push", remote.address, store=source)
    capsys.readouterr()
    source.set_alias("m", "stable", 1)
    assert run("push", remote.address, "m", store=source) == 0
    assert capsys.readouterr().out.splitlines() == [
        "m 1: there already",
        "m 2: there already",
        "m: now as here: aliases.json, history.json",
    ]
    assert run("push", remote.address, "m", "--json", store=source) == 0
    assert [row["done"] for row in json.loads(capsys.readouterr().out)] == ["there already"] * 2
    open_mirror(remote.address, copy).refresh()
    assert copy.aliases("m") == {"stable": 1, "old": 1}


def test_signature_that_is_added_is_sent(remote: Any, source: Store, copy: Store, tmp_path: Path) -> None:
    """A version with more files than before is the same version, and its aliases still mean it."""
    source.set_alias("m", "stable", 2)
    run("push", remote.address, store=source)
    mirror = open_mirror(remote.address, copy)
    mirror.refresh()
    (source.root / "m/2/model.sig").write_bytes(b"signed")
    opened = open_remote(read_address(remote.address))
    files = {path.name: path for path in (source.root / "m/2").iterdir()}
    opened.publish("m", 2, files, files.keys() - {"model.sig"})
    assert mirror.refresh() == {"m"}
    assert (copy.root / "m/2/model.sig").read_bytes() == b"signed"
    assert copy.aliases("m") == {"stable": 2}


def test_new_signature_of_a_version_is_sent(
    remote: Any, source: Store, copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes the place of the old one there, and in the mirror; the rest of the version is not sent again."""
    signature = source.root / "m/2/model.sig"
    signature.write_bytes(b"signed by the old key")
    run("push", remote.address, store=source)
    mirror = open_mirror(remote.address, copy)
    mirror.refresh()
    signature.write_bytes(b"signed anew by the new key")
    capsys.readouterr()
    assert run("push", remote.address, "m", "--json", store=source) == 0
    assert [row["done"] for row in json.loads(capsys.readouterr().out)] == ["there already", "sent"]
    assert mirror.refresh() == {"m"}
    assert (copy.root / "m/2/model.sig").read_bytes() == b"signed anew by the new key"


def test_number_that_has_another_version_is_refused(
    remote: Any, source: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both ways: a version never changes."""
    other = Store(tmp_path / "other")
    other.publish(describe(), {"main.onnx": b"not the same"})
    assert run("push", remote.address, store=source) == 0
    assert run("push", remote.address, store=other) == 1
    assert "m 1: m/1 is another version there than here" in capsys.readouterr().out
    assert run("pull", remote.address, "m", store=other) == 1
    assert "m 1: m/1 is another version there than here" in capsys.readouterr().out
    assert (other.root / "m/1/main.onnx").read_bytes() == b"not the same"


def test_damaged_version_is_not_sent(remote: Any, source: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (source.root / "m/1/main.onnx").write_bytes(b"onf")
    assert run("push", remote.address, store=source) == 1
    assert "m 1: main.onnx is not the file that was published" in capsys.readouterr().out


def test_pull_mends_what_is_damaged_here(remote: Any, source: Store, tmp_path: Path) -> None:
    run("push", remote.address, store=source)
    pulled = Store(tmp_path / "pulled")
    run("pull", remote.address, "m", "--version", "2", store=pulled)
    assert list_versions(pulled) == [2]
    path = pulled.root / "m/2/main.onnx"
    path.chmod(0o644)
    path.write_bytes(b"owt")
    assert run("pull", remote.address, "m", "--version", "2", store=pulled) == 0
    pulled.find("m", 2).verify()


def test_one_version_comes_by_its_alias(
    remote: Any, source: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.set_alias("m", "stable", 1)
    run("push", remote.address, store=source)
    pulled = Store(tmp_path / "pulled")
    assert run("pull", remote.address, "m", "--version", "stable", store=pulled) == 0
    assert (list_versions(pulled), pulled.aliases("m")) == ([1], {})
    assert run("pull", remote.address, "m", "--version", "none", store=pulled) == 1
    assert run("pull", remote.address, "none", store=pulled) == 1
    assert "no version 'none' of 'm' there: there are 1, 2" in capsys.readouterr().err


def test_server_that_disappears_and_comes_back(remote: Any, source: Store, copy: Store) -> None:
    """The copy stays as it is, and goes on when the server is back."""
    run("push", remote.address, store=source)
    mirror = open_mirror(remote.address, copy)
    mirror.refresh()
    remote.stop()
    with pytest.raises(RemoteAway):
        mirror.refresh()
    assert read_status(copy.root.parent).away
    for version in copy.versions("m"):
        version.verify()
    source.publish(describe(), {"main.onnx": b"three"})
    remote.start()
    assert run("push", remote.address, store=source) == 0
    assert mirror.refresh() == {"m"}
    assert list_versions(copy) == [1, 2, 3]
    assert not read_status(copy.root.parent).away


def test_bucket_that_is_removed_and_made_again(bucket: Bucket, source: Store, copy: Store) -> None:
    """Neither its absence nor its being empty removes anything."""
    run("push", bucket.address, store=source)
    mirror = open_mirror(bucket.address, copy)
    mirror.refresh()
    bucket.files().delete_dir("models")
    with pytest.raises(RemoteAway, match="NO_SUCH_BUCKET"):
        mirror.refresh()
    bucket.files().create_dir("models")
    with pytest.raises(RemoteAway):
        mirror.refresh()
    assert list_versions(copy) == [1, 2]
    run("push", bucket.address, store=source)
    assert mirror.refresh() == frozenset()
    assert not read_status(copy.root.parent).away


def test_flipped_bit_in_each_file_of_a_bucket(bucket: Bucket, source: Store, copy: Store) -> None:
    """The version does not come, the others do."""
    run("push", bucket.address, store=source)
    for file in ("main.onnx", "manifest.json"):
        content = bytearray((source.root / "m/2" / file).read_bytes())
        content[content.index(b'"sha256"') + 12 if file == "manifest.json" else 0] ^= 1
        bucket.write(f"m/2/{file}", bytes(content))
        open_mirror(bucket.address, copy).refresh()
        assert list_versions(copy) == [1]
        shutil.rmtree(copy.root.parent)
        bucket.write(f"m/2/{file}", (source.root / "m/2" / file).read_bytes())


def test_flipped_bit_in_each_file_of_a_registry(registry: Registry, source: Store, copy: Store, tmp_path: Path) -> None:
    """Every layer has its digest, the manifest of the version too."""
    run("push", registry.address, store=source)
    for file in ("main.onnx", "manifest.json"):
        content = (source.root / "m/2" / file).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        blob = tmp_path / f"registry/data/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
        blob.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        open_mirror(registry.address, copy).refresh()
        assert list_versions(copy) == [1]
        shutil.rmtree(copy.root.parent)
        blob.write_bytes(content)


def test_registry_has_the_layout_of_modelpack(registry: Registry, source: Store) -> None:
    """Other tools see a model with its files as layers, under the number and the alias of the version."""
    source.set_alias("m", "stable", 2)
    run("push", registry.address, store=source)
    url = f"{registry.url}/v2/team/m/manifests"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    found = httpx.get(f"{url}/stable", headers=accept).json()
    assert found == httpx.get(f"{url}/2", headers=accept).json()
    assert found["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    layers = {layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"] for layer in found["layers"]}
    assert layers == {
        "main.onnx": "application/vnd.cncf.model.weight.v1.raw",
        "manifest.json": "application/vnd.cncf.model.weight.config.v1.raw",
    }
    config = httpx.get(f"{registry.url}/v2/team/m/blobs/{found['config']['digest']}").json()
    assert config["descriptor"] == {"name": "m", "version": "2"}
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in found["layers"]]


def test_name_that_no_registry_takes_is_told(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    store.publish(describe(name="Digits"), {"main.onnx": b"one"})
    assert run("push", registry.address, store=store) == 1
    assert "Digits: registries take names of lower-case letters" in capsys.readouterr().err


def test_web_server_is_mirrored(source: Store, copy: Store) -> None:
    """It lists folders as pages of links, and is read only."""
    source.set_alias("m", "stable", 1)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(source.root))
    handler.func.log_message = lambda *_: None  # type: ignore[method-assign]  # no lines in the output
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        mirror = open_mirror(address, copy)
        assert mirror.refresh() == {"m"}
        assert (list_versions(copy), copy.aliases("m")) == ([1, 2], {"stable": 1})
        source.set_alias("m", "stable", 2)
        source.publish(describe(), {"main.onnx": b"three"})
        assert mirror.refresh() == {"m"}
        assert (list_versions(copy), copy.aliases("m")) == ([1, 2, 3], {"stable": 2})
        assert run("push", address, store=source) == 1
        server.shutdown()
    with pytest.raises(RemoteAway):
        mirror.refresh()
    assert list_versions(copy) == [1, 2, 3]
