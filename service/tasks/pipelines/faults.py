"""Turns the error of a step into one that the caller of the pipeline understands."""

import copy
import re

from model_store.pipelines.wires import Wire
from service.errors import BodyTooLarge, InvalidInput, ModelFailure, ServiceError, UnsupportedMedia
from service.tasks.pipelines.values import Places, StepWires

_ROW = re.compile(r"inputs\[([0-9]+)\]")


def name_step(error: ServiceError, step: str) -> ServiceError:
    """The same error, whose text begins with the step. The engine may give one error to several requests."""
    told = copy.copy(error)
    told.args = (f"step {step}: {error}",)
    if isinstance(told, ModelFailure):
        told.subject = f"step {step}"
    return told


def tell_fault(step: str, wires: StepWires, places: Places, error: ServiceError) -> ServiceError:
    """The error of a step with its name, and with the row of the request in place of the row of the step.

    Bad rows that another step has made are a failure of the pipeline, not the caller's fault.
    """
    if isinstance(error, InvalidInput | UnsupportedMedia | BodyTooLarge) and wires.is_fed_by_caller:
        error = copy.copy(error)
        error.args = (_ROW.sub(lambda found: _show_place(int(found[1]), wires, places), str(error), count=1),)
    elif isinstance(error, InvalidInput | UnsupportedMedia):
        error = ModelFailure(str(error))
    return name_step(error, step)


def _show_place(row: int, wires: StepWires, places: Places) -> str:
    """Where in the request the row of a step is."""
    if row >= len(places):
        return f"inputs[{row}]"
    at, position = places[row]
    wire = wires.each or wires.input
    path = str(wire)[len(wire.source) :] if isinstance(wire, Wire) else ""
    return f"inputs[{at}]{path}" + (f"[{position}]" if position >= 0 else "")
