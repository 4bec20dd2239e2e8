"""Migration: rewrites manifests of an older schema in the current one.

It is never necessary, because older schemas can always be read. It saves readers some work, and shows what a store
holds. The other files of a version stay as they are. A signed version is left alone: its signature covers the manifest.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_store.errors import BadManifest, StoreError
from model_store.files.reading import MOST_TEXT_BYTES, is_there, read_regular
from model_store.files.writing import replace_synced
from model_store.manifest import MANIFEST_FILE, Manifest
from model_store.schema import SCHEMA, find_release, read_schema
from model_store.signing import SIGNATURE_FILE
from model_store.store import ModelVersion, Store


@dataclass(frozen=True, slots=True)
class Migration:
    """One version: the schema that it had, and what happened to it."""

    name: str
    version: int
    schema: int | None
    """None: it is damaged, or has no manifest."""
    migrated: bool = False
    """Whether its manifest was rewritten, or would be."""
    kept: str = ""
    """Why a manifest of an older schema was left alone; "" if it was not."""
    error: str = ""
    """What is wrong with the version; "" if nothing is."""


def migrate(store: Store, names: Sequence[str], *, dry_run: bool = False) -> list[Migration]:
    """Rewrite the manifests of models in the current schema. Versions without a manifest are left out.

    A version that is damaged or has a newer schema is reported, and the others are migrated. Raises StoreError if a
    model is not there, NotWritable.
    """
    found: list[Migration] = []
    for name in names:
        with contextlib.nullcontext() if dry_run else store.changing(name) as folder:
            found += [_migrate(version, folder) for version in store.versions(name) if not version.is_plain]
    return found


def _migrate(version: ModelVersion, hidden_in: Path | None) -> Migration:
    """Migrate one version; ``hidden_in`` None: change nothing. Raises OSError if it cannot be written."""
    path = version.folder / MANIFEST_FILE
    schema = None
    try:
        text = read_regular(path, MOST_TEXT_BYTES)
        schema = read_schema(text)
        manifest = version.read_manifest()
    except (StoreError, OSError) as error:
        return Migration(version.name, version.version, schema, error=str(error))
    if schema == SCHEMA:
        return Migration(version.name, version.version, schema)
    if is_there(version.folder / SIGNATURE_FILE):
        return Migration(version.name, version.version, schema, kept="its signature covers the manifest")
    content = manifest.model_copy(update={"sluice": find_release()}).to_json()
    if Manifest.from_json(content, str(path)).model_copy(update={"sluice": manifest.sluice}) != manifest:
        raise BadManifest(
            f"{version.name}/{version.version}/{MANIFEST_FILE}: written again, it would mean something else"
        )
    if hidden_in is not None:
        replace_synced(path, content, hidden_in)
    return Migration(version.name, version.version, schema, migrated=True)
