"""What is known of an answer besides its content."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")


@dataclass(frozen=True)
class Meta:
    """``request_id`` finds the request in the log of the server. ``seconds`` passed in all, over ``tries`` tries.

    ``timing_ms``: milliseconds that the server took, by what it did, as it tells them in ``Server-Timing``.
    ``batch_rows``: how many rows shared the batch, if it tells.
    """

    request_id: str = ""
    seconds: float = 0.0
    tries: int = 1
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    batch_rows: int | None = None


def read_timing(text: str) -> tuple[dict[str, float], int | None]:
    """Name -> milliseconds of a ``Server-Timing`` header, and its rows.

    Such as ``queue;dur=0.3, compute;dur=1.2, rows;desc="8"``. What cannot be read is left out.
    """
    times: dict[str, float] = {}
    rows = None
    for part in text.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "dur" and _NUMBER.fullmatch(value):
                times[name] = float(value)
            elif key == "desc" and name == "rows" and value.strip('"').isdecimal():
                rows = int(value.strip('"'))
    return times, rows
