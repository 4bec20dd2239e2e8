"""A model in this worker: its versions, which of them serve, and why the others do not."""

import asyncio
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model_store import ModelVersion
from model_store.listing import Unusable
from model_store.manifest import Manifest
from model_store.store import read_number
from service.engine.execution.dispatcher import Dispatcher
from service.engine.loop.continuous_batcher import ContinuousBatcher
from service.engine.tensors import Signature
from service.errors import InvalidInput, UnknownModel
from service.models.loading import Loaded
from service.protocol.header import priority_of
from service.sequences.rules import Sequencing


class State(enum.StrEnum):
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class Model:
    """A version in service."""

    name: str
    version: str
    loaded: Loaded
    dispatcher: Dispatcher
    graphs: Mapping[str, Dispatcher]
    """Of all graphs; ``dispatcher`` is that of ``main``."""
    loop: ContinuousBatcher | None
    forms: dict[bytes, Any] = field(default_factory=dict, compare=False)
    """The request handler's: what it has checked of requests whose JSON part comes again and again."""

    @property
    def manifest(self) -> Manifest:
        return self.loaded.manifest

    @property
    def signature(self) -> Signature:
        return self.dispatcher.signature

    @property
    def sequencing(self) -> Sequencing | None:
        return self.loaded.sequencing

    def schedule(self, asked_s: float | None, level: int) -> tuple[float | None, int]:
        """How long a request may take, None: as long as the server lets any, and its priority in the engine.

        ``asked_s`` and ``level`` are what it asks for.
        """
        queueing = self.loaded.queueing
        if queueing is None:
            return asked_s, priority_of(level)
        run_s = self.dispatcher.longest_run_s
        return queueing.timeout_s(asked_s, level, run_s), queueing.priority_of(level)

    def check_stateless(self) -> None:
        """Raises InvalidInput where requests have to belong to a sequence: this one does not."""
        sequencing = self.loaded.sequencing
        if sequencing is not None and sequencing.is_required:
            raise InvalidInput(
                f"sequence_id: expected the id of a sequence by the infer route, for model {self.name!r} keeps state "
                "from request to request, got none"
            )


@dataclass
class Entry:
    """A version that was asked to serve. ``reason`` says why it does not."""

    source: ModelVersion
    state: State = State.LOADING
    reason: str = ""
    model: Model | None = None


@dataclass
class Shelf:
    """The versions of one model, by number, and its aliases. ``serving`` answers requests that name no version."""

    entries: dict[int, Entry] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    serving: Model | None = None
    reason: str = ""
    chosen: Sequence[int] | None = None
    """The versions that a version policy lets serve; None without one."""
    unusable: Sequence[Unusable] = ()
    """What else is in its folder, and cannot serve."""
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever loads or unloads."""

    @property
    def why(self) -> str:
        """The reason why it does not serve."""
        reasons = [f"version {number}: {e.reason}" for number, e in sorted(self.entries.items()) if e.reason]
        reasons += [each.reason for each in self.unusable]
        return self.reason or "; ".join(reasons) or "it is being loaded"


def find_number(name: str, aliases: Mapping[str, int], version: str) -> int:
    """The number that a text means, by itself or as an alias. Raises UnknownModel."""
    number = read_number(version)
    if number is not None:
        return number
    if version not in aliases:
        raise UnknownModel(f"no alias {version!r:.120} of {name!r}: there are {', '.join(aliases) or 'none'}")
    return aliases[version]
