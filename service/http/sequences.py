"""Sequences: what a model with a loop carries from one request to the next, kept by this worker.

Rules
- One request of a sequence runs at a time, with one row; the next ones wait in their order.
- A sequence begins with zeros, or with what its first request sends in their place, and goes on with what the last
  request that was answered left. A request that fails changes nothing.
- It is let go of with the request that ends it, or when it has been idle for ``idle_s``.
- Requests that wait have no timers of their own: those before them end by their own deadlines.

Where there are several workers a sequence is one's of them (`relay.py`), and gone with it. Over several machines state
within a worker does not scale out: callers who send the carried tensors themselves need none of this.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from model_store.tasks import Carry
from service.engine.tensors import Arrays, Signature
from service.errors import InvalidInput, NotOffered, QueueFull
from service.protocol.header import SequenceStep
from service.registry import Model
from service.settings import Settings
from service.tasks.series import zeros_of

MAX_WAITING = 64
"""Requests of one sequence that wait for the one that runs."""
_EARLY_S = 1e-3
"""Timers may fire by this much too early."""
_Key = tuple[Signature, int | str]


class _Sequence:
    """``state`` [1, ...] by input of the model, None where it has not begun; ``line`` begins with who runs."""

    __slots__ = ("carries", "idle_since_s", "key", "line", "state")

    def __init__(self, key: _Key, carries: tuple[Carry, ...]) -> None:
        self.key = key
        self.carries = carries
        self.line: deque[Place] = deque()
        self.state: Arrays | None = None
        self.idle_since_s = 0.0


class Place:
    """A request's place in its sequence. ``leave`` is called when the request has ended, however."""

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
        return self._sequence.line[0] is self

    def go(self) -> None:
        """Begin, if the request has not ended while it waited."""
        if self._go is not None:
            self._go()

    def take(self, inputs: Arrays) -> Arrays:
        """The inputs of the model, with what is carried where the request leaves it out.

        Raises InvalidInput, QueueFull.
        """
        for name, array in inputs.items():
            if array.shape[:1] != (1,):
                raise InvalidInput(f"input {name!r}: a sequence takes one row a request, got shape {list(array.shape)}")
        sequence = self._sequence
        if self._step.starts:
            state = _begin(sequence, inputs)
        elif sequence.state is None:
            raise _unknown(self._step)
        else:
            state = sequence.state
        self._sequences.check_room(_size(state) if self._step.starts else 0)
        self._taken = {**state, **inputs}
        return self._taken

    def keep(self, outputs: Arrays) -> None:
        """The request has been answered: its outputs are what the sequence goes on with."""
        state = None
        if not self._step.ends:
            # Copies, for these are views of a batch and of a request's body.
            carries = self._sequence.carries
            state = {c.input: (outputs[c.output] if c.output else self._taken[c.input]).copy() for c in carries}
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
        self._idle: dict[_Key, _Sequence] = {}
        """Those in which nothing runs or waits, longest first."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def join(self, model: Model, step: SequenceStep, go: Callable[[], None]) -> Place:
        """A place at the end of a sequence's line; ``go`` is called when it comes to be first, not if it is at once.

        Raises NotOffered, InvalidInput, QueueFull.
        """
        if not self._settings.keeps_sequences:
            raise NotOffered(
                "sequence_id: the workers of this server have no folder in common, so none can tell who keeps it: set "
                "SLUICE_METRICS_DIR, or send what the model carries as inputs"
            )
        manifest = model.manifest
        if manifest.loop is None:
            raise InvalidInput(f"sequence_id: model {model.name!r} carries nothing between requests; leave it out")
        key = (model.signature, step.id)
        sequence = self._open.get(key)
        if sequence is None:
            if not step.starts:
                raise _unknown(step)
            if len(self._open) >= self._settings.max_sequences:
                raise QueueFull(f"sequence_id: expected at most {self._settings.max_sequences} sequences at once")
            sequence = self._open[key] = _Sequence(key, manifest.loop.carries)
        if len(sequence.line) > MAX_WAITING:
            raise QueueFull(f"sequence_id: expected at most {MAX_WAITING} requests that wait in sequence {step.id!r}")
        self._idle.pop(key, None)
        place = Place(self, sequence, step, go)
        sequence.line.append(place)
        return place

    def leave(self, sequence: _Sequence, place: Place) -> None:
        """Take a place out of its line; the next one begins if it was the first."""
        was_first = sequence.line[0] is place
        sequence.line.remove(place)
        if sequence.line:
            if was_first:  # in a turn of its own, so that the answer before it goes out before its own
                self._loop.call_soon(sequence.line[0].go)
        elif sequence.state is None:
            del self._open[sequence.key]
        else:
            sequence.idle_since_s = self._loop.time()
            self._idle[sequence.key] = sequence
            self._arm()

    def check_room(self, more_bytes: int) -> None:
        """Raises QueueFull where sequences hold more memory than they may, ``more_bytes`` of a new one with them."""
        most = self._settings.max_sequence_bytes
        if self.held_bytes + more_bytes > most:
            raise QueueFull(f"sequence_id: expected sequences to hold at most {most} bytes together")

    def replace(self, sequence: _Sequence, state: Arrays | None) -> None:
        self.held_bytes += _size(state) - _size(sequence.state)
        sequence.state = state

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        """One timer, for who has been idle longest."""
        if self._timer is None and self._idle:
            first = next(iter(self._idle.values()))
            self._timer = self._loop.call_at(first.idle_since_s + self._settings.sequence_idle_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        latest_s = self._loop.time() - self._settings.sequence_idle_s + _EARLY_S
        for key, sequence in list(self._idle.items()):
            if sequence.idle_since_s > latest_s:
                break
            self.replace(sequence, None)
            del self._idle[key], self._open[key]
        self._arm()


def _begin(sequence: _Sequence, inputs: Arrays) -> Arrays:
    """What a sequence begins with. Raises InvalidInput for an input that has no zeros of its own, its size is open."""
    tensors = sequence.key[0].inputs
    state = {}
    for carry in sequence.carries:
        tensor = tensors[carry.input]
        if carry.input in inputs:
            state[carry.input] = inputs[carry.input]
        elif tensor.has_fixed_rows:
            state[carry.input] = zeros_of(tensor)[None]
        else:
            raise InvalidInput(f"input {carry.input!r}: expected it where the sequence starts, for its size is open")
    return state


def _size(state: Arrays | None) -> int:
    return sum(array.nbytes for array in state.values()) if state else 0


def _unknown(step: SequenceStep) -> InvalidInput:
    return InvalidInput(
        f"sequence_id: there is no sequence {step.id!r:.60}: expected sequence_start in its first request; it may have "
        "ended, been idle for too long, or belong to another version"
    )
