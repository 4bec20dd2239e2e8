"""The sequences of this worker: the state of models between the requests of a caller.

Rules
- One request of a sequence runs at a time, with one row. The others wait in order.
- The first state is the model's (``rules.py``), or comes with the first request. Each answered request leaves a new
  state. A request that fails changes nothing.
- A sequence is deleted after the request that ends it, or when it has been idle for too long.
- A sequence stays in the version of the model in which it was begun, also while that version goes out of service. A
  sequence that has not ended by then is dropped, and later requests of it get an error that says so.
- Requests that wait have no timer, because the requests before them have deadlines.

One of several workers keeps a sequence (`forwarding.py`), and its state is lost with that worker. Servers on several
machines do not share state: there, callers send the state as inputs.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from service.engine.tensors import Arrays, Rows, Signature
from service.errors import InvalidInput, NotOffered, QueueFull
from service.protocol.infer_request import SequenceStep
from service.sequences.rules import SequenceRules
from service.settings import Settings

MAX_WAITING = 64
"""The most requests of one sequence that may wait."""
_Key = tuple[Signature, int | str]


@dataclass(eq=False, slots=True)
class _Sequence:
    """``state`` is by input, None before the first answer. The first of ``waiting`` runs. ``timer`` runs while idle.

    The sequence was begun in ``version`` of ``model``, which belongs to ``owner``.
    """

    key: _Key
    model: str
    version: str
    owner: object
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
    _start: Callable[[], None] | None
    _taken: Arrays = field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        return self._sequence.waiting[0] is self

    def start(self) -> None:
        """Begin the request, unless it has ended while it waited."""
        if self._start is not None:
            self._start()

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
        self._start = None
        self._taken = {}
        self._sequences.leave(self._sequence, self)


class Sequences:
    """The sequences of a worker. On the event loop's thread only."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.held_bytes = 0
        self._settings = settings
        self._loop = loop
        self._open: dict[_Key, _Sequence] = {}
        self._begun: dict[tuple[str, int | str], _Sequence] = {}
        """The sequence begun last with a name of a model and an id."""
        self._dropped: OrderedDict[tuple[str, int | str], str] = OrderedDict()
        """Sequences that were dropped with their version, and that version."""
        self._ending: dict[Signature, asyncio.Event] = {}
        """Versions that go out of service. The event is set when they have no more sequences."""
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._open)

    def is_needed(self, signature: Signature) -> bool:
        """Whether a sequence of the version with that signature is open."""
        return any(of is signature for of, _ in self._open)

    def find_owner(self, model: str, sequence_id: int | str) -> object | None:
        """The owner of the version in which a sequence was begun; None if there is no such sequence."""
        sequence = self._begun.get((model, sequence_id))
        return None if sequence is None else sequence.owner

    async def end(self, signature: Signature, within_s: float) -> None:
        """Wait until a version has no more sequences, for ``within_s`` at most, and drop those that are left."""
        ended = self._ending[signature] = asyncio.Event()
        try:
            if not self._is_stopping and any(key[0] is signature for key in self._open):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(within_s):
                        await ended.wait()
            for sequence in [each for key, each in self._open.items() if key[0] is signature]:
                self._drop(sequence)
        finally:
            del self._ending[signature]

    def _drop(self, sequence: _Sequence) -> None:
        """End a sequence whose version goes out of service. Accepted requests of it are still answered."""
        name = (sequence.model, sequence.key[1])
        self._dropped[name] = sequence.version
        self._dropped.move_to_end(name)
        if len(self._dropped) > self._settings.max_sequences:
            self._dropped.popitem(last=False)
        if sequence.timer is not None:
            sequence.timer.cancel()
        self.replace(sequence, None)
        self._remove(sequence)

    def _remove(self, sequence: _Sequence) -> None:
        if self._open.get(sequence.key) is not sequence:
            return
        del self._open[sequence.key]
        name, signature = (sequence.model, sequence.key[1]), sequence.key[0]
        if self._begun.get(name) is sequence:
            del self._begun[name]
        ending = self._ending.get(signature)
        if ending is not None and not any(key[0] is signature for key in self._open):
            ending.set()

    def join(
        self,
        model: str,
        version: str,
        owner: object,
        signature: Signature,
        sequence_rules: SequenceRules | None,
        step: SequenceStep,
        start: Callable[[], None],
    ) -> Turn:
        """Take the next turn in a sequence. ``start`` is called when the turn comes, unless it is the first.

        ``owner`` is the version's, for ``find_owner``. ``sequence_rules`` is None for a model without state.
        Raises NotOffered, InvalidInput, QueueFull.
        """
        if not self._settings.keeps_sequences:
            raise NotOffered(
                "sequence_id: the workers of this server share no folder, so they cannot forward sequences: "
                "set SLUICE_METRICS_DIR, or send the state of the model as inputs"
            )
        if sequence_rules is None:
            raise InvalidInput(f"sequence_id: model {model!r} keeps no state between requests: leave it out")
        key = (signature, step.id)
        sequence = self._open.get(key)
        if sequence is None:
            if not step.starts:
                raise _unknown(step, self._dropped.get((model, step.id)))
            if len(self._open) >= self._settings.max_sequences:
                raise QueueFull(f"sequence_id: expected at most {self._settings.max_sequences} sequences at once")
            sequence = self._open[key] = _Sequence(key, model, version, owner, sequence_rules)
        if step.starts:
            self._begun[model, step.id] = sequence
            self._dropped.pop((model, step.id), None)
        if len(sequence.waiting) > MAX_WAITING:
            raise QueueFull(f"sequence_id: expected at most {MAX_WAITING} requests that wait in sequence {step.id!r}")
        if sequence.timer is not None:
            sequence.timer.cancel()
            sequence.timer = None
        turn = Turn(self, sequence, step, start)
        sequence.waiting.append(turn)
        return turn

    def leave(self, sequence: _Sequence, turn: Turn) -> None:
        """End a turn. If it was the first, the next one begins."""
        was_first = sequence.waiting[0] is turn
        sequence.waiting.remove(turn)
        if sequence.waiting:
            if was_first:  # later, so that the answer before it is sent first
                self._loop.call_soon(sequence.waiting[0].start)
        elif sequence.state is None:
            self._remove(sequence)
        elif self._open.get(sequence.key) is not sequence:  # it was dropped while its last request ran
            self.replace(sequence, None)
        else:
            idle_s = sequence.sequence_rules.facts.idle_s or self._settings.sequence_idle_s
            sequence.timer = self._loop.call_later(idle_s, self._expire, sequence)

    def fill_in(
        self, rules: SequenceRules, signature: Signature, state: Arrays | None, step: SequenceStep, inputs: Arrays
    ) -> Arrays:
        """All inputs of a step: the caller's, the state that the step before left, and those that the server fills in.

        Raises InvalidInput, and QueueFull if the states of all sequences take more than the limit.
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
        """Count that ``state`` replaces ``before``. None means no state."""
        self.held_bytes += _count_bytes(state) - _count_bytes(before)

    def replace(self, sequence: _Sequence, state: Arrays | None) -> None:
        self.count_change(sequence.state, state)
        sequence.state = state

    def stop_waiting(self) -> None:
        """The server stops: versions that go out of service no longer wait for their sequences."""
        self._is_stopping = True
        for ended in self._ending.values():
            ended.set()

    def close(self) -> None:
        for sequence in self._open.values():
            if sequence.timer is not None:
                sequence.timer.cancel()

    def _expire(self, sequence: _Sequence) -> None:
        self.replace(sequence, None)
        self._remove(sequence)


def _count_bytes(state: Arrays | None) -> int:
    """The memory of a state; 0 for None."""
    arrays = state.values() if state else ()
    return sum(array.nbytes + (sum(map(len, array.flat)) if array.dtype.hasobject else 0) for array in arrays)


def _unknown(step: SequenceStep, dropped: str | None = None) -> InvalidInput:
    """``dropped`` is the version with which the sequence was dropped, if it was."""
    if dropped is not None:
        return InvalidInput(
            f"sequence_id: sequence {step.id!r:.60} was begun on version {dropped}, which has gone out of service: "
            "expected sequence_start, to begin it anew"
        )
    return InvalidInput(
        f"sequence_id: there is no sequence {step.id!r:.60}: expected sequence_start in its first request; it may have "
        "ended, been idle for too long, or belong to another version"
    )
