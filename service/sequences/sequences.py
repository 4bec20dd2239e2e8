"""Sequences: what a model keeps from one request to the next, in this worker.

Rules
- One request of a sequence runs at a time, with one row; the next ones wait in their order.
- A sequence begins as the model says (``rules.py``), or with what its first request sends in its place,
  and goes on with what the last request that was answered left. A request that fails changes nothing.
- It is let go of with the request that ends it, or when it has been idle for as long as the model says.
- Requests that wait have no timers of their own: those before them end by their own deadlines.

Where there are several workers a sequence is kept by one of them (`forwarding.py`), and gone with it. Over several
machines state within a worker does not scale out: callers who send the carried tensors themselves need none of this.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np

from service.engine.tensors import Arrays, Rows, Signature
from service.errors import InvalidInput, NotOffered, QueueFull
from service.protocol.infer_request import SequenceStep
from service.sequences.rules import SequenceRules
from service.settings import Settings

MAX_WAITING = 64
"""Requests of one sequence that wait for the one that runs."""
_Key = tuple[Signature, int | str]


class _Sequence:
    """``state`` by input of the model, None where it has not begun; ``waiting`` begins with who runs.

    ``timer`` runs while nobody waits.
    """

    __slots__ = ("key", "sequence_rules", "state", "timer", "waiting")

    def __init__(self, key: _Key, sequence_rules: SequenceRules) -> None:
        self.key = key
        self.sequence_rules = sequence_rules
        self.waiting: deque[Turn] = deque()
        self.state: Arrays | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def signature(self) -> Signature:
        return self.key[0]


class Turn:
    """A request's turn in its sequence. ``leave`` is called when the request has ended, however."""

    __slots__ = ("_go", "_sequence", "_sequences", "_step", "_taken")

    def __init__(
        self, sequences: "Sequences", sequence: _Sequence, step: SequenceStep, go: Callable[[], None] | None
    ) -> None:
        self._sequences = sequences
        self._sequence = sequence
        self._step = step
        self._go = go
        self._taken: Arrays = {}

    @property
    def is_first(self) -> bool:
        return self._sequence.waiting[0] is self

    def go(self) -> None:
        """Begin, if the request has not ended while it waited."""
        if self._go is not None:
            self._go()

    def take(self, inputs: Arrays) -> Rows:
        """The inputs of the model, with what the server keeps and fills in. Raises InvalidInput, QueueFull."""
        sequence, sequence_rules, signature = self._sequence, self._sequence.sequence_rules, self._sequence.signature
        sequence_rules.check(inputs, signature)
        if self._step.starts:
            state = sequence_rules.begin(inputs)
        elif sequence.state is None:
            raise _unknown(self._step)
        else:
            state = sequence.state
        self._sequences.check_room(_size(state) if self._step.starts else 0)
        self._taken = {**state, **sequence_rules.fill(self._step), **inputs}
        return sequence_rules.check_rows(self._taken, signature)

    def keep(self, outputs: Arrays) -> None:
        """The request has been answered: its outputs are what the sequence goes on with."""
        state = None if self._step.ends else self._sequence.sequence_rules.go_on(self._taken, outputs)
        self._sequences.replace(self._sequence, state)

    def leave(self) -> None:
        self._go = None
        self._taken = {}
        self._sequences.leave(self._sequence, self)


class Sequences:
    """The sequences of a worker. On the event loop's thread only."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.held_bytes = 0
        self._settings = settings
        self._loop = loop
        self._open: dict[_Key, _Sequence] = {}

    def __len__(self) -> int:
        return len(self._open)

    def join(
        self,
        model: str,
        signature: Signature,
        sequence_rules: SequenceRules | None,
        step: SequenceStep,
        go: Callable[[], None],
    ) -> Turn:
        """A turn after those that wait for a sequence of ``model``; ``go`` is called when it comes, not if it is now.

        ``sequence_rules`` is what the model carries between requests. Raises NotOffered, InvalidInput, QueueFull.
        """
        if not self._settings.keeps_sequences:
            raise NotOffered(
                "sequence_id: the workers of this server have no folder in common, so none can tell who keeps it: set "
                "SLUICE_METRICS_DIR, or send what the model carries as inputs"
            )
        if sequence_rules is None:
            raise InvalidInput(f"sequence_id: model {model!r} carries nothing between requests; leave it out")
        key = (signature, step.id)
        sequence = self._open.get(key)
        if sequence is None:
            if not step.starts:
                raise _unknown(step)
            if len(self._open) >= self._settings.max_sequences:
                raise QueueFull(f"sequence_id: expected at most {self._settings.max_sequences} sequences at once")
            sequence = self._open[key] = _Sequence(key, sequence_rules)
        if len(sequence.waiting) > MAX_WAITING:
            raise QueueFull(f"sequence_id: expected at most {MAX_WAITING} requests that wait in sequence {step.id!r}")
        if sequence.timer is not None:
            sequence.timer.cancel()
            sequence.timer = None
        turn = Turn(self, sequence, step, go)
        sequence.waiting.append(turn)
        return turn

    def leave(self, sequence: _Sequence, turn: Turn) -> None:
        """End a turn; the next one begins if it was the first."""
        was_first = sequence.waiting[0] is turn
        sequence.waiting.remove(turn)
        if sequence.waiting:
            if was_first:  # in a turn of its own, so that the answer before it goes out before its own
                self._loop.call_soon(sequence.waiting[0].go)
        elif sequence.state is None:
            del self._open[sequence.key]
        else:
            idle_s = sequence.sequence_rules.facts.idle_s or self._settings.sequence_idle_s
            sequence.timer = self._loop.call_later(idle_s, self._expire, sequence)

    def check_room(self, more_bytes: int) -> None:
        """Raises QueueFull where sequences hold more memory than they may, ``more_bytes`` of a new one with them."""
        most = self._settings.max_sequence_bytes
        if self.held_bytes + more_bytes > most:
            raise QueueFull(f"sequence_id: expected sequences to hold at most {most} bytes together")

    def replace(self, sequence: _Sequence, state: Arrays | None) -> None:
        self.held_bytes += _size(state) - _size(sequence.state)
        sequence.state = state

    def close(self) -> None:
        for sequence in self._open.values():
            if sequence.timer is not None:
                sequence.timer.cancel()

    def _expire(self, sequence: _Sequence) -> None:
        self.replace(sequence, None)
        del self._open[sequence.key]


def _size(state: Arrays | None) -> int:
    return sum(map(_size_of, state.values())) if state else 0


def _size_of(array: np.ndarray) -> int:
    return array.nbytes + sum(map(len, array.ravel())) if array.dtype.hasobject else array.nbytes


def _unknown(step: SequenceStep) -> InvalidInput:
    return InvalidInput(
        f"sequence_id: there is no sequence {step.id!r:.60}: expected sequence_start in its first request; it may have "
        "ended, been idle for too long, or belong to another version"
    )
