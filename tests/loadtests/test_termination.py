"""What SIGTERM does to a command that has started processes."""

import os
import signal
import threading
from contextlib import ExitStack

import pytest

from loadtests.termination import exit_on_sigterm


def test_sigterm_lets_the_cleaning_up_run() -> None:
    """SIGTERM within the block is an exit with code 143 that runs what must be run at the end."""
    before = signal.getsignal(signal.SIGTERM)
    cleaned: list[bool] = []
    cleaning = ExitStack()
    cleaning.callback(cleaned.append, True)
    with pytest.raises(SystemExit) as ended, exit_on_sigterm(), cleaning:
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_leave_the_signal_alone() -> None:
    """In another thread the block does nothing, instead of failing."""
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def enter() -> None:
        with exit_on_sigterm():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(10)
    assert seen == [before]
