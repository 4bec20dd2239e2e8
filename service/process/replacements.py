"""How new workers take the places of old ones after SIGHUP. No process, signal or clock here.

Rules
- One place after another. A new worker starts beside the old one, which leaves when the new one has loaded.
- A new worker that ends first, or in which a model does not serve that serves in the old one, is stopped. The old one
  stays, and so do those of the places after it.
- If the old worker ends first, the new one has its place as it is.
- New settings count once a worker has loaded with them. Until then the old ones do.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.process.restarts import Restarts, WorkerState
from service.settings import PREFIX, Settings

FIXED = ("host", "port", "grpc_port", "workers", "metrics_dir")
"""Settings that need a restart: the socket is open already, and the workers share one folder."""

W = TypeVar("W", bound=WorkerState)


@dataclass(eq=False)
class Place(Generic[W]):
    """One of the places of the workers, numbered from 1. ``successor`` loads beside ``worker``, to replace it."""

    number: int
    restarts: Restarts = field(default_factory=Restarts)
    worker: W | None = None
    successor: W | None = None

    def take_successor(self) -> W | None:
        """The worker has ended: the successor, if there is one, has the place from now on."""
        self.worker, self.successor = self.successor, None
        return self.worker


def find_fault(old: WorkerState | None, new: WorkerState) -> str:
    """Why a new worker cannot replace an old one; "" if it can. ``old`` None: there is none any more."""
    if new.lacking is None:
        return "the new one ended before its models were loaded"
    if old is None or old.lacking is None:
        return ""
    lost = sorted(new.lacking - old.lacking)
    return f"in the new one these models do not serve, its log tells why: {', '.join(lost)}" if lost else ""


def keep_fixed(settings: Settings, before: Settings, wanted: Settings) -> tuple[Settings, list[str]]:
    """The wanted settings of a server that runs with ``settings``, and the variables whose change needs a restart.

    ``before`` and ``wanted`` are what was given at the start and now: the server has completed what was given.
    """
    refused = [PREFIX + name.upper() for name in FIXED if getattr(before, name) != getattr(wanted, name)]
    kept = list(FIXED)
    if not wanted.state_key.get_secret_value():
        kept.append("state_key")  # states that callers have stay valid
    return wanted.replace(**{name: getattr(settings, name) for name in kept}), refused
