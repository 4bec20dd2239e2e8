"""Draws a pipeline: as plain text for a terminal, and as a Mermaid flowchart for pages."""

from collections.abc import Iterator, Mapping

from model_store.pipelines.facts import Pipeline, Step
from model_store.pipelines.order import stages, wires
from model_store.pipelines.wires import Wire, parse_wire


def describe_step(step: Step) -> str:
    """A step in words: ``detect by page-text (stable)``."""
    if step.do is not None:
        return step.do
    version = f" ({step.version})" if step.version else ""
    return f"{step.task} by {step.model}{version}"


def draw_text(pipeline: Pipeline) -> str:
    """A line for each step, in order. Steps with the same number run side by side."""
    rows = []
    for number, stage in enumerate(stages(pipeline), 1):
        for name in stage:
            step = pipeline.steps[name]
            rows.append((str(number), name, describe_step(step), "; ".join(_tell(step))))
    for name, wire in pipeline.outputs.items():
        rows.append(("=", name, wire, ""))
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _tell(step: Step) -> Iterator[str]:
    """The inputs of a step, and what it depends on."""
    for field, word in (("input", "from"), ("each", "for each of"), ("picture", "out of"), ("boxes", "at")):
        value = getattr(step, field)
        if isinstance(value, Mapping):
            yield f"{word} " + ", ".join(f"{name}: {wire}" for name, wire in value.items())
        elif value is not None:
            yield f"{word} {value}"
    if step.margin:
        yield f"with a margin of {step.margin:g}"
    if step.vectors is not None:
        yield f"{step.vectors} with {step.others}"
    if step.options:
        yield ", ".join(f"{name} {value}" for name, value in step.options.items())
    if step.when is not None:
        yield f"if {step.when}"


def draw_mermaid(pipeline: Pipeline) -> str:
    """A flowchart for https://mermaid.js.org: steps are boxes, conditions are dotted arrows."""
    lines = ["flowchart LR", "  request([request])"]
    for stage in stages(pipeline):
        for name in stage:
            step = pipeline.steps[name]
            each = "<br>for each" if step.each is not None else ""
            lines.append(f'  {_id(name)}["{name}<br>{_escape(describe_step(step))}{each}"]')
    lines += [f"  out_{_id(name)}([{_quote(name)}])" for name in pipeline.outputs]
    for name, step in pipeline.steps.items():
        lines += _arrows(step, _id(name))
    for name, text in pipeline.outputs.items():
        lines.append(_arrow(parse_wire(text), f"out_{_id(name)}", "-->"))
    return "\n".join(lines)


def _arrows(step: Step, to: str) -> list[str]:
    """The arrows to a step, each once, even if a condition needs the same as an input."""
    found: dict[str, None] = {}
    for field, wire in wires(step):
        found[_arrow(wire, to, "-.->" if field == "when" else "-->")] = None
    return list(found)


def _arrow(wire: Wire, to: str, arrow: str) -> str:
    path = str(wire)[len(wire.source) :].removeprefix(".")
    label = f"|{_quote(path)}|" if path else ""
    source = wire.source if wire.is_of_request else _id(wire.source)
    return f"  {source} {arrow}{label} {to}"


def _id(name: str) -> str:
    """A name for Mermaid that is none of its reserved words, such as ``end``."""
    return f"step_{name.replace('-', '_')}"


def _quote(text: str) -> str:
    return f'"{_escape(text)}"'


def _escape(text: str) -> str:
    return text.replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
