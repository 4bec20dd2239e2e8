"""What the task routes must know of a model beyond the tensors of its graphs: a part for each way of working."""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from model_store.strict_model import Finite, StrictModel

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]


def _not_zero(value: float) -> float:
    if value == 0:
        raise ValueError("expected a number other than 0, or no picture could be told from another")
    return value


class Picture(StrictModel):
    """How pixel values 0..255 become the numbers of a tensor [channels, height, width]: value * scale + offset.

    ``channels`` is 1 (luminance) or 3 (RGB).
    """

    channels: Literal[1, 3]
    scale: Annotated[Finite, AfterValidator(_not_zero)] = 1.0
    offset: Finite = 0.0


class Image(Picture):
    """How a picture becomes a row of ``input``: resized to height x width, or as it is where these are None."""

    input: str
    """Of ``main``."""
    height: Count | None = None
    width: Count | None = None


class Classes(StrictModel):
    """Which outputs of ``main`` carry the scores, in the order of the labels: ``[batch, len(labels)]``.

    Probabilities lie in 0 to 1, and those of a row sum to one: that is checked on the golden samples of every version.
    """

    probabilities: str = "probabilities"
    """Where the module gives ``logits`` and no output of this name, the export adds it: softmax, or sigmoid."""
    logits: str | None = None
    """Scores before softmax or sigmoid: explanations are gradients of them, where there are any."""
    multi_label: bool = False
    """True: a row may have several labels or none, so that each probability stands for itself."""


class Carry(StrictModel):
    """A tensor that a row keeps from step to step: ``input`` of ``main`` takes what ``output`` gave the step before."""

    input: str
    output: str | None = None
    """None: it stays as it began."""
    start: str | None = None
    """The output of the loop's start graph that it begins as. None: zeros, or what the task begins with."""
    resume: str | None = None
    """The input of the start graph that takes it from an earlier request; zeros where there was none."""


class Loop(StrictModel):
    """``main`` runs step by step on what each row carries; rows at different steps share its batches.

    ``start`` names the graph that runs once before the first step.
    """

    carries: Annotated[tuple[Carry, ...], Field(min_length=1)]
    max_steps: Count
    """After which a row ends at the latest."""
    start: str | None = None


class Forecast(StrictModel):
    """Series to series, in the unit of the series.

    ``history`` [batch, time] is an input of ``main`` or of the loop's start graph. ``output`` of ``main`` is [batch,
    horizon], or [batch, horizon, quantiles]; in a loop it is [batch], the next value.
    """

    history: str
    length: str | None = None
    """int64 [batch]: how many values of each history count; what follows them is padding."""
    least_history: Count = 1
    max_history: Count = 10_000
    output: str
    horizon: Count | None = None
    """How many values ``output`` has. None in a loop, which rolls out as many as are asked for."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """That ``output`` has, rising."""
    noise: str | None = None
    """Input [batch] of a loop's ``main``: with standard normal numbers ``output`` is a draw, with 0 its centre."""
    unit: str = ""
    """Of the values, for people."""


class Text(StrictModel):
    """Text to text in a loop, a character at a time.

    ``source`` int64 [batch, length] of the start graph holds the positions of the characters in ``characters``;
    position 0 is padding. ``scores`` [batch, symbols] of ``main`` are logarithms of probabilities of the next symbol,
    ``token`` int64 [batch] is the symbol before it.
    """

    source: str
    characters: Annotated[tuple[str, ...], Field(min_length=2)]
    lengths: Annotated[tuple[Count, ...], Field(min_length=1)]
    """What a source is padded to, rising; the last is the longest that is taken."""
    token: str
    scores: str
    symbols: Annotated[tuple[str, ...], Field(min_length=2)]
    begin: Index
    """The symbol before the first."""
    end: Index
    """The symbol after the last."""


class Span(NamedTuple):
    """Pixels ``begin`` to ``end`` of one side of a picture, and those of them whose answers count."""

    begin: int
    end: int
    kept_begin: int
    kept_end: int


class Tile(NamedTuple):
    """A part of a picture that runs as a row of its own."""

    lines: Span
    columns: Span


class Tiles(StrictModel):
    """How a large picture may be cut so that the outputs of its parts, joined, are those of the whole. In pixels.

    Tiles have sides of ``size`` and begin at multiples of ``stride``. Where two of them meet each has ``overlap`` more
    than it answers for: an output looks no farther than that.
    """

    size: Count
    overlap: Index
    stride: Count = 1
    error: Literal["mean_square", "root_mean_square"] | None = None
    """What the graph's ``error`` is of the differences, for that of a tile says nothing. None where it has no such."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.size % self.stride or self.overlap % self.stride:
            raise ValueError(f"expected multiples of the stride {self.stride}, got {self.size} and {self.overlap}")
        if self.size <= 2 * self.overlap:
            raise ValueError(f"expected a size of more than twice the overlap {self.overlap}, got {self.size}")
        return self

    def cuts(self, height: int, width: int) -> bool:
        """Whether a picture is cut: it has more pixels than a tile."""
        return height * width > self.size**2

    def cut(self, height: int, width: int) -> Iterator[Tile]:
        """The tiles of a picture, line by line. The pixels that they are kept for cover it, each of them once."""
        columns = list(self._cut_side(width))
        for lines in self._cut_side(height):
            for span in columns:
                yield Tile(lines, span)

    def _cut_side(self, length: int) -> Iterator[Span]:
        """All but the last have the full size. The last one is moved back to have it too, as far as the stride lets it:
        tiles of one shape share batches."""
        begin = kept = 0
        while begin + self.size < length:
            step = self.size - 2 * self.overlap
            following = min(begin + step, -(-(length - self.size) // self.stride) * self.stride)
            yield Span(begin, begin + self.size, kept, following + self.overlap)
            begin, kept = following, following + self.overlap
        yield Span(begin, length, kept, length)


class Reconstruction(StrictModel):
    """A row to a row like it. ``error`` and ``anomaly`` [batch] are outputs of the graph too, where it has them.

    Without ``error`` it is the root mean square of the differences.
    """

    output: str
    error: str | None = None
    anomaly: str | None = None
    threshold: Finite | None = None
    """Rows with a larger ``anomaly`` (or error, where there is none) are anomalies; calibrated on held-out rows."""
    graphs: Annotated[tuple[str, ...], Field(min_length=1)] = ("main",)
    """The graphs that translate, each with the same tensors; the first where none is asked for."""
    tiles: Tiles | None = None
    """How rows that are pictures of any height and width may be cut. None: they run whole."""


class Diffusion(StrictModel):
    """A loop over noise levels. ``time`` and ``next_time`` int64 [batch] are inputs of ``main``: the level of the
    sample and the one that it goes to, from ``times`` - 1 down to -1, which is none.

    ``preview`` is the output that shows the finished sample as it looks at this step. ``step_noise``, of the sample's
    shape, ``guidance`` [batch] and ``eta`` [batch] (0: DDIM, 1: DDPM) are inputs where the graph has them.
    """

    time: str
    next_time: str
    times: Count
    preview: str
    step_noise: str | None = None
    guidance: str | None = None
    eta: str | None = None
    steps: Count
    """How many, where none are asked for."""
    default_guidance: Finite = 0.0
    """Where none is asked for."""


class Generation(StrictModel):
    """Rows from noise. ``noise`` [batch, ...] takes standard normal numbers; with ``diffusion`` it is what is carried.

    ``label`` int64 [batch] is a position in the labels of the model.
    """

    graph: str = "main"
    """The one that makes rows."""
    output: str
    """The row."""
    noise: str
    label: str | None = None
    picture: Picture | None = None
    """How the row becomes a picture, where it is one."""
    diffusion: Diffusion | None = None
