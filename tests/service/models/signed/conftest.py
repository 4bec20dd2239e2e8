from collections.abc import Callable
from pathlib import Path

import pytest

from model_store import Manifest, ModelVersion, Store
from model_store.graph import Graph, Tensor
from tests.support.models.graphs import make_model
from tests.support.signing.keys import Key

X = Tensor(name="x", datatype="FP32", shape=("batch", 3), batch_axis=0)
GRAPH = Graph(file="main.onnx", inputs=(X,), outputs=(X.model_copy(update={"name": "y"}),))


@pytest.fixture(scope="session")
def key() -> Key:
    return Key()


@pytest.fixture
def key_file(tmp_path: Path, key: Key) -> Path:
    path = tmp_path / "public.pem"
    path.write_bytes(key.public_pem)
    return path


@pytest.fixture
def publish(tmp_path: Path) -> Callable[..., ModelVersion]:
    """Publish the next version of a model, which multiplies by its number."""
    store = Store(tmp_path / "store")

    def publish(name: str = "m", signer: Key | None = None) -> ModelVersion:
        contents = store.list_model(name).folders
        content = make_model("float[batch,3] x => float[batch,3] y", f"y = Mul(x, {len(contents) + 1}.0)")
        version = store.publish(Manifest(name=name, task="tensors", graphs={"main": GRAPH}), {"main.onnx": content})
        if signer is not None:
            signer.sign_version(version)
        return version

    return publish
