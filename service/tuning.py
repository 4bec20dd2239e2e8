"""Tuning of the whole process: switches between threads, the garbage collector, and priorities of threads."""

import gc
import os
import sys
import threading

_SWITCH_S = 100e-6
_LANE_NICE = 5


def switch_threads_often() -> None:
    """A lane needs the interpreter to report its batch. By default it may wait 5 ms, and its core is idle meanwhile."""
    sys.setswitchinterval(_SWITCH_S)


def relax_garbage_collection() -> None:
    """Let the collector ignore what is loaded now, which stays, and run less often: requests leave no cycles.

    With Python's thresholds it took a quarter of the time of a small model at 64 clients.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def lower_priority_of_this_thread() -> None:
    """Where the event loop shares a core with a lane it goes first: a request that is read late is answered late."""
    if sys.platform == "linux":  # elsewhere this would change the priority of the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _LANE_NICE)
