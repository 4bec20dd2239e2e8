"""docs/reference/routes.md, from the OpenAPI document that the server publishes at /docs.json."""

from collections.abc import Iterator, Mapping
from typing import Any

from service.api.openapi.document import make_document
from tests.support.pages.markdown import as_code, join_page, make_table

_GROUPS = {
    "tasks": "Tasks",
    "protocol": "Open Inference Protocol",
    "kserve": "KServe, OpenAI",
    "information": "Information",
    "administration": "Administration",
}
_OF_VERSION = "/versions/{version}"
_JSON = "application/json"


def write_routes() -> str:
    document = make_document("")
    parts = [part for tag, title in _GROUPS.items() for part in _describe_group(document, tag, title)]
    schemas = document["components"]["schemas"]
    types = [part for name in sorted(schemas) for part in _describe_type(name, schemas[name])]
    return join_page(
        "Routes",
        "What the server publishes at `/docs.json` as an OpenAPI document, and at `/docs` as a page with examples that "
        "run. With `SLUICE_BASE_PATH` every path begins with that prefix. Options of a task go into the body or into "
        "the query string. [Errors](errors.md) says what each status means; [the protocol](../protocol.md) says where "
        "Sluice differs from others.",
        *parts,
        "## Types",
        *types,
    )


def _describe_group(document: Mapping[str, Any], tag: str, title: str) -> Iterator[str]:
    yield f"## {title}"
    paths = set(document["paths"])
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"] and _OF_VERSION not in path:
                yield f"### {method.upper()} {path}"
                yield operation["summary"] + "."
                yield operation.get("description", "")
                of_version = path.replace("{model}", "{model}" + _OF_VERSION)
                yield f"`{of_version}` asks one version." if {of_version} & paths - {path} else ""
                yield _list_parameters(operation)
                yield _list_bodies(operation)


def _list_parameters(operation: Mapping[str, Any]) -> str:
    """The parameters, without those that are also in the body."""
    body = operation.get("requestBody", {}).get("content", {}).get(_JSON, {}).get("schema", {})
    rows = [
        (as_code(each["name"]), each["in"], each.get("description", ""))
        for each in operation.get("parameters", ())
        if each["in"] == "header" or (each["in"] == "query" and not body)
    ]
    return make_table(("parameter", "in", ""), rows) if rows else ""


def _list_bodies(operation: Mapping[str, Any]) -> str:
    body, answer = operation.get("requestBody", {}), operation["responses"]["200"]
    rows = [(name, *_split_media(of.get("content", {}))) for name, of in (("body", body), ("answer", answer))]
    errors = ", ".join(sorted(status for status in operation["responses"] if status >= "400"))
    table = make_table(("", "JSON", "or"), [row for row in rows if row[1] or row[2]])
    return table + (f"\n\nErrors: {errors}." if errors else "")


def _split_media(content: Mapping[str, Any]) -> tuple[str, str]:
    others = ", ".join(as_code(kind) for kind in content if kind != _JSON)
    return _name_type(content[_JSON]["schema"]) if _JSON in content else "", others


def _describe_type(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}"
    yield schema.get("description", "").replace("``", "`")
    needed = schema.get("required", ())
    if "properties" not in schema:
        yield _name_type(schema)
        return
    yield make_table(
        ("field", "type", "default", ""),
        [
            (
                as_code(field),
                _name_type(of),
                "needed" if field in needed else _name_default(of),
                (of.get("description") or of.get("items", {}).get("description", "")).replace("``", "`"),
            )
            for field, of in schema["properties"].items()
        ],
    )


def _name_default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    return "" if default is None else as_code(str(default).lower() if isinstance(default, bool) else default)


def _name_type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(map(as_code, schema["enum"]))
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(_name_type(choice) for choice in schema[key] if choice.get("type") != "null")
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_name_type(schema['items'])}" if schema.get("items") else "list"
    if kind == "object":
        of = schema.get("additionalProperties")
        return f"object of {_name_type(of)}" if isinstance(of, Mapping) and of else "object"
    return str(kind) + _name_limits(schema)


def _name_limits(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    said = [f"{word} {schema[key]:g}" for key, word in signs.items() if key in schema]
    return f" {' '.join(said)}" if said else ""
