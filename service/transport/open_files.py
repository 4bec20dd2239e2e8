"""Raises the limit of open files as far as the connections need. Without a free file none can even be refused."""

import logging
import resource

from service.settings import PREFIX, SettingsError

logger = logging.getLogger("sluice.http")

SPARE_FILES = 384
"""For refused connections, models, pipes of threads, other workers and logs."""


def fit_connections(wanted: int) -> int:
    """Raise this process's limit of open files for ``wanted`` connections, and return how many it may have.

    Raises SettingsError if the system allows none.
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
