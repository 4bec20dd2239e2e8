"""Schemas of manifests: older ones are read and migrated, newer ones refused with what is needed."""

import hashlib
import json
import shutil
import typing
from pathlib import Path

import pytest

from model_store import BadManifest, Manifest, Store
from model_store import schema as schemas
from model_store.errors import NewerSchema, NotWritable
from model_store.files import writing
from model_store.maintenance import migration
from model_store.maintenance.migration import migrate
from model_store.schema import SCHEMA, Document, find_release, read_schema, upgrade
from model_store.strict_model import StrictModel
from tests.support.models.manifests import describe

STORES = sorted((Path(__file__).parent / "schemas").iterdir())
"""Stores that earlier commits have written, by schema."""
WHERE = "m/3/manifest.json"


def rewrite(path: Path, **fields: object) -> bytes:
    content = json.dumps(json.loads(path.read_bytes()) | fields).encode()
    path.write_bytes(content)
    return content


def as_schema(number: object, **fields: object) -> bytes:
    return json.dumps(json.loads(describe().to_json()) | {"schema_version": number} | fields).encode()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"sluice": "7.1.0"}, "schema 9, written by Sluice 7.1.0: .*: install Sluice 7.1.0 or newer, or publish"),
        ({}, "schema 9: .*: install a release of Sluice that reads schema 9, or publish"),
        ({"sluice": 3, "name": ["of", "another", "form"]}, "schema 9: .*: install a release of Sluice that reads"),
        ({"sluice": find_release()}, "schema 9: .*: install a release of Sluice that reads schema 9"),
    ],
)
def test_newer_schema_is_refused_with_the_release_that_is_needed(fields: Document, told: str) -> None:
    """The file, its schema, what this release reads, and what to install; whatever else the manifest holds."""
    with pytest.raises(NewerSchema, match=rf"^m/3/manifest\.json: {told}") as caught:
        Manifest.from_json(as_schema(9, **fields), WHERE)
    assert f"reads schemas 1 to {SCHEMA}: " in str(caught.value)


@pytest.mark.parametrize("number", ["2", True, None, 0, -1, [2]])
def test_number_that_is_none_is_refused(number: object) -> None:
    """A schema is a whole number from 1."""
    with pytest.raises(BadManifest, match="schema_version: expected 2"):
        Manifest.from_json(as_schema(number), WHERE)


def test_unknown_field_of_another_release_names_that_release() -> None:
    """Then it is no mistake of spelling; in a manifest of this release it is."""
    for writer, told in (("0.1.7", r"\(Sluice 0\.1\.7 wrote it; this is .*\)$"), (find_release(), r"\(got 1\)$")):
        with pytest.raises(BadManifest, match=r"colour: unknown field \(got 1\)") as caught:
            Manifest.from_json(as_schema(SCHEMA, sluice=writer, colour=1), WHERE)
        caught.match(told)


@pytest.mark.parametrize("root", STORES, ids=lambda root: root.name)
def test_every_older_store_is_read(root: Path) -> None:
    """What earlier commits have published is whole and can be described, without a change of its files."""
    version = Store(root).find("digits")
    assert read_schema((version.folder / "manifest.json").read_bytes()) == 1
    manifest = version.verify()
    assert (manifest.schema_version, manifest.task, manifest.labels) == (SCHEMA, "classify", ("a", "b", "c"))
    assert manifest.image is not None
    assert (manifest.image.height, manifest.image.scale) == (2, 1 / 255)
    assert version.read_golden(manifest) is not None


@pytest.mark.parametrize("root", STORES, ids=lambda root: root.name)
def test_migrated_store_means_the_same(root: Path, tmp_path: Path) -> None:
    """Only the manifest is written again; a second migration finds nothing to do."""
    store = Store(shutil.copytree(root, tmp_path / "store"))
    before, contents = store.find("digits").read_all()
    assert [each.migrated for each in migrate(store, ["digits"], dry_run=True)] == [True]
    assert store.find("digits").read_all()[0] == before
    assert [(each.schema, each.migrated) for each in migrate(store, ["digits"])] == [(1, True)]
    after, left = store.find("digits").read_all()
    assert left == contents
    assert after == before.model_copy(update={"sluice": find_release()})
    assert read_schema((store.root / "digits" / "1" / "manifest.json").read_bytes()) == SCHEMA
    assert [(each.schema, each.migrated) for each in migrate(store, ["digits"])] == [(SCHEMA, False)]
    assert [path.name for path in (store.root / "digits").iterdir()] == ["1"]


def test_damaged_newer_and_signed_versions_are_told_and_hinder_no_other(filled: Store) -> None:
    """They stay byte for byte as they are."""
    for _ in range(3):
        filled.publish(describe(), {"main.onnx": b""})
    paths = {number: filled.root / "m" / str(number) / "manifest.json" for number in range(1, 6)}
    kept = {2: rewrite(paths[2], schema_version=9), 3: b"{", 4: rewrite(paths[4], schema_version=1)}
    paths[3].write_bytes(b"{")
    (paths[4].parent / migration.SIGNATURE_FILE).touch()
    for number in (1, 5):
        rewrite(paths[number], schema_version=1)
    found = {each.version: each for each in migrate(filled, ["m"])}
    assert [number for number, each in found.items() if each.migrated] == [1, 5]
    assert "schema 9" in found[2].error
    assert "m/3/manifest.json" in found[3].error
    assert found[4].kept == "its signature covers the manifest"
    assert {number: paths[number].read_bytes() for number in kept} == kept


def test_store_that_cannot_be_written_is_told(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version goes on to be read as it was, and nothing is left beside it."""
    text = rewrite(filled.root / "m" / "1" / "manifest.json", schema_version=1)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(writing.os, "replace", refuse)
    with pytest.raises(NotWritable, match="/m cannot be changed: Read-only file system"):
        migrate(filled, ["m"])
    assert (filled.root / "m" / "1" / "manifest.json").read_bytes() == text
    assert list((filled.root / "m").glob(".*")) == []


def test_upgrades_are_made_one_after_the_other() -> None:
    """A manifest two schemas back passes both steps; one of today is not touched."""
    steps = {1: lambda d: {**d, "a": 1}, 2: lambda d: {**d, "b": d["a"] + 1}}
    assert json.loads(upgrade(b"{}", WHERE, steps)) == {"a": 1, "b": 2, "schema_version": 3}
    assert upgrade(b'{ "schema_version": 3}', WHERE, steps) == b'{ "schema_version": 3}'
    assert set(schemas._UPGRADES) == set(range(1, SCHEMA))


FIELDS = {2: "08f59a6ce96e6bca"}
"""By schema, a digest of all fields of a manifest."""


def list_fields(model: type[StrictModel], found: set[str]) -> set[str]:
    """The fields of a part of the manifest and of all parts below it, as ``Class.field``."""
    for name, field in model.model_fields.items():
        if f"{model.__name__}.{name}" not in found:
            found.add(f"{model.__name__}.{name}")
            for part in list_parts(field.annotation):
                list_fields(part, found)
    return found


def list_parts(annotation: object) -> list[type[StrictModel]]:
    if isinstance(annotation, type) and issubclass(annotation, StrictModel):
        return [annotation]
    return [part for inside in typing.get_args(annotation) for part in list_parts(inside)]


def test_new_field_of_the_manifest_needs_a_new_schema() -> None:
    """If this fails: where SCHEMA was released, raise it (the rules are in schema.py); then write the digest here."""
    fields = list_fields(Manifest, set())
    assert {"Manifest.sluice", "Graph.rows", "Tensor.shape", "Step.when", "ParityCase.seed"} <= fields
    digest = hashlib.sha256("\n".join(sorted(fields)).encode()).hexdigest()[:16]
    assert FIELDS.get(SCHEMA) == digest
