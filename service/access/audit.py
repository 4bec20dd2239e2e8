"""The audit log `sluice.audit`: JSON lines about keys and changes to the server. It never contains a secret.

What callers have sent is written as ASCII JSON, so nobody can forge a line.
"""

import json
import logging
from typing import Any, Final

from service.access.limits import Bucket

AUDIT: Final = "sluice.audit"
logger = logging.getLogger(AUDIT)
logger.setLevel(logging.INFO)  # independent of the level of other logs

_REFUSALS_PER_S: Final = 10.0
_MOST_CHARACTERS: Final = 200


class Audit:
    """Writes at most ten refusals a second and counts the others, so that guessed keys do not fill the disk."""

    def __init__(self) -> None:
        self._room = Bucket("requests", _REFUSALS_PER_S)
        self._suppressed = 0

    def refuse(self, reason: str, caller: str, peer: str, now: float) -> None:
        """A request was refused. ``caller`` is the name of its key, or "" if the key is not known."""
        if self._room.wait_s(1.0, now) > 0:
            self._suppressed += 1
            return
        self._room.take(1.0, now)
        suppressed, self._suppressed = self._suppressed, 0
        about = {"suppressed": suppressed} if suppressed else {}
        write("refused", reason=reason, caller=caller, peer=peer, **about)


def write(event: str, **about: Any) -> None:
    """Write one line. Long texts are cut; other values must be JSON values."""
    shown = {name: value[:_MOST_CHARACTERS] if isinstance(value, str) else value for name, value in about.items()}
    logger.info(json.dumps({"event": event, **shown}))
