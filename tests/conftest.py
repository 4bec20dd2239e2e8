"""Nothing is tested that was compiled of another source, and no property fails because the machine is busy."""

import logging
import sys

import pytest
from hypothesis import HealthCheck, settings

from service.compiled import find_stale

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure() -> None:
    stale = sorted(str(path) for path in find_stale())
    if stale:
        pytest.exit(
            f"changed since they were compiled: {', '.join(stale)}: `make plain` tests the sources, `make compiled` "
            "compiles them again",
            returncode=4,
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests that set no timeout get 15 minutes, because the machine may be busy."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


def pytest_runtest_setup() -> None:
    """An earlier test in this process may have made Sluice's loggers quieter."""
    logging.getLogger("sluice").setLevel(logging.NOTSET)
    diagnostics = sys.modules.get("service.api.admin.diagnostics")
    if diagnostics is not None:
        diagnostics._closed.clear()
