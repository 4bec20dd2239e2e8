"""`sluice serve` whose file of keys is replaced while it runs: real processes."""

import signal
from pathlib import Path

import pytest

from model_store import Manifest, ModelVersion, Store
from model_store.graph import Graph, Tensor
from tests.service.models.asking import X as ROW
from tests.support.models.graphs import double
from tests.support.processes import Served
from tests.support.signing.keys import Key

X = Tensor(name="x", datatype="FP32", shape=("batch", 3), batch_axis=0)
GRAPH = Graph(file="main.onnx", inputs=(X,), outputs=(X.model_copy(update={"name": "y"}),))


def publish(root: Path, signer: Key) -> ModelVersion:
    manifest = Manifest(name="double", task="tensors", graphs={"main": GRAPH})
    version = Store(root).publish(manifest, {"main.onnx": double()})
    signer.sign_version(version)
    return version


@pytest.mark.slow
@pytest.mark.usefixtures("sighup")
def test_new_keys_count_from_the_next_sighup_on(tmp_path: Path) -> None:
    """Until then the keys of the start count. A file that cannot be read changes nothing."""
    old, new, path = Key(), Key(), tmp_path / "public.pem"
    path.write_bytes(old.public_pem)
    publish(tmp_path / "store", old)
    arguments = ("--store", str(tmp_path / "store"), "--signed-by", str(path), "--control")
    with Served(*arguments, workers=1) as server:

        def who_serves() -> str:
            body = {"inputs": [ROW]}
            return str(server.post("/v2/models/double/infer", body).raise_for_status().json()["model_version"])

        publish(tmp_path / "store", new)
        path.write_bytes(old.public_pem + new.public_pem)
        refused = server.post("/v2/repository/models/double/load", {})
        assert "none of the keys that count here made it" in refused.text
        assert who_serves() == "1"
        path.write_bytes(b"")
        server.process.send_signal(signal.SIGHUP)
        server.read_until(f"SIGHUP: nothing changes: SLUICE_SIGNED_BY={path}: expected a PEM file", 1)
        assert who_serves() == "1"
        path.write_bytes(old.public_pem + new.public_pem)
        server.process.send_signal(signal.SIGHUP)
        server.read_until("SIGHUP: all workers have been replaced", 1)
        assert who_serves() == "2"


@pytest.mark.slow
@pytest.mark.usefixtures("sighup")
def test_worker_with_keys_that_nothing_is_signed_by_replaces_none(tmp_path: Path) -> None:
    """A worker that would serve less does not take over, and the log says why. To withdraw a key takes a restart."""
    old, path = Key(), tmp_path / "public.pem"
    path.write_bytes(old.public_pem)
    publish(tmp_path / "store", old)
    with Served("--store", str(tmp_path / "store"), "--signed-by", str(path), workers=1) as server:
        path.write_bytes(Key().public_pem)
        server.process.send_signal(signal.SIGHUP)
        server.read_until("from worker 1 on the old ones stay: in the new one these models do not serve", 1)
        assert any("double version 1 is unavailable: double/1/model.sig: none of the keys" in x for x in server.log)
