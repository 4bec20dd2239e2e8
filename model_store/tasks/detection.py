"""Boxes and masks for pictures."""

from typing import Annotated, Literal

from pydantic import Field

from model_store.strict_model import Count, Finite, StrictModel

Share = Annotated[Finite, Field(gt=0, lt=1)]


class Regions(StrictModel):
    """An output of ``main`` that is a map of scores; each connected area of high scores is a box.

    For lines of text, for example, as DBNet finds them (Liao et al. 2020).
    """

    output: str
    """Scores from 0 to 1, [batch, 1, height, width], over the whole picture that the graph takes."""
    threshold: Share = 0.3
    """Pixels with a higher score belong to an area."""
    growth: Annotated[Finite, Field(ge=0)] = 0.0
    """A box grows on each side by this times its area over its perimeter, because areas may be smaller than objects."""
    least_side: Count = 3
    """Areas with a shorter side, in pixels of the map, are left out."""


class Detection(StrictModel):
    """The outputs of ``main`` with candidate boxes, [batch, candidates, ...], in pixels of the picture that it takes.

    ``sluice import`` brings graphs of other forms into this one. Candidates that are padding have the score 0.
    """

    boxes: str = "boxes"
    """[batch, candidates, 4]: left, top, right, bottom."""
    scores: str = "scores"
    """From 0 to 1: [batch, candidates, labels], or [batch, candidates] with the labels in ``classes``."""
    classes: str | None = None
    """int64 [batch, candidates]: positions in the labels. None with [batch, candidates] scores: there is one label."""
    points: str | None = None
    """[batch, candidates, points, 2 or 3]: x, y and, if there is a third, a score from 0 to 1."""
    point_names: tuple[str, ...] = ()
    """In the order of ``points``. Empty: they have no names."""
    coefficients: str | None = None
    """[batch, candidates, n]. The mask of a box is the sigmoid of its coefficients times ``prototypes``."""
    prototypes: str | None = None
    """[batch, n, height, width], over the whole picture that the graph takes."""
    regions: Regions | None = None
    """A map of scores in place of candidates. There is one label, and ``boxes`` and ``scores`` name no output."""
    threshold: Share = 0.25
    """The least score of an answer by default."""
    overlap: Share | None = 0.45
    """Of two boxes of one label that overlap by more than this (intersection over union), the one with the lower score
    goes. None: the graph gives final boxes."""
    across_labels: bool = False
    """Whether boxes of different labels exclude each other too."""
    max_detections: Count = 300
    """The most boxes of an answer by default."""


class Segmentation(StrictModel):
    """The output of ``main`` that has a label for each pixel of the picture that it takes, at any resolution."""

    output: str
    """Scores [batch, labels, height, width], or positions in the labels, integers [batch, height, width]."""
    threshold: Finite | None = None
    """Only for scores [batch, 1, height, width] and two labels: the second one counts from this score on."""
    ignored: Annotated[int, Field(ge=0)] | None = None
    """The label that stands for nothing, such as background: it is left out of drawings and lists."""


class Embedding(StrictModel):
    """The output of ``main`` that is a vector, float [batch, size]."""

    output: str
    normalise: bool = True
    """Whether vectors are divided by their length."""
    metric: Literal["cosine", "euclidean"] = "cosine"
    """How two vectors are compared: by the cosine of their angle, or by their distance."""
    dimensions: tuple[Count, ...] = ()
    """Shorter lengths to which vectors may be cut, such as those that a Matryoshka model was trained for."""
    threshold: Finite | None = None
    """Two rows are the same from this cosine on, or up to this distance. Calibrated on held-out pairs."""
