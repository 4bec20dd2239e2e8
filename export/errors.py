"""The reasons why a model is not published. All of them leave the store unchanged.

NotPublished
├── SpecError             the description of the model contradicts itself
│   └── MissingFacts      an import lacks facts that it must not guess
├── ExportError           the module cannot become an ONNX graph that can be served
├── ParityError           the graph does not compute what its PyTorch original computes
│   └── DependentRows     a row's answer changes with the rows that share its batch
├── QualityError          the model is worse than required
└── UnknownRecipe         there is no reference model of that name
"""

from collections.abc import Mapping
from dataclasses import dataclass

from model_store.manifest import Quality


class NotPublished(Exception):
    """A fault of a model that its owner can fix; the text says how."""


class SpecError(NotPublished):
    pass


class MissingFacts(SpecError):
    """The text names the options that supply them."""


class ExportError(NotPublished):
    pass


@dataclass(frozen=True, slots=True)
class Element:
    """One element of an output that differs from what is expected. ``tolerance`` is the largest difference allowed
    there."""

    output: str
    index: tuple[int, ...]
    expected: float
    got: float
    tolerance: float

    @property
    def excess(self) -> float:
        """How far the element lies outside its tolerance."""
        return abs(self.got - self.expected) - self.tolerance

    def __str__(self) -> str:
        place = f"{self.output}[{', '.join(map(str, self.index))}]"
        return f"{place}: expected {self.expected:.9g}, got {self.got:.9g}, allowed difference {self.tolerance:.3g}"


class ParityError(NotPublished):
    """``case`` is the failed comparison (rows, seed, inputs), ``worst`` its worst element, if known."""

    def __init__(self, text: str, case: str, worst: Element | None = None) -> None:
        super().__init__(text)
        self.case = case
        self.worst = worst


class DependentRows(ParityError):
    """``rows`` are the rows whose answers change with the other rows."""

    def __init__(self, text: str, case: str, rows: tuple[int, ...], worst: Element | None = None) -> None:
        super().__init__(text, case, worst)
        self.rows = rows


class QualityError(NotPublished):
    """``quality`` is what was measured, if the measurement was completed."""

    def __init__(self, text: str, quality: Quality | None = None) -> None:
        super().__init__(text)
        self.quality = quality


class UnknownRecipe(NotPublished):
    pass


def list_missed(metrics: Mapping[str, float], bar: Mapping[str, float]) -> list[str]:
    """A text for each metric that is missing or below its bar, with what was expected."""
    return [
        f"{name}: expected at least {least:g}, got {metrics.get(name, 'no such metric')}"
        for name, least in bar.items()
        if not metrics.get(name, float("-inf")) >= least
    ]
