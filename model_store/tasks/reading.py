"""A graph that reads a line of text from a picture, or speech from a sound, in one run."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from model_store.graph import FileName
from model_store.strict_model import Finite, Index, StrictModel


class Reading(StrictModel):
    """Connectionist temporal classification (CTC): ``output`` of ``main`` has scores of all symbols at each time step.

    Steps with the same best symbol are one symbol, and ``blank`` is none, so it stands between two equal symbols.
    Rows are what ``image`` or ``sound`` says; without both they are numbers.
    """

    output: str
    """Output float [batch, steps, symbols]."""
    scores: Literal["probabilities", "logits", "log_probabilities"] = "probabilities"
    """What the output holds."""
    symbols: tuple[str, ...] = ()
    """The texts of the symbols, in order. That of ``blank`` is not used."""
    file: FileName | None = None
    """A file of the version with the symbols instead, in UTF-8, one on each line: there may be thousands."""
    blank: Index = 0
    """The position of the blank."""
    length: str | None = None
    """Output INT64 or INT32 [batch]: how many steps belong to the row; the others are padding. None: all."""
    step_s: Annotated[Finite, Field(gt=0)] | None = None
    """Seconds of sound for a step. None: the steps of a row share the length of its sound equally."""

    @model_validator(mode="after")
    def _one_list(self) -> "Reading":
        if (self.file is None) != bool(self.symbols):
            raise ValueError("reading: expected either symbols or a file of them")
        return self
