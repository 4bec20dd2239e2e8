"""Whatever is in the folder of a model, at worst that model is unavailable with a reason, and the others serve."""

import contextlib
import ctypes
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from model_store.files.reading import find_memory
from tests.service.models.asking import index, infer
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for

CONFIG = 'output { name: "y" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt" }'
_OVERRIDE, _VERSION_3 = 0b110, 0x20080522
"""The capabilities DAC_OVERRIDE and DAC_READ_SEARCH, by which root reads everything."""


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(path.parent):
        listener.bind(path.name)


def enormous(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(find_memory() + 1)


def unreadable(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0)


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "ring": lambda path: path.symlink_to(path.name),
    "unix socket": unix_socket,
    "nested": lambda path: path.write_bytes(b"[" * 200_000),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "enormous": enormous,
    "unreadable": unreadable,
}


def publish(root: Path, name: str) -> None:
    rows = np.ones((2, 3), np.float32)
    graphs.publish(root, name, graphs.double(), rows, 2 * rows)


def plain(root: Path, name: str) -> None:
    graphs.write_plain(root, name, graphs.double())
    (root / name / "config.pbtxt").write_text(CONFIG)
    (root / name / "labels.txt").write_text("a\nb\nc\n")


FILES = {
    "manifest": (publish, "1/manifest.json"),
    "graph": (publish, "1/main.onnx"),
    "golden": (publish, "1/golden.npz"),
    "aliases": (publish, "aliases.json"),
    "model": (plain, "1/model.onnx"),
    "config": (plain, "config.pbtxt"),
    "labels": (plain, "labels.txt"),
}


@contextlib.contextmanager
def without_override() -> Iterator[None]:
    """As any user but root: this thread, and those that it starts, read what permissions let them."""
    libc = ctypes.CDLL(None, use_errno=True)
    head, sets = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, sets) == 0
    before = sets[0]
    sets[0] = before & ~_OVERRIDE
    assert libc.capset(head, sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(head, sets) == 0


def read_states(root: Path) -> dict[str, list[tuple[str, str]]]:
    """Serve a store: the states and reasons of each model. The good one answers, and the server is ready."""
    with without_override(), Serving(settings_for(root), FAST) as server, server.client() as client:
        assert client.get("/readyz").status_code == 200
        assert infer(client, "good").status_code == 200
        states: dict[str, list[tuple[str, str]]] = {}
        for (name, _), found in index(client).items():
            states.setdefault(name, []).append(found)
    return states


@pytest.mark.parametrize("kind", KINDS)
def test_file_that_is_no_file_makes_its_model_unavailable(tmp_path: Path, kind: str) -> None:
    """This holds for each file of a model. The index has the reason, without the path of the store."""
    graphs.write_plain(tmp_path, "good", graphs.double())
    for name, (make, file) in FILES.items():
        make(tmp_path, name)
        (tmp_path / name / file).unlink(missing_ok=True)
        KINDS[kind](tmp_path / name / file)
    states = read_states(tmp_path)
    assert states.pop("good") == [("READY", "")]
    for name in FILES:
        if name == "labels" and kind in ("nested", "no text"):  # any text is one of labels
            assert states[name] == [("READY", "")]
            continue
        for state, reason in states[name]:
            assert (name, state) == (name, "UNAVAILABLE")
            assert reason
            assert str(tmp_path) not in reason
            assert "unexpectedly" not in reason


@pytest.mark.parametrize("place", [".", "1"])
def test_folder_without_permission_makes_its_model_unavailable(tmp_path: Path, place: str) -> None:
    """That of the model and that of a version, of both kinds of stores, and whether or not one may list it."""
    graphs.write_plain(tmp_path, "good", graphs.double())
    for name, make in (("plain", plain), ("published", publish)):
        for mode in (0o000, 0o400, 0o100):
            make(tmp_path, f"{name}-{mode:o}")
            (tmp_path / f"{name}-{mode:o}" / place).chmod(mode)
    try:
        states = read_states(tmp_path)
    finally:
        for path in tmp_path.iterdir():
            (path / place).chmod(0o755)
    assert states.pop("good") == [("READY", "")]
    for name, [(state, reason)] in states.items():
        assert (name, state) == (name, "UNAVAILABLE")
        assert "ermission denied" in reason
        assert str(tmp_path) not in reason


def test_file_in_the_place_of_a_folder_makes_its_model_unavailable(tmp_path: Path) -> None:
    """A named pipe where a model or a version is expected keeps nobody waiting."""
    graphs.write_plain(tmp_path, "good", graphs.double())
    os.mkfifo(tmp_path / "piped.onnx")
    graphs.write_plain(tmp_path, "version", graphs.double(), version=2)
    os.mkfifo(tmp_path / "version" / "1")
    states = read_states(tmp_path)
    assert states["good"] == [("READY", "")]
    assert [state for state, _ in states["version"]] == ["UNAVAILABLE", "READY"]
    assert [state for state, _ in states["piped.onnx"]] == ["UNAVAILABLE"]
