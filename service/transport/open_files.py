"""Each connection is an open file, of which a process may have so many: without one, nobody is even refused."""

import logging
import resource

from service.settings import PREFIX, SettingsError

logger = logging.getLogger("sluice.http")

SPARE_FILES = 384
"""For connections above the limit that are told so, models, threads' pipes, other workers, logs."""


def fit_connections(wanted: int) -> int:
    """How many connections this process may have, at most ``wanted``; its limit of open files is raised for them.

    Raises SettingsError where the system leaves room for none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):  # macOS names a hard limit above the one it keeps
        raised = soft
    fitting = raised - SPARE_FILES
    said = f"{PREFIX}MAX_CONNECTIONS={wanted}: expected {needed} open files, this process may have {raised} (ulimit -n)"
    if fitting < 1:
        raise SettingsError(said)
    if fitting < wanted:
        logger.warning("%s: it takes %d connections", said, fitting)
    return min(wanted, fitting)
