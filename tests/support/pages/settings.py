"""docs/reference/settings.md, from `service/settings/` and the flags of `sluice serve`."""

import argparse
from typing import Any

from service.cli import serve_arguments
from service.settings import PREFIX, Settings
from tests.support.pages.markdown import as_code, join_page, make_table

_KINDS = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}
_DEFAULTS = {"store": "the reference models"}


def write_settings() -> str:
    schema = Settings.model_json_schema()
    flags = _list_flags()
    rows = [
        (
            as_code(PREFIX + name.upper()),
            as_code(flags.get(name, "")),
            _describe_kind(field) + _describe_limits(name),
            _DEFAULTS.get(name) or _describe_default(field),
            field["description"],
        )
        for name, field in schema["properties"].items()
    ]
    return join_page(
        "Settings",
        "Every setting of `sluice serve`. [Running the server](../running.md) says in which ways a setting is given: a "
        "flag, an environment variable, a file of secrets, or a TOML file. In TOML a setting has its name in lower "
        "case, without the prefix. Limits have their unit in the name: `_S` is seconds.",
        make_table(("variable", "flag", "value", "default", ""), rows),
    )


def _list_flags() -> dict[str, str]:
    parser = argparse.ArgumentParser()
    serve_arguments(parser)
    return {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}


def _describe_kind(field: dict[str, Any]) -> str:
    for choice in field.get("anyOf", ()):
        if choice["type"] != "null":
            return _describe_kind(choice)
    if "enum" in field:
        return ", ".join(map(as_code, field["enum"]))
    if field["type"] == "array":
        return "list"
    if field["type"] == "object":
        return "pairs"
    if field.get("format") == "path":
        return "path"
    if field.get("format") == "password":
        return "secret"
    return _KINDS[field["type"]]


def _describe_limits(name: str) -> str:
    said = {type(each).__name__: each for each in Settings.model_fields[name].metadata}
    least = said["Ge"].ge if "Ge" in said else None
    if "Le" in said:
        return f", {least} to {said['Le'].le}"
    return "" if least is None else f", {least} or more"


def _describe_default(field: dict[str, Any]) -> str:
    default = field.get("default")
    if isinstance(default, bool):
        return as_code(str(default).lower())
    return "" if default in (None, "", [], {}) else as_code(default)
