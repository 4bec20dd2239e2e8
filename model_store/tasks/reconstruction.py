"""A row to a row like it, and the tiles of large pictures."""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from model_store.strict_model import Count, Finite, Index, StrictModel


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
        """Whether a picture is cut: it is if it has more pixels than a tile."""
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
