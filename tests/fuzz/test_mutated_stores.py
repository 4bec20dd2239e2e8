"""Mutated files of a store: each is read or refused, and no signature lets another content pass."""

import contextlib
import io
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest

from model_store import GoldenSamples, IntegrityError, Store, StoreError
from model_store.files.aliases import HISTORY_FILE, read_aliases, read_history
from model_store.manifest import MANIFEST_FILE, Golden, Manifest
from model_store.rollout import ROLLOUT_FILE, Canary, Rollout, Shadow, read_rollout, write_rollout
from model_store.signing import SIGNATURE_FILE
from model_store.signing.keys import parse_signers
from model_store.store import ALIASES_FILE
from tests.fuzz.stores import KINDS, change_bytes, cut, damage, flip
from tests.support.commands.models import run_models
from tests.support.models.manifests import describe
from tests.support.signing.keys import Key

BESIDE: Mapping[str, Callable[[Path], object]] = {
    ALIASES_FILE: read_aliases,
    HISTORY_FILE: read_history,
    ROLLOUT_FILE: read_rollout,
}
"""The small files of a model, each with the function that reads it from the model's folder."""
FILES = (*BESIDE, f"2/{MANIFEST_FILE}", f"2/{SIGNATURE_FILE}")
COUNTS = [60, pytest.param(3000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]


class Stored(NamedTuple):
    """A store with the model ``m``: two signed versions, aliases and a history. ``manifest`` is that of version 2."""

    store: Store
    manifest: Manifest

    def path(self, file: str) -> Path:
        return self.store.root / "m" / file


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    key = Key()
    store = Store(tmp_path / "store", signers=parse_signers(key.public_pem))
    samples = {"x": np.ones((2, 1), np.float32)}
    golden = GoldenSamples(samples, {"y": 2 * samples["x"]})
    for content in (b"one", b"two"):
        manifest = describe(golden=Golden(rows=2, atol=0.1, rtol=0.0), description="a model")
        version = store.publish(manifest, {"main.onnx": content, "golden.npz": golden.to_bytes()})
        key.sign_version(version)
    for number in (1, 2, 1):
        store.set_alias("m", "stable", number)
    write_rollout(
        store.root / "m",
        Rollout(canary=Canary(version=2, percent=10.0, header="x-user"), shadow=Shadow(version=1)),
    )
    assert all((store.root / "m" / file).exists() for file in BESIDE)
    return Stored(store, store.find("m", 2).read_manifest())


def read_everything(stored: Stored) -> Iterator[str]:
    """Read the store in every way. Yields what was refused; another error than one of the store is a fault."""
    store = stored.store
    store.list_all()  # raises nothing
    readers: list[Callable[[], Any]] = [
        *(partial(read, store.root / "m") for read in BESIDE.values()),
        lambda: store.find("m", "stable").verify(),
        lambda: store.find("m", 1).verify(),
    ]
    for read in readers:
        try:
            read()
        except StoreError as error:
            yield str(error)
    for each in (store, Store(store.root)):
        try:
            version = each.find("m", 2)
            manifest, contents = version.read_all()
            version.read_golden(manifest)
        except StoreError as error:
            yield str(error)
        else:
            assert each is not store or (manifest, contents["main.onnx"]) == (stored.manifest, b"two")


def run(root: Path, *words: str) -> int:
    return run_models(*words, "--store", root)


def check_refusals(refusals: list[str]) -> None:
    """Nothing in them controls a terminal, and none repeats a large content."""
    for refusal in refusals:
        assert refusal.isprintable(), refusal
        assert len(refusal) < 2000, refusal[:300]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("file", FILES)
def test_mutated_file_is_read_or_refused(
    stored: Stored, file: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the store and the commands, with a reason; a store with keys gives the signed version or none."""
    path = stored.path(file)
    content = path.read_bytes()
    refused = 0
    for number in range(count):
        path.write_bytes(damage(content, Random(f"{file}/{number}")))
        refusals = list(read_everything(stored))
        check_refusals(refusals)
        refused += bool(refusals)
        if number % 10 == 0:
            assert run(stored.store.root, "list") == 0
            assert run(stored.store.root, "verify", "m", "--json") in (0, 1)
            captured = capsys.readouterr()
            check_refusals((captured.out + captured.err).splitlines())
    assert refused > count / 3


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("file", [*FILES, "2/main.onnx", "2/golden.npz"])
def test_what_is_no_file_is_refused(
    stored: Stored, file: str, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """At once: nothing waits for a pipe, reads a device, or fills the memory."""
    stored.path(file).unlink()
    make(stored.path(file))
    refusals = list(read_everything(stored))
    assert refusals
    check_refusals(refusals)
    assert run(stored.store.root, "list", "--json") == 0
    assert "root" not in capsys.readouterr().out.replace(str(stored.store.root), "")


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
def test_mutated_samples_are_read_or_refused(save: Callable[..., None], count: int) -> None:
    """Digests protect them from chance, not from whoever publishes a version."""
    buffer = io.BytesIO()
    save(buffer, **{"in.x": np.ones((2, 3), np.float32), "in.t": np.array(["a", "bb"]), "out.y": np.ones(2)})
    for number in range(count):
        content = buffer.getvalue()
        random = Random(number)
        for _ in range(random.choice((1, 1, 2, 3))):
            content = random.choice((flip, flip, flip, cut, change_bytes))(content, random)
        with contextlib.suppress(StoreError):
            GoldenSamples.from_bytes(content)


@pytest.mark.parametrize(
    "head",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000000,), }",
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30},), }}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{1: 2, 'a': ()}",
        "(" * 5000,
        "\0\x1b[31m",
    ],
)
def test_hostile_head_of_an_array_is_refused(head: str) -> None:
    """A size that no memory has, a number that is none, objects, and what is no description at all."""
    content = head.encode("latin1") + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("in.x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content + bytes(24))
    with pytest.raises(IntegrityError) as caught:
        GoldenSamples.from_bytes(buffer.getvalue())
    check_refusals([str(caught.value)])


def test_files_that_are_exchanged_are_refused(stored: Stored) -> None:
    """Each file in the place of each other one."""
    contents = {file: stored.path(file).read_bytes() for file in FILES}
    for file, content in contents.items():
        for other in contents.values():
            stored.path(file).write_bytes(other)
            assert bool(list(read_everything(stored))) == (other != content)
        stored.path(file).write_bytes(content)


def test_store_that_was_not_changed_is_read(stored: Stored) -> None:
    """Otherwise the other tests would prove nothing."""
    assert list(read_everything(stored)) == []
