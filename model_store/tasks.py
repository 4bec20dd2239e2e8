"""What the manifest says about a model for the task routes, one class for each way of working."""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from model_store.strict_model import Finite, StrictModel

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]


def _not_zero(value: float) -> float:
    if value == 0:
        raise ValueError("expected a number other than 0, because 0 would make all pictures equal")
    return value


class Picture(StrictModel):
    """How pixel values 0..255 become the numbers of a tensor [channels, height, width]: value * scale + offset.

    ``channels`` is 1 (luminance) or 3 (RGB).
    """

    channels: Literal[1, 3]
    scale: Annotated[Finite, AfterValidator(_not_zero)] = 1.0
    offset: Finite = 0.0


class Image(Picture):
    """How a picture becomes a row of ``input``: resized to height x width, or unchanged if these are None."""

    input: str
    """An input of ``main``."""
    height: Count | None = None
    width: Count | None = None


class Classes(StrictModel):
    """The outputs of ``main`` with the scores, in the order of the labels: ``[batch, len(labels)]``.

    Probabilities lie in 0 to 1 and sum to one in each row. The golden samples of every version are checked for that.
    """

    probabilities: str = "probabilities"
    """The output with probabilities. If the module has only ``logits``, the export adds it: softmax, or sigmoid."""
    logits: str | None = None
    """The output with scores before softmax or sigmoid. Explanations use its gradients, if given."""
    multi_label: bool = False
    """True: a row may have any number of labels, so the probabilities need not sum to one."""


class Carry(StrictModel):
    """A tensor that a row keeps from step to step: ``input`` of ``main`` takes what ``output`` gave in the step
    before."""

    input: str
    output: str | None = None
    """None: the tensor keeps its first value."""
    start: str | None = None
    """The output of the loop's start graph with its first value. None: zeros, or what the task begins with."""
    resume: str | None = None
    """The input of the start graph that takes it from an earlier request; zeros if there was none."""


class Loop(StrictModel):
    """``main`` runs step by step on what each row carries. Rows at different steps share batches.

    ``start`` names the graph that runs once before the first step.
    """

    carries: Annotated[tuple[Carry, ...], Field(min_length=1)]
    max_steps: Count
    """A row ends at the latest after so many steps."""
    start: str | None = None


class Forecast(StrictModel):
    """Series to series, in the unit of the series.

    ``history`` [batch, time] is an input of ``main`` or of the loop's start graph. ``output`` of ``main`` is [batch,
    horizon] or [batch, horizon, quantiles]; in a loop it is [batch], the next value.
    """

    history: str
    length: str | None = None
    """int64 [batch]: how many values of each history count; padding follows them."""
    least_history: Count = 1
    max_history: Count = 10_000
    output: str
    horizon: Count | None = None
    """The number of values in ``output``. None in a loop, which runs as many steps as are requested."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """The quantiles in ``output``, rising."""
    noise: str | None = None
    """Input [batch] of a loop's ``main``. With standard normal numbers ``output`` is a random draw; with 0 it is the
    centre."""
    unit: str = ""
    """The unit of the values, for people."""


class Text(StrictModel):
    """Text to text in a loop, one character at a time.

    ``source`` int64 [batch, length] of the start graph holds the positions of the characters in ``characters``;
    position 0 is padding. ``scores`` [batch, symbols] of ``main`` are log probabilities of the next symbol; ``token``
    int64 [batch] is the symbol before it.
    """

    source: str
    characters: Annotated[tuple[str, ...], Field(min_length=2)]
    lengths: Annotated[tuple[Count, ...], Field(min_length=1)]
    """The lengths to which a source is padded, rising. The last is the longest that is accepted."""
    token: str
    scores: str
    symbols: Annotated[tuple[str, ...], Field(min_length=2)]
    begin: Index
    """The symbol before the first one."""
    end: Index
    """The symbol after the last one."""


class Span(NamedTuple):
    """Pixels ``begin`` to ``end`` of one side of a picture, and the part of them that is kept in the answer."""

    begin: int
    end: int
    kept_begin: int
    kept_end: int


class Tile(NamedTuple):
    """A part of a picture that runs as a row of its own."""

    lines: Span
    columns: Span


class Tiles(StrictModel):
    """How a large picture may be cut so that the joined outputs of its tiles equal that of the whole. In pixels.

    Tiles have sides of ``size`` and begin at multiples of ``stride``. Neighbouring tiles extend by ``overlap`` beyond
    the part that each answers for, because an output depends on pixels up to that distance.
    """

    size: Count
    overlap: Index
    stride: Count = 1
    error: Literal["mean_square", "root_mean_square"] | None = None
    """How the graph computes ``error`` from the differences; needed because the error of a tile is not that of the
    whole. None if the graph has no ``error``."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.size % self.stride or self.overlap % self.stride:
            raise ValueError(f"expected multiples of the stride {self.stride}, got {self.size} and {self.overlap}")
        if self.size <= 2 * self.overlap:
            raise ValueError(f"expected a size of more than twice the overlap {self.overlap}, got {self.size}")
        return self

    def cuts(self, height: int, width: int) -> bool:
        """Whether a picture is cut, which is if it has more pixels than a tile."""
        return height * width > self.size**2

    def cut(self, height: int, width: int) -> Iterator[Tile]:
        """The tiles of a picture, line by line. Their kept parts cover the picture exactly once."""
        columns = list(self._cut_side(width))
        for lines in self._cut_side(height):
            for span in columns:
                yield Tile(lines, span)

    def _cut_side(self, length: int) -> Iterator[Span]:
        """The spans of one side. All but the last have the full size. The last is moved back to have it too, as far as
        the stride allows, because tiles of one shape share batches."""
        begin = kept = 0
        while begin + self.size < length:
            step = self.size - 2 * self.overlap
            following = min(begin + step, -(-(length - self.size) // self.stride) * self.stride)
            yield Span(begin, begin + self.size, kept, following + self.overlap)
            begin, kept = following, following + self.overlap
        yield Span(begin, length, kept, length)


class Reconstruction(StrictModel):
    """A row to a row like it. ``error`` and ``anomaly`` [batch] are outputs of the graph too, if it has them.

    Without ``error``, the error is the root mean square of the differences.
    """

    output: str
    error: str | None = None
    anomaly: str | None = None
    threshold: Finite | None = None
    """Rows with a larger ``anomaly`` (or error, if there is none) are anomalies. Calibrated on held-out rows."""
    graphs: Annotated[tuple[str, ...], Field(min_length=1)] = ("main",)
    """The graphs that can reconstruct, all with the same tensors. The first is the default."""
    tiles: Tiles | None = None
    """How pictures of any height and width may be cut. None: they run whole."""


class Diffusion(StrictModel):
    """A loop over noise levels.

    ``time`` and ``next_time`` int64 [batch] are inputs of ``main``: the level of the sample and the next level, from
    ``times`` - 1 down to -1, which means no noise. ``preview`` is the output that shows what the finished sample will
    look like. ``step_noise`` (of the sample's shape), ``guidance`` [batch] and ``eta`` [batch] (0: DDIM, 1: DDPM) are
    inputs if the graph has them.
    """

    time: str
    next_time: str
    times: Count
    preview: str
    step_noise: str | None = None
    guidance: str | None = None
    eta: str | None = None
    steps: Count
    """The number of steps by default."""
    default_guidance: Finite = 0.0
    """The guidance by default."""


class Generation(StrictModel):
    """Rows from noise. ``noise`` [batch, ...] takes standard normal numbers; with ``diffusion`` it is the carried
    tensor.

    ``label`` int64 [batch] is a position in the labels of the model.
    """

    graph: str = "main"
    """The graph that makes rows."""
    output: str
    """The output with the row."""
    noise: str
    label: str | None = None
    picture: Picture | None = None
    """How the row becomes a picture, if it is one."""
    diffusion: Diffusion | None = None
