"""Checks of a pipeline by itself, without its models. Raises ValueError, which names the field."""

from collections.abc import Callable
from typing import NamedTuple

from model_store.pipelines.answers import ANYTHING, NUMBER, PICTURE, Form, find_forms, form_at, show_form
from model_store.pipelines.conditions import comparisons_of, kind_of, parse_condition, wires_of
from model_store.pipelines.facts import Pipeline, Step
from model_store.pipelines.names import suggest
from model_store.pipelines.order import all_wires, stages
from model_store.pipelines.wires import NAME, NAME_RULE, REQUEST, Wire, parse_wire

MOST_STEPS = 32

_NEEDED = {"crop": ("picture", "boxes"), "compare": ("vectors", "others")}
_OF_MODELS = ("version", "task", "options", "input", "each")
_OF_OPERATIONS = {"crop": ("picture", "boxes", "margin"), "compare": ("vectors", "others")}


def check_pipeline(pipeline: Pipeline) -> None:
    if not 0 < len(pipeline.steps) <= MOST_STEPS:
        raise ValueError(f"steps: expected 1 to {MOST_STEPS}, got {len(pipeline.steps)}")
    for name, step in pipeline.steps.items():
        if not NAME.fullmatch(name) or name == REQUEST:
            raise ValueError(f"steps: {name!r:.60} is no name of a step: expected {NAME_RULE}, and not {REQUEST!r}")
        _check_step(f"steps.{name}", step)
    if not pipeline.outputs:
        raise ValueError('outputs: expected what is answered, such as text = "read.text"')
    known = {REQUEST, *pipeline.steps}
    for where, wire in all_wires(pipeline):
        if wire.source not in known:
            raise ValueError(f"{where}: there is no step {wire.source!r:.60}{suggest(wire.source, known)}")
    for name, text in pipeline.outputs.items():
        if parse_wire(text).is_of_request:
            raise ValueError(f"outputs.{name}: {text} is what the caller has sent: expected the answer of a step")
    _check_rows(pipeline)
    order = [name for stage in stages(pipeline) for name in stage]
    _check_forms(pipeline)
    used = {wire.source for _, wire in all_wires(pipeline)}
    if idle := [name for name in order if name not in used]:
        raise ValueError(f"steps.{idle[0]}: nothing uses its answer: name it in outputs, or remove the step")


def _check_step(where: str, step: Step) -> None:
    fields = type(step).model_fields.items()
    given = {name for name, field in fields if getattr(step, name) != field.default} - {"model", "do", "when"}
    if (step.model is None) == (step.do is None):
        got = "both" if step.model else "neither"
        raise ValueError(f"{where}: expected either model, or do with the name of an operation, got {got}")
    if step.do is not None:
        for field in _NEEDED[step.do]:
            if getattr(step, field) is None:
                raise ValueError(f"{where}.{field}: expected a wire, because the step does {step.do}, got none")
        if foreign := sorted(given - {*_OF_OPERATIONS[step.do]}):
            raise ValueError(f"{where}.{foreign[0]}: expected it not, because the step does {step.do}")
    else:
        if foreign := sorted(given - {*_OF_MODELS}):
            raise ValueError(f"{where}.{foreign[0]}: expected it not, because the step has a model")
        if step.task is None:
            raise ValueError(f"{where}.task: expected what the model does here, such as classify, got none")
        if (step.input is None) == (step.each is None):
            got = "both" if step.input else "neither"
            raise ValueError(
                f"{where}: expected either input, the wire of what the model takes, or each, that of a list, got {got}"
            )
        for field in ("model", "version", "stream"):
            if field in step.options:
                raise ValueError(f"{where}.options.{field}: expected it not: {_ADVICE[field]}")
    if step.when is not None and step.each is None:
        try:
            many = next((wire for wire in wires_of(parse_condition(step.when)) if wire.has_each), None)
        except ValueError as error:
            raise ValueError(f"{where}.when: {error}") from None
        if many is not None:
            raise ValueError(
                f"{where}.when: {many} is a list, and the step has no each: name one element, such as "
                f"{str(many).replace('[]', '[0]')}"
            )


_ADVICE = {
    "model": "it is the field of the step",
    "version": "it is the field of the step",
    "stream": "a step has one answer",
}


def _check_rows(pipeline: Pipeline) -> None:
    """Refuse a row that is a value in one place and an object of fields in another."""
    of_request = {str(wire): where for where, wire in all_wires(pipeline) if wire.is_of_request}
    if REQUEST in of_request and len(of_request) > 1:
        other = next(text for text in of_request if text != REQUEST)
        raise ValueError(
            f"{of_request[other]}: {other} is a field of the row, but {of_request[REQUEST]} takes the whole row: let "
            f"both name fields, such as {REQUEST}.photo"
        )
    if wrong := next((text for text in of_request if text.startswith(f"{REQUEST}[")), None):
        raise ValueError(f"{of_request[wrong]}: expected {REQUEST} or a field of it, such as {REQUEST}.photo: a row")


def _check_forms(pipeline: Pipeline) -> None:
    """Refuse wires to what no answer has, or to what cannot be used there."""
    forms = find_forms(pipeline)

    def find(where: str, wire: Wire) -> Form:
        try:
            return form_at(wire, forms[wire.source])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    for where, wire in all_wires(pipeline):
        found = find(where, wire)
        field = where.rpartition(".")[2]
        if where.startswith("steps.") and field in _EXPECTED and not _EXPECTED[field].fits(found):
            raise ValueError(f"{where}: expected {_EXPECTED[field].text}, but {wire} is {show_form(found)}")
    for name, step in pipeline.steps.items():
        if step.vectors is not None:
            source = parse_wire(step.vectors).source
            if source == REQUEST or pipeline.steps[source].task != "embed":
                raise ValueError(
                    f"steps.{name}.vectors: expected vectors of a step with the task embed, whose model says how they "
                    f"are compared, got {step.vectors}"
                )
        if step.when is None:
            continue
        where = f"steps.{name}.when"
        for wire, compared, constant in comparisons_of(parse_condition(step.when)):
            found = find(where, wire)
            found = found[0] if wire.has_each and isinstance(found, list) else found
            if found not in (ANYTHING, kind_of(constant)):
                raise ValueError(f"{where}: {wire} {compared} {constant!r}: {wire} is {show_form(found)}")


class _Expected(NamedTuple):
    text: str
    fits: Callable[[Form], bool]


def _is_list_of_boxes(form: Form) -> bool:
    if not isinstance(form, list):
        return bool(form == ANYTHING)
    element = form[0]
    if isinstance(element, list):
        return element[0] in (NUMBER, ANYTHING) or (isinstance(element[0], dict) and {"x", "y"} <= element[0].keys())
    return element == ANYTHING or (isinstance(element, dict) and "box" in element)


_VECTORS = _Expected(
    "a list of vectors, such as known[].embedding", lambda form: form in (ANYTHING, [ANYTHING], [[NUMBER]])
)
_EXPECTED = {
    "each": _Expected("a list", lambda form: form == ANYTHING or isinstance(form, list)),
    "picture": _Expected("a picture", lambda form: form in (ANYTHING, PICTURE)),
    "boxes": _Expected("a list of boxes, such as find.detections", _is_list_of_boxes),
    "vectors": _VECTORS,
    "others": _VECTORS,
}
