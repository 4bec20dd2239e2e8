"""The README's example of a model of one's own."""

import argparse
import re
from pathlib import Path

import onnxruntime as ort
import pytest

from export.cli import export_arguments, export_model
from model_store import Store

REPOSITORY = Path(__file__).resolve().parents[2]


def test_example_of_the_readme_is_published_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The README's command exports the README's model, and its probabilities sum to one."""
    text = (REPOSITORY / "README.md").read_text()
    example = re.search(r"```python\n# my_model.py\n(.*?)```", text, re.DOTALL)
    command = re.search(r"`sluice export (.*?)`", text)
    assert example is not None
    assert command is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(example[1])
    parser = argparse.ArgumentParser()
    export_arguments(parser)
    assert export_model(parser.parse_args(command[1].split())) == 0
    version = Store(tmp_path / "models").find("my-model")
    manifest = version.verify()
    golden = version.read_golden(manifest)
    assert golden is not None
    session = ort.InferenceSession(version.read(manifest, "main.onnx"), providers=["CPUExecutionProvider"])
    [p] = session.run(["p"], dict(golden.inputs))
    assert p.sum(1).tolist() == pytest.approx([1.0] * len(p))
