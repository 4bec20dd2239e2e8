from pathlib import Path

import pytest

from model_store import Store
from tests.support.models.manifests import describe


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def filled(store: Store) -> Store:
    """Versions 1 and 2 of the model ``m``."""
    for content in (b"one", b"two"):
        store.publish(describe(), {"main.onnx": content})
    return store
