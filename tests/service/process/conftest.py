import signal
from collections.abc import Iterator

import pytest


@pytest.fixture
def sighup() -> Iterator[None]:
    """SIGHUP has its default action for processes that a test starts, even if `nohup` runs the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
