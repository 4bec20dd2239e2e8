"""The log of the server as lines of JSON."""

import json
import logging
import sys
from typing import Any

from service.process.logs import JsonFormatter


def render(message: str, *arguments: object, with_fault: bool = False) -> dict[str, Any]:
    fault = None
    if with_fault:
        try:
            raise ValueError("of the model\nwith two lines")
        except ValueError:
            fault = sys.exc_info()
    record = logging.LogRecord("sluice.http", logging.ERROR, "", 0, message, arguments, fault)
    line = JsonFormatter("worker 1").format(record)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_message_is_one_line_of_json():
    """A line has the time, level, process, logger and message; a line feed in the message does not end it."""
    line = render("request %s: %s", "x\n", "\ud800")
    assert {name: line[name] for name in ("level", "process", "logger", "message")} == {
        "level": "error",
        "process": "worker 1",
        "logger": "sluice.http",
        "message": "request x\n: \\ud800",
    }
    assert line["time"].endswith("Z")


def test_traceback_is_in_the_line():
    """A traceback is part of its message's line."""
    line = render("it failed", with_fault=True)
    assert line["exception"].startswith("Traceback")
    assert "with two lines" in line["exception"]
