"""How new workers replace the old ones after SIGHUP. There is no process, signal or clock here.

Rules
- Workers are replaced one by one. The new worker starts beside the old one, which leaves when the new one has loaded.
- The replacement fails if the new worker ends, or if a model does not serve there that serves in the old one. Then the
  new worker is stopped. The old one stays, and so do all that would have been replaced after it.
- If the old worker ends first, the new one takes its place, even if models do not serve there.
- New settings are in force once a worker has loaded with them.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.process.restarts import Restarts, WorkerState
from service.settings import PREFIX, Settings

FIXED = ("host", "port", "grpc_port", "workers", "metrics_dir")
"""Settings that need a restart, because the socket is open already and the workers share one folder."""

W = TypeVar("W", bound=WorkerState)


@dataclass(eq=False)
class Place(Generic[W]):
    """The place of a worker, numbered from 1. ``successor`` loads beside ``worker``, to replace it."""

    number: int
    restarts: Restarts = field(default_factory=Restarts)
    worker: W | None = None
    successor: W | None = None

    def take_successor(self) -> W | None:
        """The worker has ended: the successor, if there is one, takes the place. Returns it."""
        self.worker, self.successor = self.successor, None
        return self.worker


def find_fault(old: WorkerState | None, new: WorkerState) -> str:
    """Why the new worker cannot replace the old one; "" if it can. ``old`` None: it has ended."""
    if new.lacking is None:
        return "the new one ended before its models were loaded"
    if old is None or old.lacking is None:
        return ""
    lost = sorted(new.lacking - old.lacking)
    return f"in the new one these models do not serve, its log tells why: {', '.join(lost)}" if lost else ""


def keep_fixed(settings: Settings, before: Settings, wanted: Settings) -> tuple[Settings, list[str]]:
    """The settings to go on with, and the variables whose change has no effect until a restart.

    ``before`` was given at the start, and ``wanted`` is given now. ``settings`` are those that the server made of
    ``before``: it fills in what was left open.
    """
    refused = [PREFIX + name.upper() for name in FIXED if getattr(before, name) != getattr(wanted, name)]
    kept = list(FIXED)
    if not wanted.state_key.get_secret_value():
        kept.append("state_key")  # so that states that callers hold stay valid
    return wanted.replace(**{name: getattr(settings, name) for name in kept}), refused
