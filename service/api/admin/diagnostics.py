"""Trace and logging settings as the protocol has them: what clients send, checked, and what holds, rendered."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from service.errors import InvalidInput, NotOffered
from service.metrics.tracing import TraceSettings
from service.protocol.json import type_name

LOGS = "sluice"
TRACES = "sluice.trace"
_LEVELS = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}
_LOG_SETTINGS = ("log_file", *_LEVELS, "log_verbose_level", "log_format")
_NUMBERS = {"trace_rate": ("rate", 1), "trace_count": ("count", -1), "log_frequency": ("log_frequency", 0)}
_LARGEST = 2**31 - 1


def read_trace(settings: Mapping[str, Any]) -> dict[str, str | int | None]:
    """The changes that a request asks for. Raises InvalidInput; NotOffered for what this server does not do."""
    changes: dict[str, str | int | None] = {}
    for name, value in settings.items():
        if name == "trace_level":
            changes["level"] = None if value is None else _read_level(value)
        elif name in _NUMBERS:
            field, least = _NUMBERS[name]
            changes[field] = None if value is None else _read_number(name, value, least)
        elif name not in ("trace_file", "trace_mode"):
            known = ", ".join(("trace_level", *_NUMBERS))
            raise InvalidInput(f"unknown trace setting {name!r:.60}: there are {known}")
        elif not isinstance(value, str | None):
            raise InvalidInput(f"{name}: expected a string, got {type_name(value)}")
        elif value not in (None, "" if name == "trace_file" else "triton"):
            raise NotOffered(f"{name}: traces go to the log as JSON lines; there is no other way")
    return changes


def _read_level(value: object) -> str:
    levels = [value] if isinstance(value, str) else value
    if not isinstance(levels, list) or len(levels) != 1:
        raise InvalidInput(f'trace_level: expected ["OFF"] or ["TIMESTAMPS"], got {value!r:.60}')
    if levels == ["TENSORS"]:
        raise NotOffered("trace_level: tensors are not traced, they may hold what must not be in a log")
    if levels not in (["OFF"], ["TIMESTAMPS"]):
        raise InvalidInput(f'trace_level: expected ["OFF"] or ["TIMESTAMPS"], got {value!r:.60}')
    return str(levels[0])


def _read_number(name: str, value: object, least: int) -> int:
    digits = value.removeprefix("-") if isinstance(value, str) else ""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and least <= int(str(value)) <= _LARGEST):
        raise InvalidInput(f'{name}: expected a number from {least} in a string, such as "5", got {value!r:.60}')
    return int(str(value))


def render_trace(settings: TraceSettings) -> dict[str, Any]:
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
    """What the loggers of this product let through: each level by itself, and debug messages when asked for."""

    def __init__(self) -> None:
        self._level = logging.getLogger(LOGS).getEffectiveLevel()
        self._gate = _GATE
        self._verbose = 1 if self._level <= logging.DEBUG else 0

    def render(self) -> dict[str, Any]:
        lets = {name: level >= self._level and level not in self._gate.closed for name, level in _LEVELS.items()}
        return {"log_file": "", **lets, "log_verbose_level": self._verbose, "log_format": "default"}

    @staticmethod
    def check(settings: Mapping[str, Any]) -> None:
        """Raises InvalidInput; NotOffered for what this server does not do."""
        for name, value in settings.items():
            if name not in _LOG_SETTINGS:
                raise InvalidInput(f"unknown log setting {name!r:.60}: there are {', '.join(_LOG_SETTINGS[1:])}")
            if value is None:  # as if it were absent
                continue
            if name in _LEVELS:
                if not isinstance(value, bool):
                    raise InvalidInput(f"{name}: expected true or false, got {type_name(value)}")
            elif name == "log_verbose_level":
                if type(value) is not int or not 0 <= value <= _LARGEST:
                    raise InvalidInput(f"log_verbose_level: expected a number from 0, got {value!r:.60}")
            elif name == "log_format":
                if value not in ("default", "ISO8601"):
                    raise InvalidInput(f"log_format: expected default or ISO8601, got {value!r:.60}")
                if value != "default":
                    raise NotOffered("log_format: the format of the log is chosen where the server is started")
            elif not isinstance(value, str):
                raise InvalidInput(f"log_file: expected a string, got {type_name(value)}")
            elif value:
                raise NotOffered("log_file: the log goes to the standard error of the server, and nowhere else")

    def change(self, settings: Mapping[str, Any]) -> None:
        """Let through what checked settings ask for."""
        now = {**self.render(), **{name: value for name, value in settings.items() if value is not None}}
        self._verbose = now["log_verbose_level"]
        self._gate.closed = {level for name, level in _LEVELS.items() if not now[name]}
        still = [level for name, level in _LEVELS.items() if now[name]]
        self._level = logging.DEBUG if self._verbose else min(still, default=logging.CRITICAL)
        logging.getLogger(LOGS).setLevel(self._level)
        for logger in _loggers():
            if self._gate not in logger.filters:
                logger.addFilter(self._gate)


class _Gate(logging.Filter):
    """Keeps single levels out, which a logger's own level cannot: it lets through all from some level on."""

    closed: set[int] = set()  # noqa: RUF012  # replaced, never changed

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno not in self.closed


def _loggers() -> Iterator[logging.Logger]:
    """Ours, but not that of traces, which are asked for in a way of their own."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        ours = name == LOGS or name.startswith(LOGS + ".")
        if ours and name != TRACES and isinstance(logger, logging.Logger):
            yield logger


_GATE = _Gate()
"""One for the process, as its loggers are."""
