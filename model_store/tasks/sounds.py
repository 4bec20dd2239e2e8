"""How sounds become rows, and rows sounds."""

from typing import Annotated

from pydantic import Field, model_validator

from model_store.graph import MAIN
from model_store.strict_model import Count, Finite, StrictModel


class Sound(StrictModel):
    """How a sound becomes a row of ``input``: one channel at ``rate``, samples from -1 to 1, float [batch, samples].

    Its channels are averaged, and it is resampled. Features such as log-mels belong in the graph.
    """

    input: str
    graph: str = MAIN
    """The graph that takes the samples: ``main``, or the loop's start graph."""
    rate: Count
    """Samples a second, in Hz."""
    length: str | None = None
    """Input INT64 [batch]: how many samples of the row are sound; padding follows them."""
    window: Count | None = None
    """Samples of a row. None: any length.

    A shorter sound is padded with silence. A longer one is cut into windows; the last one ends where the sound ends.
    """
    overlap: Annotated[int, Field(ge=0)] = 0
    """How many samples neighbouring windows share; the last two may share more."""
    multiple: Count = 1
    """Without a window, rows are padded with silence to a multiple of this many samples."""
    least: Count = 1
    """The fewest samples of a sound; a shorter one is refused."""
    longest_s: Annotated[Finite, Field(gt=0)] = 600.0
    """The longest sound that is taken, in seconds."""
    level_dbfs: Annotated[Finite, Field(le=0)] | None = None
    """The level to which a quieter sound is raised, in dB of full scale (RMS). None: the level stays."""

    @model_validator(mode="after")
    def _consistent(self) -> "Sound":
        if self.window is None and self.overlap:
            raise ValueError("sound.overlap: expected a window")
        if self.window is not None and (self.overlap >= self.window or self.multiple > 1):
            raise ValueError("sound: expected an overlap below the window, and no multiple beside a window")
        return self
