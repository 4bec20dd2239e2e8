"""Raises the limit of open files to what the connections need. Without a file a connection cannot even be refused."""

import logging
import resource

from service.settings import PREFIX, SettingsError

logger = logging.getLogger("sluice.http")

SPARE_FILES = 384
"""For connections that are refused, models, pipes of threads, other workers and logs."""


def fit_connections(wanted: int) -> int:
    """How many connections this process may have, at most ``wanted``. Raises its limit of open files for them.

    Raises SettingsError where the system has room for none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):  # macOS reports a higher hard limit than it enforces
        raised = soft
    fitting = raised - SPARE_FILES
    said = f"{PREFIX}MAX_CONNECTIONS={wanted}: expected {needed} open files, this process may have {raised} (ulimit -n)"
    if fitting < 1:
        raise SettingsError(said)
    if fitting < wanted:
        logger.warning("%s: it takes %d connections", said, fitting)
    return min(wanted, fitting)
