from pathlib import Path

import pytest

from tests.examples.packages import install


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of scikit-image."""
    return install(tmp_path_factory.mktemp("photographs"), "scikit-image==0.26.0") / "skimage" / "data"
