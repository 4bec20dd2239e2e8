"""How pictures become rows, and rows pictures."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from model_store.strict_model import Count, Finite, StrictModel


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
