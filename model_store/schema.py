"""The schema of manifests: its number, its history, and how older schemas are read.

History

====== =========== ===================================================================================================
schema releases    what changed
====== =========== ===================================================================================================
1      0.1.0       the first. A manifest without a number has this schema. Fields were also added after the release,
                   before there were rules: always with a default, and none was taken away
2      0.2.0       all fields so far, and ``sluice``: the release that wrote the manifest, so that an older one can
                   name it
====== =========== ===================================================================================================

Rules
- The number rises with the first change after a release that this release could not read: a new field, or a new meaning
  of a field. ``tests/model_store/test_schema.py`` fails if that is forgotten.
- If older manifests do not fit a new schema, a function in ``_UPGRADES`` turns them into it. Such functions stay for
  ever, so that every older store can be read. Reading never changes a file; ``sluice models migrate`` does.
- ``schema_version`` and ``sluice`` keep their names and types in every schema, because older releases read them.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from model_store.errors import NewerSchema, escape

SCHEMA = 2
"""The schema that is written."""
_FIRST = 1
Document = dict[str, Any]
_UPGRADES: Mapping[int, Callable[[Document], Document]] = {1: lambda document: document}
"""By schema: a function that turns a document into the next schema, except its number."""


@cache
def find_release() -> str:
    """The release of Sluice that runs; "" if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sluice-serving")
    except PackageNotFoundError:
        return ""


def read_schema(text: bytes) -> int | None:
    """The schema of a manifest; None if the manifest is damaged."""
    document = _parse(text)
    number = None if document is None else document.get("schema_version", _FIRST)
    return number if type(number) is int and number >= _FIRST else None


def upgrade(text: bytes, where: str, upgrades: Mapping[int, Callable[[Document], Document]] = _UPGRADES) -> bytes:
    """The manifest in the current schema. A damaged one is returned as it is.

    Raises NewerSchema, which names ``where``, the schema and, if known, the release that is needed.
    """
    schema = read_schema(text)
    newest = max(upgrades, default=0) + 1
    if schema is None or schema == newest:
        return text
    document = _parse(text) or {}
    if schema > newest:
        raise NewerSchema(f"{where}: {_tell_newer(schema, newest, document.get('sluice'))}")
    for number in range(schema, newest):
        document = upgrades[number](document) | {"schema_version": number + 1}
    return json.dumps(document).encode()


def tell_writer(text: bytes) -> str:
    """Names the release that wrote a manifest which cannot be read; "" if it is this one or unknown."""
    writer = (_parse(text) or {}).get("sluice")
    if not isinstance(writer, str) or not writer or writer == find_release():
        return ""
    return f" (Sluice {escape(writer[:40])} wrote it; this is {find_release() or 'another release'})"


def _tell_newer(schema: int, newest: int, writer: object) -> str:
    known = isinstance(writer, str) and writer not in ("", find_release())
    shown = escape(str(writer)[:40])
    by = f", written by Sluice {shown}" if known else ""
    wanted = f"Sluice {shown} or newer" if known else f"a release of Sluice that reads schema {schema}"
    own = f"Sluice {find_release()}" if find_release() else "this Sluice"
    reads = f"schemas {_FIRST} to {newest}" if newest > _FIRST else f"schema {_FIRST}"
    return f"schema {schema}{by}: {own} reads {reads}: install {wanted}, or publish the model with this one"


def _parse(text: bytes) -> Document | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
