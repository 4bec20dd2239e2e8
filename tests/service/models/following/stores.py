"""Stores that change while they are followed: each version of a model multiplies by its own number."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.service.models.asking import infer
from tests.support.models import graphs
from tests.support.models.text import make_model

PATIENCE_S = 60.0


def multiply(factor: float) -> bytes:
    """y = factor x, rows of three numbers."""
    return make_model("float[batch,3] x => float[batch,3] y", "y = Mul(x, factor)", factor=np.float32(factor))


def publish(root: Path, factor: float, name: str = "m", *, fails: bool = False) -> None:
    """Publish the next version, which multiplies; one that ``fails`` has golden samples of another factor."""
    x = np.ones((2, 3), np.float32)
    graphs.publish(root, name, multiply(factor), x, x * (factor + fails))


def replace(root: Path, name: str, content: bytes, version: int = 1) -> None:
    """Put a version without a manifest into the store, or another file into one, at once."""
    folder = root / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".new").write_bytes(content)
    os.replace(folder / ".new", folder / "model.onnx")


def write_aliases(root: Path, text: str, name: str = "m") -> None:
    (root / name / ".aliases").write_text(text)
    os.replace(root / name / ".aliases", root / name / "aliases.json")


def copy_elsewhere(folder: Path) -> Path:
    """A copy of a folder that is no store."""
    return Path(shutil.copytree(folder, Path(tempfile.mkdtemp(dir=folder.parents[2])) / folder.name))


def card_of(client: httpx.Client, name: str = "m") -> Any:
    """The card of a model; None if there is none."""
    cards = client.get("/models").raise_for_status().json()["models"]
    return next((card for card in cards if card["name"] == name), None)


def who(client: httpx.Client, name: str = "m", version: str = "") -> str:
    """The version that answers, told by its factor, such as "2"; or the status."""
    response = infer(client, name, version)
    if response.status_code != 200:
        return f"status {response.status_code}"
    said = response.json()
    return f"{said['outputs'][0]['data'][0]:g}"


def until(holds: Callable[[], bool], what: Callable[[], object] = lambda: "") -> None:
    """Ask again, as a caller has to, until something holds that the server brings about by itself."""
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < ends, f"it did not come to hold: {what()}"
