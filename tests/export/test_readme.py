"""The README's example of a model of one's own."""

import argparse
import shlex
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from export.cli import export_arguments, export_model
from model_store import Store
from tests.support.pages.blocks import read_blocks

REPOSITORY = Path(__file__).resolve().parents[2]


def test_example_of_the_readme_is_published_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's command exports the README's model, and its probabilities sum to one."""
    blocks = read_blocks(REPOSITORY / "README.md")
    [command] = [line for block in blocks for line in block.text.splitlines() if line.startswith("sluice export")]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    parser = argparse.ArgumentParser()
    export_arguments(parser)
    assert export_model(parser.parse_args(shlex.split(command)[2:])) == 0
    version = Store(tmp_path / "my-models").find("my-model")
    manifest = version.verify()
    golden = version.read_golden(manifest)
    assert golden is not None
    session = ort.InferenceSession(version.read(manifest, "main.onnx"), providers=["CPUExecutionProvider"])
    [probabilities] = session.run(["probabilities"], dict(golden.inputs))
    assert np.allclose(probabilities.sum(axis=1), 1)
