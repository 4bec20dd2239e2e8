from pathlib import Path

import pytest

from model_store import Store
from tests.support.models.manifests import publish_each


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def filled(store: Store) -> Store:
    """Versions 1 and 2 of the model ``m``."""
    return publish_each(store.root, b"one", b"two")
