"""A Triton configuration in our own terms and units.

Shapes (``dims``) leave out the batch if ``max_batch_size`` is above 0; -1 is any size. Datatypes have the names of
``model_store.datatypes``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

ControlKind = Literal["START", "READY", "END", "CORRID"]
WarmupData = Literal["zero", "random", "file"]


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions serve: the ``latest`` n of them, else the ``specific`` ones, else all."""

    latest: int | None = 1
    specific: tuple[int, ...] | None = None

    def choose(self, numbers: Iterable[int]) -> list[int]:
        """The versions to serve, lowest first, out of the existing ones."""
        there = sorted(set(numbers))
        if self.latest is not None:
            return there[max(0, len(there) - self.latest) :]
        return there if self.specific is None else [number for number in there if number in self.specific]


@dataclass(frozen=True, slots=True)
class TensorConfig:
    """One input or output as callers see it. Missing values ("", None) are those of the graph."""

    name: str
    datatype: str = ""
    dims: tuple[int, ...] | None = None
    reshape: tuple[int, ...] | None = None
    """The shape in the graph, if it differs: the same elements in the same order."""
    label_filename: str = ""
    """For an output: a file in the model's folder with one label per line."""
    optional: bool = False
    ragged: bool = False
    is_shape_tensor: bool = False
    is_non_linear: bool = False

    @property
    def graph_dims(self) -> tuple[int, ...] | None:
        """The shape in the graph, without the batch; None if not given."""
        return self.dims if self.reshape is None else self.reshape


@dataclass(frozen=True, slots=True)
class SequenceControl:
    """An input that the server sets to ``true_value`` in the requests that it is about, else to ``false_value``.

    A CORRID input gets the sequence's id instead and has no values.
    """

    name: str
    kind: ControlKind
    datatype: str
    false_value: int | float | bool | None = None
    true_value: int | float | bool | None = None


@dataclass(frozen=True, slots=True)
class InitialState:
    """The first state of a sequence: ``data_file`` in the folder ``initial_state``, or zeros if it names none."""

    name: str
    dims: tuple[int, ...]
    data_file: str = ""


@dataclass(frozen=True, slots=True)
class SequenceState:
    """An output that becomes an input of the sequence's next request.

    Triton leaves open how a sequence starts without ``initial``; here with zeros, and 1 for each -1 of ``dims``.
    """

    input_name: str
    output_name: str
    datatype: str
    dims: tuple[int, ...]
    initial: InitialState | None = None


@dataclass(frozen=True, slots=True)
class SequenceConfig:
    """Requests of one sequence reach the model in order, with its state."""

    strategy: Literal["direct", "oldest"] = "direct"
    idle_s: float = 1.0
    """A sequence ends after so many seconds without a request."""
    controls: tuple[SequenceControl, ...] = ()
    states: tuple[SequenceState, ...] = ()
    is_iterative: bool = False


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How requests wait. ``timeout_s`` None: without limit; ``max_requests`` None: any number."""

    timeout_s: float | None = None
    on_timeout: Literal["reject", "delay"] = "reject"
    allow_override: bool = False
    """A request may set a shorter timeout."""
    max_requests: int | None = None


@dataclass(frozen=True, slots=True)
class DynamicBatching:
    """Requests share batches. Priority 1 is the first of ``priority_levels``; 0 levels: no priorities."""

    max_delay_s: float = 0.0
    preferred_rows: tuple[int, ...] = ()
    keeps_order: bool = False
    priority_levels: int = 0
    default_priority: int = 0
    queue: QueuePolicy = QueuePolicy()
    queue_of_priority: Mapping[int, QueuePolicy] = field(default_factory=dict)

    def queue_for(self, priority: int) -> QueuePolicy:
        """The queue policy for requests of this priority."""
        return self.queue_of_priority.get(priority, self.queue)


@dataclass(frozen=True, slots=True)
class WarmupInput:
    """``data_file`` lies in the model's folder ``warmup``. Random BYTES are empty, as in Triton."""

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
    """One ``config.pbtxt``. Missing inputs and outputs are those of the graph."""

    name: str
    """The folder's name if the file has no name and the folder is known."""
    platform: str = ""
    backend: str = ""
    max_batch_size: int = 0
    """0: the model takes no batches, and ``dims`` have the whole shape."""
    says_max_batch_size: bool = False
    """Whether the file has the field. If it does not, and leaves out tensors too, the graph's batch is used."""
    version_policy: VersionPolicy = VersionPolicy()
    default_model_filename: str = ""
    inputs: tuple[TensorConfig, ...] = ()
    outputs: tuple[TensorConfig, ...] = ()
    batch_tensors: tuple[str, ...] = ()
    """Tensors that Triton computes from a batch's requests, or splits by them: ``batch_input, batch_output``."""
    sequence: SequenceConfig | None = None
    batching: DynamicBatching | None = None
    warmups: tuple[Warmup, ...] = ()
    is_ensemble: bool = False
    ensemble_steps: tuple[str, ...] = ()
    """The models that an ensemble runs."""
    decoupled: bool = False
    """A request may have any number of answers."""
    response_cache: bool = False
    speed_only: tuple[str, ...] = ()
    """Fields that are set but concern only speed, which this server handles in its own way."""
    left_out: tuple[str, ...] = ()
    """Other fields that are set but not used here."""
    unknown: str = ""
    """The first field that Triton does not have, with its line: from a newer Triton, or misspelt."""
