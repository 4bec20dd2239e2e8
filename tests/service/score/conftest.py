from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="`sluice score` needs the extra `score`")


@pytest.fixture(scope="package")
def double_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the model ``double`` of rows of three numbers."""
    from tests.service.score.tables import write_double

    return write_double(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches: each size is run at load."""
    monkeypatch.setenv("SLUICE_MAX_ROWS", "8")
