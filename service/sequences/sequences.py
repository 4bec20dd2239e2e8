"""The sequences of this worker: the state of models between the requests of a caller.

Rules
- One request of a sequence runs at a time, with one row. The others wait in order.
- The first state is that of the model (``rules.py``) or sent with the first request. Each request that is answered
  leaves a new state. A request that fails changes nothing.
- A sequence is deleted after the request that ends it, or when it has been idle for too long.
- Requests that wait have no timer, because the requests before them have deadlines.

One of several workers keeps a sequence (`forwarding.py`), and its state is lost with that worker. Servers on several
machines do not share state: there, callers send the state as inputs.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from service.engine.tensors import Arrays, Rows, Signature
from service.errors import InvalidInput, NotOffered, QueueFull
from service.protocol.infer_request import SequenceStep
from service.sequences.rules import SequenceRules
from service.settings import Settings

MAX_WAITING = 64
"""Requests of one sequence that may wait."""
_Key = tuple[Signature, int | str]


@dataclass(eq=False, slots=True)
class _Sequence:
    """``state``: by input, None before the first answer. The first of ``waiting`` runs. ``timer`` runs while idle."""

    key: _Key
    sequence_rules: SequenceRules
    waiting: "deque[Turn]" = field(default_factory=deque)
    state: Arrays | None = None
    timer: asyncio.TimerHandle | None = None


@dataclass(eq=False, slots=True)
class Turn:
    """The turn of a request in its sequence. ``leave`` is called when the request has ended, also with an error."""

    _sequences: "Sequences"
    _sequence: _Sequence
    _step: SequenceStep
    _go: Callable[[], None] | None
    _taken: Arrays = field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        return self._sequence.waiting[0] is self

    def go(self) -> None:
        """Begin the request, unless it has ended while it waited."""
        if self._go is not None:
            self._go()

    def take(self, inputs: Arrays) -> Rows:
        """The inputs of the model: the caller's, the state, and those that the server fills in.

        Raises InvalidInput, QueueFull.
        """
        signature, rules = self._sequence.key[0], self._sequence.sequence_rules
        self._taken = self._sequences.fill_in(rules, signature, self._sequence.state, self._step, inputs)
        return rules.check_rows(self._taken, signature)

    def keep(self, outputs: Arrays) -> None:
        """The request has been answered: its outputs make the next state."""
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

    def keep(self, signature: Signature) -> bool:
        """Whether a sequence of the version with that signature is open."""
        return any(of is signature for of, _ in self._open)

    def join(
        self,
        model: str,
        signature: Signature,
        sequence_rules: SequenceRules | None,
        step: SequenceStep,
        go: Callable[[], None],
    ) -> Turn:
        """The next turn in a sequence of ``model``. ``go`` is called when it comes, unless it is the first.

        ``sequence_rules`` is None for a model without state. Raises NotOffered, InvalidInput, QueueFull.
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
        """End a turn. If it was the first, the next one begins."""
        was_first = sequence.waiting[0] is turn
        sequence.waiting.remove(turn)
        if sequence.waiting:
            if was_first:  # later, so that the answer before it is sent first
                self._loop.call_soon(sequence.waiting[0].go)
        elif sequence.state is None:
            del self._open[sequence.key]
        else:
            idle_s = sequence.sequence_rules.facts.idle_s or self._settings.sequence_idle_s
            sequence.timer = self._loop.call_later(idle_s, self._expire, sequence)

    def fill_in(
        self, rules: SequenceRules, signature: Signature, state: Arrays | None, step: SequenceStep, inputs: Arrays
    ) -> Arrays:
        """All inputs of a step: the caller's, the state that the step before has left, and those of the server.

        Raises InvalidInput; QueueFull if the states of all sequences take more than the limit.
        """
        rules.check(inputs, signature)
        if step.starts:
            state = rules.begin(inputs)
        elif state is None:
            raise _unknown(step)
        most = self._settings.max_sequence_bytes
        if self.held_bytes + (_count_bytes(state) if step.starts else 0) > most:
            raise QueueFull(f"sequence_id: expected sequences to hold at most {most} bytes together")
        return {**state, **rules.fill(step), **inputs}

    def count_change(self, before: Arrays | None, state: Arrays | None) -> None:
        """A state has taken the place of another one. None: there is none."""
        self.held_bytes += _count_bytes(state) - _count_bytes(before)

    def replace(self, sequence: _Sequence, state: Arrays | None) -> None:
        self.count_change(sequence.state, state)
        sequence.state = state

    def close(self) -> None:
        for sequence in self._open.values():
            if sequence.timer is not None:
                sequence.timer.cancel()

    def _expire(self, sequence: _Sequence) -> None:
        self.replace(sequence, None)
        del self._open[sequence.key]


def _count_bytes(state: Arrays | None) -> int:
    """What a state takes; 0 for none."""
    arrays = state.values() if state else ()
    return sum(array.nbytes + (sum(map(len, array.flat)) if array.dtype.hasobject else 0) for array in arrays)


def _unknown(step: SequenceStep) -> InvalidInput:
    return InvalidInput(
        f"sequence_id: there is no sequence {step.id!r:.60}: expected sequence_start in its first request; it may have "
        "ended, been idle for too long, or belong to another version"
    )
