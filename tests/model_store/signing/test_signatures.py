"""What is read of a version where only signed ones count."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from model_store import ModelVersion, Store, StoreError
from model_store.errors import NotSigned
from model_store.files.links import Boundary
from model_store.manifest import MANIFEST_FILE
from model_store.signing import SIGNATURE_FILE
from model_store.signing.keys import parse_signers
from tests.support.models.graphs import double, write_plain
from tests.support.signing.keys import Key, describe


def refusal(version: ModelVersion) -> str:
    """Why the manifest is not read; every other file is read by the digests that it has."""
    with pytest.raises(NotSigned) as caught:
        version.read_manifest()
    return str(caught.value)


def test_unsigned_version_is_not_read(version: ModelVersion) -> None:
    """The reason has the command that signs it. A manifest that nobody has signed is not even parsed."""
    (version.folder / SIGNATURE_FILE).unlink()
    (version.folder / MANIFEST_FILE).write_bytes(b"{")
    assert refusal(version) == (
        "m/2 has no signature: `sluice models sign m --version 2 --key KEY` makes its model.sig"
    )


def test_plain_version_is_not_read(version: ModelVersion) -> None:
    """A signature covers a manifest. A file without one is refused, also where it has a signature."""
    root = write_plain(version.folder.parents[1], "plain", double())
    plain = Store(root, signers=version.signers).find("plain")
    shutil.copy(version.folder / SIGNATURE_FILE, plain.folder)
    with pytest.raises(NotSigned, match=r"plain version 1 has no manifest\.json"):
        plain.read_plain()


@pytest.mark.parametrize("file", ["main.onnx", MANIFEST_FILE, SIGNATURE_FILE])
def test_one_flipped_bit_is_found(version: ModelVersion, file: str) -> None:
    """In each file of a version. Fields of a signature that say nothing of it may change; then all else is right."""
    path, random, refused = version.folder / file, Random(7), 0
    manifest, content = version.read_manifest(), path.read_bytes()
    for _ in range(300):
        changed = bytearray(content)
        changed[random.randrange(len(content))] ^= 1 << random.randrange(8)
        path.write_bytes(changed)
        try:
            assert version.verify() == manifest
            assert file == SIGNATURE_FILE
        except StoreError:
            refused += 1
    assert refused > 200
    path.write_bytes(content)
    assert version.verify() == manifest


def test_every_byte_of_what_is_signed_counts(version: ModelVersion, key: Key) -> None:
    """A bundle whose payload or signature differ in any byte is refused, whatever the rest of it says."""
    path = version.folder / SIGNATURE_FILE
    content = path.read_bytes()
    for field in ("payload", "sig"):
        text = _find(json.loads(content)["dsseEnvelope"], field)
        for at in range(0, len(text) - 4, 3):  # the last characters have bits that mean nothing
            path.write_bytes(content.replace(text.encode(), _change(text, at).encode()))
            refusal(version)


def _find(envelope: Mapping[str, Any], field: str) -> str:
    return str(envelope[field] if field == "payload" else envelope["signatures"][0][field])


def _change(text: str, at: int) -> str:
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def test_added_file_is_found(version: ModelVersion) -> None:
    """A file that was neither published nor signed fails verification; a signature is no such file."""
    version.verify()
    (version.folder / "model.sig.bak").touch()
    with pytest.raises(StoreError, match=r"model\.sig\.bak in m/2 is not in its manifest"):
        version.verify()


def test_signature_of_another_key_is_refused(version: ModelVersion) -> None:
    """The reason has the beginning of the digest of that key."""
    other = Key()
    other.sign_version(version)
    hint = json.loads((version.folder / SIGNATURE_FILE).read_bytes())["verificationMaterial"]["publicKey"]["hint"]
    assert refusal(version) == (f"m/2/model.sig: none of the keys that count here made it, but key {hint[:12]}…")


def test_signature_that_only_names_the_key_is_refused(version: ModelVersion, key: Key) -> None:
    """What a bundle says of its key proves nothing."""
    other = Key().sign(describe(version))
    mine = json.loads(key.sign(describe(version)))["verificationMaterial"]
    (version.folder / SIGNATURE_FILE).write_text(json.dumps({**json.loads(other), "verificationMaterial": mine}))
    assert "none of the keys that count here made it" in refusal(version)


def test_signature_of_another_version_is_refused(version: ModelVersion) -> None:
    """Of the same model, by the same key."""
    shutil.copy(version.folder.parent / "1" / SIGNATURE_FILE, version.folder)
    assert refusal(version).startswith("m/2/model.sig: it does not fit manifest.json: the manifest was changed, or")


def test_copy_of_a_signed_version_under_another_number_is_refused(version: ModelVersion) -> None:
    """Otherwise whoever can write to the store could have an old version serve as the newest."""
    shutil.copytree(version.folder.parent / "1", version.folder.parent / "3")
    newest = Store(version.folder.parents[1], signers=version.signers).find("m")
    assert refusal(newest) == (
        "m/3/model.sig: it is the signature of a folder that was called '1': expected '3', the number of the version: "
        "publish and sign it with this number"
    )


def test_copy_of_a_signed_version_under_another_name_is_refused(version: ModelVersion) -> None:
    """The manifest has the name, and is signed."""
    shutil.copytree(version.folder, version.folder.parents[1] / "n" / "2")
    moved = Store(version.folder.parents[1], signers=version.signers).find("n")
    with pytest.raises(StoreError, match="expected name 'n', got 'm'"):
        moved.read_manifest()


def test_what_is_checked_is_what_is_used(version: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest is read once: whoever replaces it afterwards changes nothing."""
    read = Boundary.read
    manifest = version.read_manifest()

    def replace_after(self: Boundary, path: Path, most_bytes: int | None = None) -> bytes:
        content = read(self, path, most_bytes)
        if path.name == MANIFEST_FILE:
            path.write_bytes(b"{}")
        return content

    monkeypatch.setattr(Boundary, "read", replace_after)
    assert version.read_manifest() == manifest
    assert "it does not fit manifest.json" in refusal(version)


def test_each_of_several_keys_counts(version: ModelVersion, key: Key) -> None:
    """A file may have the old and the new key, so that keys can be changed without a gap."""
    new = Key()
    both = replace(version, signers=parse_signers(b"# old\n" + key.public_pem + b"\n# new\n" + new.public_pem))
    both.verify()
    new.sign_version(version)
    both.verify()
    refusal(version)


def test_store_without_keys_reads_signed_versions_as_others(version: ModelVersion) -> None:
    """A signature is no stray file, whatever it holds."""
    (version.folder / SIGNATURE_FILE).write_bytes(b"nonsense")
    Store(version.folder.parents[1]).find("m").verify()


STATEMENTS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "of nothing": lambda found: found["predicate"].update(resources=[]),
    "of shards": lambda found: found["predicate"]["serialization"].update(method="shards"),
    "by another hash": lambda found: found["predicate"]["serialization"].update(hash_type="blake2"),
    "by another hash of a file": lambda found: [r.update(algorithm="blake2b") for r in found["predicate"]["resources"]],
    "of an image": lambda found: found.update(predicateType="https://slsa.dev/provenance/v1"),
    "of two": lambda found: found.update(subject=found["subject"] * 2),
    "of no folder": lambda found: found.update(subject=[]),
    "of another kind": lambda found: found.update(_type="https://in-toto.io/Statement/v0.1"),
    "without a predicate": lambda found: found.pop("predicate"),
}


@pytest.mark.parametrize("change", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_statement_that_does_not_cover_the_manifest_is_refused(
    version: ModelVersion, key: Key, change: Callable[[dict[str, Any]], Any]
) -> None:
    """Although the right key has signed it: it may sign other things too."""
    statement = describe(version)
    change(statement)
    (version.folder / SIGNATURE_FILE).write_bytes(key.sign(statement))
    assert refusal(version).startswith("m/2/model.sig: ")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"mediaType": "application/json"}', b"\0" * 1000],
)
def test_file_that_is_no_signature_is_refused(version: ModelVersion, content: bytes) -> None:
    """With a reason, whatever it holds."""
    (version.folder / SIGNATURE_FILE).write_bytes(content)
    assert "expected a bundle of model-signing" in refusal(version)


@pytest.mark.parametrize(
    "changes", [{"signatures": []}, {"payloadType": "text/plain"}, {"payload": 7}, {"payload": "é"}]
)
def test_envelope_of_another_kind_is_refused(version: ModelVersion, key: Key, changes: dict[str, Any]) -> None:
    """No signature, another type of payload, or no payload."""
    (version.folder / SIGNATURE_FILE).write_bytes(key.sign(describe(version), changes=changes))
    assert "dsseEnvelope" in refusal(version)


def test_signature_that_is_no_file_is_refused(version: ModelVersion, tmp_path: Path) -> None:
    """A folder, or a link out of the store."""
    path = version.folder / SIGNATURE_FILE
    shutil.copy(path, tmp_path / "outside")
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="it is a folder"):
        version.read_manifest()
    path.rmdir()
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="leads outside of the store"):
        version.read_manifest()
