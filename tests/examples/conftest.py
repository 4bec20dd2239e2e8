from pathlib import Path

import pytest

from tests.examples.packages import install


@pytest.fixture(scope="module")
def packages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages that the module of the test names in PACKAGES."""
    return install(tmp_path_factory.mktemp("packages"), *request.module.PACKAGES)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs of scikit-image."""
    return install(tmp_path_factory.mktemp("photographs"), "scikit-image==0.26.0") / "skimage" / "data"
