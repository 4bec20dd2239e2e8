"""The OpenAPI document as records and tasks, from which types are written in a language.

Only what our document uses is understood; anything else is a ValueError, so that no client gets a type that says less.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

JSON = "application/json"
_EVENTS = "text/event-stream"
_SCALARS = ("string", "number", "integer", "boolean", "null")


@dataclass(frozen=True)
class Scalar:
    """``name``: a type of JSON schema, or ``any``."""

    name: str


@dataclass(frozen=True)
class Literals:
    values: tuple[str | bool, ...]


@dataclass(frozen=True)
class Ref:
    name: str


@dataclass(frozen=True)
class ListOf:
    item: "Type"


@dataclass(frozen=True)
class MapOf:
    item: "Type"


@dataclass(frozen=True)
class Union:
    choices: tuple["Type", ...]


Type: TypeAlias = Scalar | Literals | Ref | ListOf | MapOf | Union
ANY, NULL = Scalar("any"), Scalar("null")


class Field(NamedTuple):
    name: str
    type: Type
    required: bool
    description: str


class Record(NamedTuple):
    """``is_open``: it may have more fields."""

    name: str
    description: str
    fields: tuple[Field, ...]
    is_open: bool


class Alias(NamedTuple):
    """A name for a type that is no record."""

    name: str
    description: str
    type: Type


class Task(NamedTuple):
    """A task route. ``events``: the type of the events of its stream, if there are any before the answer.

    ``picture`` and ``sound`` describe the answer as one file, where there is one.
    """

    name: str
    summary: str
    takes_rows: bool
    options: Record
    answer: str
    events: str | None
    picture: str | None
    sound: str | None


def read_schemas(document: Mapping[str, Any], roots: Iterable[str]) -> dict[str, Record | Alias]:
    """The schemas of these names and all that they use, each after those that it uses."""
    schemas = document["components"]["schemas"]
    found: dict[str, Record | Alias] = {}
    begun: set[str] = set()

    def add(name: str) -> None:
        if name in begun:  # a recursive type may name itself
            return
        begun.add(name)
        made = _read_schema(name, schemas[name])
        for used in sorted(set(names_of(made))):
            add(used)
        found[name] = made

    for root in roots:
        add(root)
    return found


def read_tasks(document: Mapping[str, Any]) -> list[Task]:
    """The task routes, in the order of the document."""
    schemas = document["components"]["schemas"]
    tasks = []
    for path, methods in document["paths"].items():
        operation = methods.get("post", {})
        if "tasks" not in operation.get("tags", ()):
            continue
        request = operation["requestBody"]["content"][JSON]["schema"]["$ref"].rpartition("/")[2]
        answers = operation["responses"]["200"]["content"]
        answer = answers[JSON]["schema"]["$ref"].rpartition("/")[2]
        events = answer.removesuffix("Answer") + "Event"
        record = _read_schema(request, schemas[request])
        assert isinstance(record, Record)  # noqa: S101  # requests of tasks are objects
        tasks.append(
            Task(
                path.removeprefix("/"),
                operation["summary"],
                any(field.name == "inputs" for field in record.fields),
                record,
                answer,
                events if events in schemas and _EVENTS in answers else None,
                _describe_file(answers, "image/png"),
                _describe_file(answers, "audio/wav"),
            )
        )
    return tasks


def _describe_file(answers: Mapping[str, Any], media_type: str) -> str | None:
    return str(answers[media_type]["schema"]["description"]) if media_type in answers else None


def _read_schema(name: str, schema: Mapping[str, Any]) -> Record | Alias:
    about = schema.get("description", "").replace("\n", " ")
    if "properties" not in schema:
        return Alias(name, about, read_type(schema))
    required = schema.get("required", ())
    fields = tuple(
        Field(key, read_type(value), key in required, " ".join(value.get("description", "").split()))
        for key, value in schema["properties"].items()
    )
    return Record(name, about, fields, bool(schema.get("additionalProperties", False)))


def read_type(schema: Mapping[str, Any]) -> Type:
    """The type that a schema describes. Raises ValueError for what is not understood."""
    if "$ref" in schema:
        return Ref(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return unite(read_type(choice) for choice in schema["anyOf"])
    if "const" in schema:
        return Literals((schema["const"],))
    if "enum" in schema:
        return Literals(tuple(schema["enum"]))
    kind = schema.get("type")
    if kind is None:
        return ANY
    if isinstance(kind, list):
        return unite(Scalar(each) for each in kind)
    if kind == "array":
        return ListOf(read_type(schema.get("items", {})))
    if kind == "object":
        more = schema.get("additionalProperties", True)
        return MapOf(read_type(more) if isinstance(more, Mapping) else ANY)
    if kind in _SCALARS:
        return Scalar(kind)
    raise ValueError(f"type {kind!r} is not understood")


def unite(types: Iterable[Type]) -> Type:
    """One type of several, without repetitions and unions inside; null is the last."""
    flat: list[Type] = []
    for each in types:
        flat += each.choices if isinstance(each, Union) else (each,)
    choices = [each for i, each in enumerate(flat) if each not in flat[:i] and each != NULL]
    choices += [NULL] if NULL in flat else []
    return choices[0] if len(choices) == 1 else Union(tuple(choices))


def names_of(of: Record | Alias) -> Iterator[str]:
    """The names of the schemas that a schema uses."""
    for each in [field.type for field in of.fields] if isinstance(of, Record) else [of.type]:
        yield from _names_in(each)


def _names_in(of: Type) -> Iterator[str]:
    if isinstance(of, Ref):
        yield of.name
    elif isinstance(of, ListOf | MapOf):
        yield from _names_in(of.item)
    elif isinstance(of, Union):
        for choice in of.choices:
            yield from _names_in(choice)
