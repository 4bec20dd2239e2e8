"""Turns the error of a step into an error that the caller of the pipeline understands."""

import copy
import re

from model_store.pipelines.wires import Wire
from service.errors import BodyTooLarge, InvalidInput, ModelFailure, ServiceError, UnsupportedMedia
from service.tasks.pipelines.values import Places, StepWires

_ROW = re.compile(r"inputs\[([0-9]+)\]")


def name_step(error: ServiceError, step: str) -> ServiceError:
    """A copy of the error whose text begins with the step. A copy, because several requests may share the error."""
    named = copy.copy(error)
    named.args = (f"step {step}: {error}",)
    if isinstance(named, ModelFailure):
        named.subject = f"step {step}"
    return named


def tell_fault(step: str, wires: StepWires, places: Places, error: ServiceError) -> ServiceError:
    """The error of a step for the caller: it names the step, and the row of the request instead of that of the step.

    If another step has made the bad row, the pipeline is at fault, not the caller.
    """
    if isinstance(error, InvalidInput | UnsupportedMedia | BodyTooLarge) and wires.is_fed_by_caller:
        error = copy.copy(error)
        error.args = (_ROW.sub(lambda found: _show_place(int(found[1]), wires, places), str(error), count=1),)
    elif isinstance(error, InvalidInput | UnsupportedMedia):
        error = ModelFailure(str(error))
    return name_step(error, step)


def _show_place(row: int, wires: StepWires, places: Places) -> str:
    """Where the row of a step comes from in the request."""
    if row >= len(places):
        return f"inputs[{row}]"
    at, position = places[row]
    wire = wires.each or wires.input
    path = str(wire)[len(wire.source) :] if isinstance(wire, Wire) else ""
    return f"inputs[{at}]{path}" + (f"[{position}]" if position >= 0 else "")
