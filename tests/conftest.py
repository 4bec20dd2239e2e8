"""Nothing is tested that was compiled of another source."""

import pytest

from service.compiled import find_stale


def pytest_configure() -> None:
    stale = sorted(str(path) for path in find_stale())
    if stale:
        pytest.exit(
            f"changed since they were compiled: {', '.join(stale)}: `make plain` tests the sources, `make compiled` "
            "compiles them again",
            returncode=4,
        )
