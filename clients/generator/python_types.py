"""Dataclasses of answers and TypedDicts of options."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from clients.generator.schemas import (
    NULL,
    Alias,
    Field,
    ListOf,
    Literals,
    MapOf,
    Record,
    Ref,
    Scalar,
    Task,
    Type,
    Union,
    read_schemas,
    read_tasks,
    unite,
)

WIDTH = 120
HEAD = '"""{about}\n\nWritten by ``make client-types`` from the OpenAPI document: do not edit.\n"""\n'
_SCALARS = {"string": "str", "number": "float", "integer": "int", "boolean": "bool", "null": "None", "any": "Any"}
_FILES = {"EncodedPicture": "Picture", "EncodedSound": "Sound"}
_NUMBERS = "Numbers"
BASE64: Mapping[tuple[str, str], str] = {
    ("Explanation", "image"): "Picture",
    ("Mask", "image"): "Picture",
    ("EmbedPrediction", "embedding"): "Array",
    ("EmbeddedPart", "embedding"): "Array",
    ("SegmentPrediction", "mask"): "Array | Picture",
}
"""Fields that the client decodes further than their type says: (record, field) -> its type."""
_ROWS: Mapping[tuple[str, str], str] = {("EmbedRequest", "compare"): "Rows | None"}
"""Options that hold rows."""
_ALTERNATIVES = {
    "Classification": "classifications",
    "TaggedText": "tagged_texts",
    "ForecastPrediction": "forecasts",
    "TextPrediction": "texts",
    "Array": "arrays",
    "Picture": "pictures",
    "Sound": "sounds",
}
"""The name of the property that has a list whose items may be of several types, as a list of one of them."""
_PROTOCOL = ("Cards", "ModelMetadata", "PipelineMetadata")


def write_answers(document: Mapping[str, Any]) -> dict[str, str]:
    """The dataclasses of what the tasks answer, and of what is in them."""
    tasks = read_tasks(document)
    whole = {name for task in tasks for name in (task.answer, task.events) if name}
    answers = {task.answer for task in tasks}
    parts = {of.name: of for of in read_schemas(document, sorted(whole)).values() if _is_own(of)}
    inner = [name for name in parts if name not in whole]
    imports = (
        "from dataclasses import dataclass, field\nfrom typing import Any, Literal, TypeAlias\n\nimport numpy as np\n\n"
    )
    ours = (
        "from sluice_client.chosen import only\nfrom sluice_client.files import Array, Picture, Sound\n"
        "from sluice_client.meta import Meta\n"
    )
    details = "from sluice_client.api.details import (\n" + "".join(f"    {name},\n" for name in inner) + ")\n"
    return {
        "details.py": _file("What answers are made of.", imports + ours, [_declare(parts[n], answers) for n in inner]),
        "answers.py": _file(
            "What the tasks answer.",
            imports + details + ours,
            [_declare(of, answers) for name, of in parts.items() if name in whole],
        ),
    }


def write_protocol(document: Mapping[str, Any]) -> str:
    """The dataclasses of cards and of metadata."""
    imports = "from dataclasses import dataclass\nfrom typing import Any, Literal\n"
    records = read_schemas(document, _PROTOCOL).values()
    return _file("Model cards, and what models take and give.", imports, [_declare(of, ()) for of in records])


def write_options(document: Mapping[str, Any]) -> str:
    """The TypedDicts of options."""
    imports = (
        "from collections.abc import Sequence\nfrom typing import Any, Literal, TypedDict\n\n"
        "from sluice_client.wire.rows import Rows\n"
    )
    common = (
        Field("timeout_s", unite([Scalar("number"), NULL]), False, "seconds for this call, in place of the client's"),
        Field("request_id", Scalar("string"), False, "to find the request in the log of the server; default: its own"),
    )
    parts = [_typed_dict("CallOptions", Record("", "What every call may have.", common, False), "TypedDict")]
    requests = [task.options.name for task in read_tasks(document)]
    for name, of in read_schemas(document, requests).items():
        if isinstance(of, Record) and name not in requests and name not in _FILES and name != "Series":
            parts.append(_typed_dict(name, of, "TypedDict"))
    parts += [_typed_dict(options_of(task), task.options, "CallOptions") for task in read_tasks(document)]
    tensors = read_schemas(document, ["InferParameters", "OutputParameters"])
    parts += [_typed_dict(of.name, of, "TypedDict") for of in tensors.values() if isinstance(of, Record)]
    return _file("What calls may be asked for.", imports, parts)


def options_of(task: Task) -> str:
    """The name of the TypedDict of a task's options."""
    return task.options.name.removesuffix("Request") + "Options"


def own_options(of: Record) -> Iterator[Field]:
    """The fields of a request that are keywords of a method."""
    return (field for field in of.fields if field.name not in ("inputs", "stream"))


def _file(about: str, imports: str, parts: Iterable[str]) -> str:
    return "\n".join([HEAD.format(about=about), imports, *("\n" + part for part in parts)])


def _is_own(of: Record | Alias) -> bool:
    return of.name not in _FILES and of.name != _NUMBERS


def _declare(of: Record | Alias, answers: Iterable[str]) -> str:
    if isinstance(of, Alias):
        return f"{of.name}: TypeAlias = {render(of.type)}\n"
    kinds = {field.name: BASE64.get((of.name, field.name)) or render(field.type) for field in of.fields}
    equal = ", eq=False" if any("Array" in kind for kind in kinds.values()) else ""  # arrays have no one truth
    lines = [f"@dataclass(frozen=True, kw_only=True, slots=True{equal})", f"class {of.name}:"]
    lines += _docstring(of.description) or [f'    """{_about(of, answers)}"""', ""]
    for field in of.fields:
        kind = kinds[field.name]
        optional = kind if kind.endswith("None") else f"{kind} | None"
        lines.append(f"    {field.name}: {kind}" if field.required else f"    {field.name}: {optional} = None")
        lines += _docstring(field.description)
    if of.name in answers:
        lines.append("    meta: Meta = field(default_factory=Meta, compare=False, repr=False)")
    for field in of.fields:
        lines += _alternatives(field)
    return "\n".join(lines).rstrip() + "\n"


def _about(of: Record, answers: Iterable[str]) -> str:
    if of.name in answers:
        return "The answer, and the model version that gave it."
    return f"Fields: {', '.join(field.name for field in of.fields)}."


def _alternatives(field: Field) -> Iterator[str]:
    """Properties for each type of the items of a list."""
    if not isinstance(field.type, ListOf) or not isinstance(field.type.item, Union):
        return
    for kind in render(field.type.item).split(" | "):
        yield ""
        yield "    @property"
        yield f"    def {_ALTERNATIVES[kind]}(self) -> list[{kind}]:"
        yield f'        """The {field.name}, if they are of this kind. Raises TypeError for others."""'
        runtime = "np.ndarray" if kind == "Array" else kind
        yield f"        return only({runtime}, self.{field.name})"


def _typed_dict(name: str, of: Record, base: str) -> str:
    lines = [f"class {name}({base}, total=False):", *(_docstring(of.description) or [])]
    if len(lines) == 1:
        lines += [f'    """The options of ``{of.name}``."""', ""]
    for field in own_options(of):
        kind = _ROWS.get((of.name, field.name)) or render(field.type, "Sequence")
        lines.append(f"    {field.name}: {kind}")
        lines += _docstring(field.description)
    return "\n".join(lines).rstrip() + "\n"


def _docstring(text: str, indent: str = "    ") -> list[str]:
    if not text:
        return []
    words = text.replace("\\", "\\\\").rstrip(".").replace('"', "'")
    words = words[0].upper() + words[1:]
    if len(words) <= WIDTH - len(indent) - 7:
        return [f'{indent}"""{words}."""', ""]
    lines = textwrap.wrap(f'"""{words}.', WIDTH - len(indent))
    return [indent + line for line in lines] + [f'{indent}"""', ""]


def render(of: Type, sequence: str = "list") -> str:
    """A type as Python writes it."""
    match of:
        case Scalar(name):
            return _SCALARS[name]
        case Literals(values):
            return f"Literal[{', '.join(map(repr, values)).replace(chr(39), chr(34))}]"
        case Ref(name):
            return _FILES.get(name) or ("Array" if name == _NUMBERS else name)
        case ListOf(item):
            return f"{sequence}[{render(item, sequence)}]"
        case MapOf(item):
            return f"dict[str, {render(item, sequence)}]"
        case Union(choices):
            return " | ".join(dict.fromkeys(render(choice, sequence) for choice in choices))


def wrap(text: str, first: str, indent: str) -> Sequence[str]:
    """A text over several lines."""
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=indent)
