"""Checks whether the models of a store fit the steps of a pipeline."""

from collections.abc import Iterator, Mapping

from model_store.errors import StoreError
from model_store.graph import MAIN
from model_store.manifest import Manifest
from model_store.pipelines.answers import ANYTHING, NUMBER, PICTURE, TEXT, Form, find_forms, form_at, show_form
from model_store.pipelines.facts import Pipeline, Step
from model_store.pipelines.names import suggest
from model_store.pipelines.wires import parse_wire
from model_store.store import Store


def find_faults(pipeline: Pipeline, store: Store) -> Iterator[str]:
    """What is wrong with the steps, one text each. Raises OSError if the store cannot be read."""
    known = store.names()
    forms = find_forms(pipeline)
    for name, step in pipeline.steps.items():
        if step.model is None:
            continue
        if not known:
            yield f"steps.{name}.model: no model {step.model!r:.120}: there are no models in {store.root}"
            continue
        if step.model not in known:
            yield f"steps.{name}.model: no model {step.model!r:.120} in {store.root}{suggest(step.model, known)}"
            continue
        try:
            version = store.find(step.model, step.version)
            manifest = None if version.is_plain else version.read_manifest()
        except StoreError as error:
            yield f"steps.{name}.{'version' if step.version else 'model'}: {error}"
            continue
        fault = _find_fault(step, manifest, forms)
        if fault:
            yield f"steps.{name}.{fault}"


def _find_fault(step: Step, manifest: Manifest | None, forms: Mapping[str, Form]) -> str:
    """What is wrong with a step, beginning with the name of the field; "" if nothing is."""
    if manifest is None:
        return f"model: {step.model!r} has no manifest, so it does no task: publish it with `sluice export` or `import`"
    if manifest.pipeline is not None:
        return f"model: {step.model!r} is a pipeline, and a step is a model: name its steps here"
    if step.task not in manifest.tasks:
        return f"task: model {step.model!r} does {' and '.join(sorted(manifest.tasks))}, not {step.task}"
    if isinstance(step.input, Mapping):
        names = _names(manifest)
        if not names:
            return f"input: model {step.model!r} takes {_takes(manifest)[0]}: expected one wire, got one for each name"
        for name in step.input:
            if name not in names:
                return f"input.{name}: model {step.model!r} takes no {name!r:.60}{suggest(name, names)}"
        for name, text in step.input.items():
            wire = parse_wire(text)
            form, fits = form_at(wire, forms[wire.source]), _takes_by_name(manifest, name)
            if form != ANYTHING and fits is not None and form != fits:
                return f"input.{name}: model {step.model!r} takes a {fits}, but {wire} is {show_form(form)}"
        return ""
    field = "input" if step.input is not None else "each"
    wire = parse_wire(str(step.input or step.each))
    form = form_at(wire, forms[wire.source])
    form = form[0] if field == "each" and isinstance(form, list) else form
    text, fits = _takes(manifest)
    if form == ANYTHING or form in fits:
        return ""
    subject = f"{wire}" if field == "input" else f"an element of {wire}"
    return f"{field}: model {step.model!r} takes {text}, but {subject} is {show_form(form)}"


def _names(manifest: Manifest) -> list[str]:
    """The fields of a row that is an object."""
    if manifest.table is not None:
        return [column.name for column in manifest.table.columns]
    if manifest.forecast is not None or manifest.text is not None or manifest.tokens is not None:
        return []
    inputs = manifest.graphs[MAIN].inputs
    return [tensor.name for tensor in inputs] if len(inputs) > 1 else []


def _takes_by_name(manifest: Manifest, name: str) -> Form | None:
    """The form of the values of a column; None if the model has no such column."""
    if manifest.table is None:
        return None
    column = next(column for column in manifest.table.columns if column.name == name)
    tensor = next(tensor for tensor in manifest.graphs[MAIN].inputs if tensor.name == column.input)
    return TEXT if tensor.datatype == "BYTES" or any(isinstance(value, str) for value in column.values) else NUMBER


def _takes(manifest: Manifest) -> tuple[str, tuple[Form, ...]]:
    """A row of the model in words, and the forms that it may have."""
    names = _names(manifest)
    if names:
        return f"an object of {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}", ()
    if manifest.image is not None:
        return "a picture", (PICTURE,)
    if manifest.tokens is not None or manifest.text is not None:
        return "a text", (TEXT,)
    if manifest.sound is not None:
        return "a sound", ()
    return "numbers", ([NUMBER], NUMBER)
