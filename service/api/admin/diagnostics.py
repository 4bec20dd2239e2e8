"""Trace and log settings in the form that the protocol has."""

import logging
from collections.abc import Mapping
from typing import Any

from service.access.audit import AUDIT

LOGS = "sluice"
TRACES = "sluice.trace"
_APART = (TRACES, AUDIT)
"""Loggers that do not change: traces have their own settings, and nobody can turn off the audit log."""
_closed: set[int] = set()
"""Levels that are switched off in this process."""
_LEVELS = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}


def render_trace(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings; numbers are strings in this part of the protocol."""
    return {
        "trace_level": [settings["level"]],
        "trace_rate": str(settings["rate"]),
        "trace_count": str(settings["count"]),
        "log_frequency": str(settings["log_frequency"]),
        "trace_file": "",
        "trace_mode": "triton",
    }


class Logs:
    """Which messages Sluice's loggers let through: each level has its own switch, as do debug messages."""

    def __init__(self) -> None:
        self._level = logging.getLogger(LOGS).getEffectiveLevel()
        self._verbose = 1 if self._level <= logging.DEBUG else 0

    def render(self) -> dict[str, Any]:
        shown = {name: level >= self._level and level not in _closed for name, level in _LEVELS.items()}
        return {"log_file": "", **shown, "log_verbose_level": self._verbose, "log_format": "default"}

    def change(self, settings: Mapping[str, Any]) -> None:
        """Change some settings. Their names are those of the protocol."""
        now = {**self.render(), **settings}
        self._verbose = now["log_verbose_level"]
        _closed.clear()
        _closed.update(level for name, level in _LEVELS.items() if not now[name])
        shown = [level for name, level in _LEVELS.items() if now[name]]
        self._level = logging.DEBUG if self._verbose else min(shown, default=logging.CRITICAL)
        logging.getLogger(LOGS).setLevel(self._level)
        for name, logger in list(logging.root.manager.loggerDict.items()):
            is_ours = name == LOGS or name.startswith(LOGS + ".")
            if is_ours and name not in _APART and isinstance(logger, logging.Logger):
                logger.addFilter(_is_shown)


def _is_shown(record: logging.LogRecord) -> bool:
    """A filter of single levels, which a logger's own level cannot be: it lets through all levels above it."""
    return record.levelno not in _closed
