"""Finds which steps of a pipeline need which, and the order in which they can run."""

from collections.abc import Iterator, Mapping, Sequence

from model_store.pipelines.conditions import parse_condition, wires_of
from model_store.pipelines.facts import Pipeline, Step
from model_store.pipelines.wires import REQUEST, Wire, parse_wire

FIELDS = ("input", "each", "picture", "boxes", "vectors", "others", "when")
"""The fields of a step that have wires."""


def wires(step: Step) -> Iterator[tuple[str, Wire]]:
    """The wires of a step, each with the name of its field. Raises ValueError, which names the field."""
    for field in FIELDS:
        value = getattr(step, field)
        texts = value if isinstance(value, Mapping) else {"": value}
        for name, text in texts.items():
            where = f"{field}.{name}" if name else field
            if text is None:
                continue
            try:
                found = [*wires_of(parse_condition(text))] if field == "when" else [parse_wire(text)]
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            yield from ((where, wire) for wire in found)


def all_wires(pipeline: Pipeline) -> Iterator[tuple[str, Wire]]:
    """Every wire of a pipeline, with its field. Raises ValueError for one that cannot be read."""
    for name, step in pipeline.steps.items():
        try:
            for field, wire in wires(step):
                yield f"steps.{name}.{field}", wire
        except ValueError as error:
            raise ValueError(f"steps.{name}.{error}") from None
    for name, text in pipeline.outputs.items():
        try:
            yield f"outputs.{name}", parse_wire(text)
        except ValueError as error:
            raise ValueError(f"outputs.{name}: {error}") from None


def fields_of_rows(pipeline: Pipeline) -> list[str]:
    """The fields of a row of the request, in the order of the file; none if the row is a value itself."""
    found = (wire.path[0] for _, wire in all_wires(pipeline) if wire.is_of_request and wire.path)
    return list(dict.fromkeys(str(name) for name in found))


def needs(step: Step) -> frozenset[str]:
    """The steps whose answers a step needs."""
    return frozenset(wire.source for _, wire in wires(step)) - {REQUEST}


def stages(pipeline: Pipeline) -> list[list[str]]:
    """The steps in order. Those in one stage do not need each other. Raises ValueError for a cycle."""
    left = {name: needs(step) for name, step in pipeline.steps.items()}
    found: list[list[str]] = []
    while left:
        stage = [name for name, needed in left.items() if needed.isdisjoint(left)]
        if not stage:
            raise ValueError(f"steps: expected no circle, got {' <- '.join(_find_circle(left))}")
        found.append(stage)
        for name in stage:
            del left[name]
    return found


def _find_circle(left: Mapping[str, frozenset[str]]) -> Sequence[str]:
    """Steps that need each other in a cycle, the first one repeated at the end. Each of ``left`` needs another one."""
    path = [min(left)]
    while True:
        name = min(left[path[-1]] & left.keys())
        if name in path:
            return [*path[path.index(name) :], name]
        path.append(name)
