"""A server with tiny models that the reference models lack: of texts, lines of text and sounds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import FAST, Serving, settings_for
from tests.support.writers.store import write_sequence_models


@pytest.fixture(scope="session")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server."""
    root: Path = write_sequence_models(tmp_path_factory.mktemp("writers"))
    with Serving(settings_for(root, max_rows=64), FAST) as serving:
        yield serving.url
