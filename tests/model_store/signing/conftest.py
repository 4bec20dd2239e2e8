from pathlib import Path

import pytest

from model_store import ModelVersion, Store
from model_store.signing.keys import parse_signers
from tests.support.models.manifests import describe
from tests.support.signing.keys import Key


@pytest.fixture(scope="session")
def key() -> Key:
    return Key()


@pytest.fixture
def version(tmp_path: Path, key: Key) -> ModelVersion:
    """Version 2 of ``m``, signed by the key, in a store that reads only what this key has signed."""
    store = Store(tmp_path / "models", signers=parse_signers(key.public_pem))
    for content in (b"one", b"two"):
        version = store.publish(describe(), {"main.onnx": content})
        key.sign_version(version)
    return version
