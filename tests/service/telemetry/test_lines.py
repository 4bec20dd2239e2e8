"""Lines of the access log: JSON of one line each, whatever a caller sends."""

import json
import re
from typing import Any

import pytest

from service.telemetry.lines import MOST_CHARACTERS, LineWriter
from service.transport.observer import RequestEnd

NOW = 1_800_000_000.25


def make_end(path: str = "/x", request_id: str = "id", headers: dict[bytes, bytes] | None = None) -> RequestEnd:
    return RequestEnd("GET", "/x", path, 200, 0.0125, request_id, headers or {})


def render(end: RequestEnd, base_path: str = "") -> dict[str, Any]:
    line = LineWriter(base_path).render(end, NOW)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    found: dict[str, Any] = json.loads(line)
    return found


def test_line_has_the_time_of_day_and_numbers():
    """The time is RFC 3339 in UTC; durations are in seconds, whether small or large."""
    end = make_end()
    end.has_run, end.queue_s, end.compute_s, end.bytes_out = True, 0.000001, 12.5, 123_456
    line = render(end)
    assert line["time"] == "2027-01-15T08:00:00.250Z"
    assert (line["seconds"], line["queue_s"], line["compute_s"], line["bytes_out"]) == (0.0125, 0.000001, 12.5, 123_456)


@pytest.mark.parametrize("text", ['\n{"status":200}', "\r\n", '"', "\\", "\x00\x1b[2J", "\u2028", "\ud800", "é"])
def test_nothing_of_a_caller_ends_a_line(text: str):
    """Control characters, quotes and broken texts in a path, a name or an id are escaped: the line stays one."""
    end = make_end(f"/{text}", f"id{text}")
    end.model, end.caller, end.client = f"m{text}", f"c{text}", f"a{text}"
    line = render(end)
    readable = text if text != "\ud800" else "\\ud800"
    assert (line["path"], line["request_id"], line["model"]) == (f"/{readable}", f"id{readable}", f"m{readable}")
    assert (line["caller"], line["client"]) == (f"c{readable}", f"a{readable}")


def test_long_texts_are_cut_and_not_kept():
    """A path that is as long as a header may be is cut in its line, and not kept for later ones."""
    lines = LineWriter()
    end = make_end("/" + "x" * 60_000)
    end.model = "m" * 60_000
    line = json.loads(lines.render(end, NOW))
    assert (len(line["path"]), len(line["model"])) == (MOST_CHARACTERS, MOST_CHARACTERS)
    assert sum(map(len, lines._known.values())) < 100


def test_what_is_kept_is_bounded():
    """Somebody who tries many paths does not fill the memory."""
    lines = LineWriter()
    for number in range(5000):
        lines.render(make_end(f"/{number}"), NOW)
    assert len(lines._known) <= 1024


def test_body_query_and_headers_are_not_in_a_line():
    """Of the headers only the ids are written."""
    headers = {b"authorization": b"Bearer hush", b"cookie": b"hush", b"traceparent": b"hush"}
    line = LineWriter().render(make_end(headers=headers), NOW)
    assert b"hush" not in line
    assert re.search(rb'"trace_id"', line) is None


def test_prefix_of_routes_is_before_a_path_of_the_handler():
    """A path below the prefix is written as the caller sent it."""
    end = make_end("/v2")
    end.is_below_base = True
    assert render(end, "/team")["path"] == "/team/v2"
