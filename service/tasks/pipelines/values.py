"""The values that pass between the steps of a request, for each row of the request.

A step runs once for all rows of the request, so that they share batches. Its rows are the rows of the request that need
the step, or with ``each`` the elements of a list in these rows. ``Taken`` remembers where each row of the step belongs.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from model_store.pipelines.conditions import Condition, holds, parse_condition
from model_store.pipelines.wires import REQUEST, Wire, count_elements, follow, parse_wire
from model_store.tasks import Pipeline, Step
from service.codecs.pictures.reader import RowFile, describe_row
from service.errors import BodyTooLarge, InvalidInput, ModelFailure
from service.protocol.json import type_name
from service.tasks.work import SLOW_BYTES

MOST_ELEMENTS = 4096
"""The most elements that a step works on in one request."""
_MOST_LOOKED_AT = 1 << 16
"""The same, with the elements that ``when`` leaves out."""
VALUE_BYTES = 128
"""The cost of looking at a value, as ``run_in_thread`` counts."""


class StepWires(NamedTuple):
    """The parsed texts of a step."""

    step: Step
    input: Wire | Mapping[str, Wire] | None
    each: Wire | None
    when: Condition | None
    others: tuple[Wire, ...]
    """The wires of an operation, in the order of its fields."""

    @property
    def is_fed_by_caller(self) -> bool:
        """Whether the step takes a value from the row of the request."""
        given = self.input.values() if isinstance(self.input, Mapping) else (self.input, self.each)
        return any(wire is not None and wire.is_of_request for wire in (*given, *self.others))


def parse_step(step: Step) -> StepWires:
    given = step.input
    texts = (step.picture, step.boxes) if step.do == "crop" else (step.vectors, step.others)
    return StepWires(
        step,
        {name: parse_wire(text) for name, text in given.items()}
        if isinstance(given, Mapping)
        else (None if given is None else parse_wire(given)),
        None if step.each is None else parse_wire(step.each),
        None if step.when is None else parse_condition(step.when),
        tuple(parse_wire(text) for text in texts if text is not None),
    )


def show(wire: Wire, row: int) -> str:
    """A wire as a message about a row of the request shows it."""
    return str(wire._replace(source=f"inputs[{row}]")) if wire.is_of_request else str(wire)


Places = Sequence[tuple[int, int]]
"""For each row of a step: the row of the request, and the position in a list of that row, or -1."""


class Taken(NamedTuple):
    """The rows of a step."""

    rows: list[Any]
    places: list[tuple[int, int]]


class Values:
    """The values of one request."""

    def __init__(self, pipeline: Pipeline, rows: Sequence[Any]) -> None:
        self._rows: list[dict[str, Any]] = [{REQUEST: row} for row in rows]
        self._outputs = {name: parse_wire(text) for name, text in pipeline.outputs.items()}

    def look(self, row: int, wire: Wire) -> Any:
        """The value of a wire for a row of the request; None if it is missing."""
        return follow(self._rows[row].get(wire.source), wire.path)

    def take(self, name: str, wires: StepWires) -> Taken:
        """The rows of a step that has a model. The answer to a row that the step does not take stays null.

        Raises InvalidInput if the caller's row is at fault, ModelFailure if the answer of a step is, BodyTooLarge.
        """
        taken = Taken([], [])
        looked_at = 0
        for at, values in enumerate(self._rows):
            applies = self._make_test(at, wires)
            if wires.each is None:
                values[name] = None
                if applies(-1):
                    value = self._assemble(at, wires)
                    if value is not None:
                        taken.rows.append(value)
                        taken.places.append((at, -1))
                continue
            elements = _as_list(self.look(at, wires.each))
            values[name] = None
            if elements is None:
                continue
            if not isinstance(elements, list):
                error = InvalidInput if wires.each.is_of_request else ModelFailure
                raise error(f"{show(wires.each, at)}: expected an array, got {type_name(elements)}")
            looked_at += len(elements)
            _check_count(looked_at, _MOST_LOOKED_AT, wires.each)
            values[name] = [None] * len(elements)
            for position, element in enumerate(elements):
                if element is not None and applies(position):
                    taken.rows.append(element)
                    taken.places.append((at, position))
            _check_count(len(taken.rows), MOST_ELEMENTS, wires.each)
        return taken

    def put(self, name: str, taken: Taken, answers: Sequence[Any]) -> None:
        """Store the answers to the rows of a step."""
        for (at, position), answer in zip(taken.places, answers, strict=True):
            if position < 0:
                self._rows[at][name] = answer
            else:
                self._rows[at][name][position] = answer

    def take_operands(self, name: str, wires: StepWires) -> Taken:
        """The operands of an operation, for each row of the request that has all of them."""
        taken = Taken([], [])
        for at, values in enumerate(self._rows):
            values[name] = None
            found = [self.look(at, wire) for wire in wires.others] if self._make_test(at, wires)(-1) else [None]
            if all(value is not None for value in found):
                taken.rows.append(found)
                taken.places.append((at, -1))
        return taken

    def outputs(self) -> list[dict[str, Any]]:
        """The prediction for each row of the request."""
        return [{name: self.look(at, wire) for name, wire in self._outputs.items()} for at in range(len(self._rows))]

    def weigh_step(self, wires: StepWires) -> int:
        """The cost of ``take``, as ``run_in_thread`` counts. To find it is fast."""
        return self._weigh([wire for wire in (wires.each, *wires.others) if wire is not None])

    def weigh_outputs(self) -> int:
        """The cost of ``outputs``, as ``run_in_thread`` counts."""
        return self._weigh(self._outputs.values())

    def _weigh(self, wires: Iterable[Wire]) -> int:
        if len(self._rows) * VALUE_BYTES > SLOW_BYTES:
            return len(self._rows) * VALUE_BYTES
        counts = [count_elements(row.get(wire.source), wire.path) for row in self._rows for wire in wires]
        return (len(self._rows) + sum(counts)) * VALUE_BYTES

    def _make_test(self, at: int, wires: StepWires) -> Callable[[int], bool]:
        """A test whether the step applies to a row, or to the element at a position. It follows each wire once."""
        when, each = wires.when, wires.each
        if when is None:
            return lambda position: True
        found: dict[Wire, Any] = {}

        def look(position: int, wire: Wire) -> Any:
            if wire not in found:
                found[wire] = self.look(at, wire)
                if each is not None and wire.has_each:
                    self._check_length(at, each, wire, found[wire])
            value = found[wire]
            return value if position < 0 or not wire.has_each or value is None else value[position]

        return lambda position: holds(when, functools.partial(look, position))

    def _check_length(self, at: int, each: Wire, wire: Wire, value: Any) -> None:
        """Raises InvalidInput if two lists of the caller differ in length, ModelFailure if other lists do."""
        wanted = len(self.look(at, each))
        if value is not None and len(value) != wanted:
            error = InvalidInput if each.is_of_request and wire.is_of_request else ModelFailure
            raise error(
                f"{show(wire, at)}: expected {wanted} elements, as many as {show(each, at)} has, got {len(value)}"
            )

    def _assemble(self, at: int, wires: StepWires) -> Any:
        """The row for the model: a value, or an object of several; None if a value is missing."""
        given = wires.input
        if not isinstance(given, Mapping):
            return None if given is None else _as_list(self.look(at, given))
        found = {name: _as_list(self.look(at, wire)) for name, wire in given.items()}
        return None if any(value is None for value in found.values()) else found


def _check_count(count: int, most: int, wire: Wire) -> None:
    if count > most:
        raise BodyTooLarge(
            f"expected at most {most} elements of {wire} in all rows together, got more: send fewer rows"
        )


def _as_list(value: Any) -> Any:
    """An array as a list; any other value as it is."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def gather_files(
    files: Sequence[RowFile], names: Sequence[str], fields: Sequence[str], lists: Collection[str]
) -> dict[str, Any]:
    """A row that is an object, from the files of a form. A file is the field of its name, or an element of that field.

    Raises InvalidInput.
    """
    row: dict[str, Any] = {name: [] for name in lists}
    for file, name in zip(files, names, strict=True):
        if name not in fields:
            raise InvalidInput(
                f"{file.where}: expected files called {' and '.join(fields)}, got one called {name!r:.60}"
            )
        if name in lists:
            row[name].append(file)
        elif name in row:
            raise InvalidInput(f"{file.where}: expected one file called {name}, got another")
        else:
            row[name] = file
    return row


def check_rows(rows: Sequence[Any], fields: Sequence[str]) -> None:
    """Raises InvalidInput for rows that the pipeline does not take: it takes objects with ``fields``, or any values if
    there are none."""
    wanted = set(fields)
    for at, row in enumerate(rows):
        if isinstance(row, dict) and row.keys() == wanted:
            continue
        if row is None:
            raise InvalidInput(f"inputs[{at}]: expected a row, got null")
        if not fields:
            continue
        where, got = describe_row(row, f"inputs[{at}]")
        expected = f"expected an object of {', '.join(fields)}"
        if not isinstance(row, dict):
            raise InvalidInput(f"{where}: {expected}, got {got}")
        if unknown := sorted(row.keys() - wanted):
            raise InvalidInput(f"{where}.{unknown[0]:.60}: unknown field: {expected}")
        if missing := [name for name in fields if name not in row]:
            raise InvalidInput(f"{where}.{missing[0]}: {expected}, and this one is missing")
