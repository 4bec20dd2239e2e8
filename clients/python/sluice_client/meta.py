"""What is known of an answer besides its content."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Meta:
    """``request_id`` finds the request in the log of the server. ``seconds`` passed in all, over ``tries`` tries.

    ``timing_ms``: milliseconds that the server took, by what it did, as it tells them in ``Server-Timing``.
    """

    request_id: str = ""
    seconds: float = 0.0
    tries: int = 1
    timing_ms: Mapping[str, float] = field(default_factory=dict)


def read_timing(text: str) -> dict[str, float]:
    """Name -> milliseconds of a ``Server-Timing`` header, such as ``queue;dur=0.3, compute;dur=1.2``."""
    found = {}
    for part in text.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "dur":
                try:
                    found[name] = float(value)
                except ValueError:
                    continue
    return found
