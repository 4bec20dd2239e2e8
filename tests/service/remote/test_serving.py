"""A server whose store is a URL: real processes, and a bucket that disappears and comes back."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from model_store import DEFAULT_ROOT, Store
from model_store.remote.address import read_address
from model_store.remote.push import push
from model_store.remote.stores.opening import open_remote
from model_store.remote.transfers.progress import NoProgress
from tests.support.models import graphs
from tests.support.processes import Served
from tests.support.remotes.servers import Bucket

MODEL = "diabetes-regressor"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with Bucket.running(monkeypatch) as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Store:
    root = tmp_path / "source"
    shutil.copytree(DEFAULT_ROOT / MODEL, root / MODEL)
    return Store(root)


def send(source: Store, bucket: Bucket) -> None:
    push(open_remote(read_address(bucket.address)), source, {MODEL: source.versions(MODEL)}, NoProgress())


def settings(bucket: Bucket, tmp_path: Path) -> dict[str, str]:
    return {"SLUICE_STORE": bucket.address, "SLUICE_CACHE_DIR": str(tmp_path / "cache"), "SLUICE_POLL_S": "0.2"}


def read_cards(server: Served) -> list[dict[str, Any]]:
    """The card of the model as several connections get it, which different workers answer."""
    return [server.get("/models").json()["models"][0] for _ in range(6)]


def wait_until(server: Served, holds: Callable[[dict[str, Any]], bool]) -> None:
    """Ask until all answers are as expected; the time limit of the test ends it."""
    pause = threading.Event()
    while not all(map(holds, read_cards(server))):
        pause.wait(0.1)


def wait_for_a_look(server: Served) -> None:
    """Until the server has looked at all that the bucket has now: until the second look from now has ended."""
    pause, ends = threading.Event(), set[str]()
    while len(ends) < 3:
        ends.add(re.findall(r"^sluice_store_looked_seconds (.+)$", server.get("/metrics").text, re.MULTILINE)[0])
        pause.wait(0.1)


def is_away(card: dict[str, Any]) -> bool:
    return "cannot be followed" in str(card.get("warnings"))


def test_service_follows_a_bucket_and_survives_its_absence(bucket: Bucket, source: Store, tmp_path: Path) -> None:
    """Two workers: a new version and a rollback reach both; the copy serves while the bucket is away, also a new
    server; cards and metrics say so; without bucket and copy a server does not start."""
    send(source, bucket)
    environ = settings(bucket, tmp_path)
    with Served(workers=2, environment=environ) as server:
        assert {card["serving"] for card in read_cards(server)} == {"1"}
        shutil.copytree(source.root / MODEL / "1", source.root / MODEL / "2")
        source.set_alias(MODEL, "stable", 2)
        send(source, bucket)
        wait_until(server, lambda card: card["serving"] == "2")
        source.set_alias(MODEL, "stable", 1)
        send(source, bucket)
        wait_until(server, lambda card: card["aliases"] == {"stable": 1})
        bucket.stop()
        wait_until(server, is_away)
        assert "sluice_store_reachable 0.0" in server.get("/metrics").text
        assert server.get(f"/v2/models/{MODEL}/ready").status_code == 200
        bucket.start()
        send(source, bucket)
        wait_until(server, lambda card: not is_away(card))
        wait_for_a_look(server)
        assert "sluice_store_reachable 1.0" in server.get("/metrics").text
        bucket.stop()
    with Served(workers=1, environment=environ) as server:
        assert [card["aliases"] for card in read_cards(server)] == [{"stable": 1}] * 6
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(AssertionError, match=r"SLUICE_STORE=s3://models/team \(--store\): .*onnect"):
        Served(workers=1, environment=environ)


def test_version_with_a_flipped_bit_in_any_file_never_serves(bucket: Bucket, source: Store, tmp_path: Path) -> None:
    """What serves goes on, and the card says what is wrong; when the file is right, the version serves.

    Version 1 is another graph: contents that are here already are not fetched, whatever the bucket has.
    """
    bucket.write(f"{MODEL}/1/model.onnx", graphs.double())
    right = source.root / MODEL / "1"
    with Served(workers=1, environment=settings(bucket, tmp_path)) as server:
        for number, flipped in enumerate(sorted(right.iterdir()), start=2):
            for path in sorted(right.iterdir(), key=lambda path: path.name == "manifest.json"):
                content = bytearray(path.read_bytes())
                if path == flipped:
                    is_manifest = path.name == "manifest.json"
                    content[content.index(b'"sha256"') + 12 if is_manifest else len(content) // 2] ^= 1
                bucket.write(f"{MODEL}/{number}/{path.name}", bytes(content))
            wait_until(server, partial(tells, f"version {number}: {MODEL}/{number}"))
            assert {card["serving"] for card in read_cards(server)} == {"1"}
            bucket.files().delete_dir(f"models/team/{MODEL}/{number}")
            wait_until(server, lambda card: "warnings" not in card)
        for path in right.iterdir():
            bucket.write(f"{MODEL}/9/{path.name}", path.read_bytes())
        wait_until(server, lambda card: card["serving"] == "9")


def tells(text: str, card: dict[str, Any]) -> bool:
    return text in str(card.get("warnings"))
