"""Types of TypeScript: an interface for each record, and a table of the tasks."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from clients.generator.schemas import (
    Alias,
    ListOf,
    Literals,
    MapOf,
    Record,
    Ref,
    Scalar,
    Task,
    Type,
    Union,
    names_of,
    read_schemas,
    read_tasks,
)

HEAD = "// Written by `make client-types` from the OpenAPI document: do not edit.\n"
_NAMES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}
_PROTOCOL = ("Cards", "Error", "InferRequest", "InferAnswer", "ModelMetadata", "PipelineMetadata", "ServerMetadata")


def write_files(document: Mapping[str, Any]) -> dict[str, str]:
    """The files by name. What several files use is in the first of them."""
    tasks = read_tasks(document)
    roots = {
        "answers": [name for task in tasks for name in (task.answer, task.events) if name],
        "requests": [task.options.name for task in tasks],
        "protocol": [*_PROTOCOL],
    }
    files: dict[str, str] = {}
    home: dict[str, str] = {}
    for file, names in roots.items():
        own = {name: of for name, of in read_schemas(document, names).items() if name not in home}
        home |= dict.fromkeys(own, file)
        parts = [HEAD, *_imports(file, own, home)]
        parts += [part for of in own.values() for part in (_declare(of), "")]
        files[f"{file}.ts"] = "\n".join(parts)
    names = sorted(name for name, file in home.items() if file in ("answers", "requests") and name in _named(tasks))
    files["tasks.ts"] = "\n".join([HEAD, *_import(names, home), "", _table(tasks)])
    return files


def _named(tasks: Iterable[Task]) -> set[str]:
    return {name for task in tasks for name in (task.options.name, task.answer, task.events) if name}


def _imports(file: str, own: Mapping[str, Record | Alias], home: Mapping[str, str]) -> Iterator[str]:
    used = {name for of in own.values() for name in names_of(of) if home[name] != file}
    if used:
        yield from _import(sorted(used), home)
        yield ""


def _import(names: Iterable[str], home: Mapping[str, str]) -> Iterator[str]:
    for file in dict.fromkeys(home[name] for name in names):
        listed = ", ".join(name for name in names if home[name] == file)
        yield f'import type {{ {listed} }} from "./{file}.js";'


def _declare(of: Record | Alias) -> str:
    about = f"/** {of.description} */\n" if of.description else ""
    if isinstance(of, Alias):
        return f"{about}export type {of.name} = {render(of.type)};"
    return f"{about}export interface {of.name} {{\n" + "\n".join(_members(of)) + "\n}"


def _members(of: Record) -> Iterator[str]:
    for field in of.fields:
        if field.description:
            yield f"  /** {field.description} */"
        yield f"  {field.name}{'' if field.required else '?'}: {render(field.type)};"
    if of.is_open:
        yield "  [name: string]: unknown;"


def _table(tasks: list[Task]) -> str:
    rows = [
        f"  {task.name}: {{ request: {task.options.name}; answer: {task.answer}; event: {task.events or 'never'} }};"
        for task in tasks
    ]
    about = "/** Task -> its request, its answer, and the events of its stream. */"
    return "\n".join([about, "export interface Tasks {", *rows, "}", ""])


def render(of: Type) -> str:
    """A type as TypeScript writes it."""
    match of:
        case Scalar("any"):
            return "unknown"
        case Scalar(name):
            return _NAMES[name]
        case Literals(values):
            return " | ".join(json.dumps(value) for value in values)
        case Ref(name):
            return name
        case ListOf(item):
            inner = render(item)
            return f"({inner})[]" if " | " in inner else f"{inner}[]"
        case MapOf(item):
            return f"Record<string, {render(item)}>"
        case Union(choices):
            return " | ".join(dict.fromkeys(render(choice) for choice in choices))
