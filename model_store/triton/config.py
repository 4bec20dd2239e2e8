"""What a Triton configuration says of a model, in our own words and units.

Shapes (``dims``) leave the batch out where ``max_batch_size`` is above 0; -1 stands for any size. Datatypes have the
names of ``model_store.datatypes``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

ControlKind = Literal["START", "READY", "END", "CORRID"]
WarmupData = Literal["zero", "random", "file"]


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions serve: the ``latest`` so many, else the ``specific`` ones, else all."""

    latest: int | None = 1
    specific: tuple[int, ...] | None = None

    def choose(self, numbers: Iterable[int]) -> list[int]:
        """Those of the versions that are there which are to serve, from the lowest."""
        there = sorted(set(numbers))
        if self.latest is not None:
            return there[max(0, len(there) - self.latest) :]
        return there if self.specific is None else [number for number in there if number in self.specific]


@dataclass(frozen=True, slots=True)
class TensorConfig:
    """One input or output as callers see it. What it leaves out ("", None) is as in the graph."""

    name: str
    datatype: str = ""
    dims: tuple[int, ...] | None = None
    reshape: tuple[int, ...] | None = None
    """The shape that the graph takes or gives where it is another one: the same elements in the same order."""
    label_filename: str = ""
    """Of an output: a file in the model's folder with one label a line."""
    optional: bool = False
    ragged: bool = False
    is_shape_tensor: bool = False
    is_non_linear: bool = False

    @property
    def graph_dims(self) -> tuple[int, ...] | None:
        """The shape that the graph has, without the batch; None where that is not said."""
        return self.dims if self.reshape is None else self.reshape


@dataclass(frozen=True, slots=True)
class SequenceControl:
    """An input that the server fills: with ``true_value`` in the requests that it is about, else with ``false_value``.

    A CORRID input gets the sequence's id instead and has no values.
    """

    name: str
    kind: ControlKind
    datatype: str
    false_value: int | float | bool | None = None
    true_value: int | float | bool | None = None


@dataclass(frozen=True, slots=True)
class InitialState:
    """What a sequence starts from: ``data_file`` in the model's folder ``initial_state``, zeros where it names none."""

    name: str
    dims: tuple[int, ...]
    data_file: str = ""


@dataclass(frozen=True, slots=True)
class SequenceState:
    """An output that is the input of the sequence's next request.

    Without ``initial`` a sequence starts from what Triton leaves open, with each -1 of ``dims`` as 1.
    """

    input_name: str
    output_name: str
    datatype: str
    dims: tuple[int, ...]
    initial: InitialState | None = None


@dataclass(frozen=True, slots=True)
class SequenceConfig:
    """Requests of one sequence go to the model in order, with its state."""

    strategy: Literal["direct", "oldest"] = "direct"
    idle_s: float = 1.0
    """A sequence without a request for so long is over."""
    controls: tuple[SequenceControl, ...] = ()
    states: tuple[SequenceState, ...] = ()
    is_iterative: bool = False


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How requests wait. ``timeout_s`` None: without end; ``max_requests`` None: any number."""

    timeout_s: float | None = None
    on_timeout: Literal["reject", "delay"] = "reject"
    allow_override: bool = False
    """A request may ask for a shorter timeout."""
    max_requests: int | None = None


@dataclass(frozen=True, slots=True)
class DynamicBatching:
    """Requests share batches. Priority 1 is the first of ``priority_levels``; 0 levels: there are no priorities."""

    max_delay_s: float = 0.0
    preferred_rows: tuple[int, ...] = ()
    keeps_order: bool = False
    priority_levels: int = 0
    default_priority: int = 0
    queue: QueuePolicy = QueuePolicy()
    queue_of_priority: Mapping[int, QueuePolicy] = field(default_factory=dict)

    def queue_for(self, priority: int) -> QueuePolicy:
        """How requests of this priority wait."""
        return self.queue_of_priority.get(priority, self.queue)


@dataclass(frozen=True, slots=True)
class WarmupInput:
    """``data_file`` lies in the model's folder ``warmup``. Random BYTES are empty ones, as Triton's are."""

    datatype: str
    dims: tuple[int, ...]
    data: WarmupData
    data_file: str = ""


@dataclass(frozen=True, slots=True)
class Warmup:
    """A batch of ``batch_size`` equal rows that the model runs ``count`` times before it serves."""

    name: str
    batch_size: int
    count: int
    inputs: Mapping[str, WarmupInput]


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """One ``config.pbtxt``. Inputs and outputs are as in the graph where none are given."""

    name: str
    """The folder's name where the file has none and the folder was said."""
    platform: str = ""
    backend: str = ""
    max_batch_size: int = 0
    """0: the model takes no batches, and all of a shape is in ``dims``."""
    says_max_batch_size: bool = False
    """Whether the file has the field: one that has not, and leaves tensors out too, has the batch of the graph."""
    version_policy: VersionPolicy = VersionPolicy()
    default_model_filename: str = ""
    inputs: tuple[TensorConfig, ...] = ()
    outputs: tuple[TensorConfig, ...] = ()
    batch_tensors: tuple[str, ...] = ()
    """The tensors that Triton makes from, or takes apart by, the requests of a batch: ``batch_input, batch_output``."""
    sequence: SequenceConfig | None = None
    batching: DynamicBatching | None = None
    warmups: tuple[Warmup, ...] = ()
    is_ensemble: bool = False
    ensemble_steps: tuple[str, ...] = ()
    """The names of the models that an ensemble runs."""
    decoupled: bool = False
    """A request may have any number of answers."""
    response_cache: bool = False
    speed_only: tuple[str, ...] = ()
    """The fields that are set and change nothing but speed: this server has its own ways."""
    left_out: tuple[str, ...] = ()
    """The other fields that are set and that this reader leaves out."""
    unknown: str = ""
    """The first field that Triton does not have, and the line where it is: a newer Triton's, or misspelt."""
