"""A worker with something stuck in it is replaced."""

import os
import signal
from pathlib import Path

import pytest

from service import worker as module
from tests.support.models import graphs
from tests.support.servers import ASGI, Serving, settings_for


def test_worker_that_is_replaced_ends_as_told_but_has_less_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends itself the signal that its supervisor would send, and drains for no longer than a moment."""
    graphs.write_plain(tmp_path, "double", graphs.double())
    sent: list[tuple[int, int]] = []
    with Serving(settings_for(tmp_path, drain_s=60.0), ASGI) as server:
        assert server.worker is not None
        assert server.worker.drain_s == 60.0
        with monkeypatch.context() as patch:
            patch.setattr(os, "kill", lambda *call: sent.append(call))
            server.worker.replace("a lane is stuck")
        assert sent == [(os.getpid(), signal.SIGTERM)]
        assert server.worker.drain_s == module.REPLACE_DRAIN_S
