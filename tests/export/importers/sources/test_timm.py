"""A timm folder says labels and preprocessing; its model is an ONNX file, or comes from timm."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from export.errors import ExportError, MissingFacts
from export.importers.importing import plan_import
from export.importers.sources.kinds import choose_source
from model_store import Store
from tests.export.importers.publishing import as_options, publish
from tests.support.inferring import Plain
from tests.support.models.text import make_model

CFG = {
    "input_size": [3, 32, 32],
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "num_classes": 3,
    "license": "apache-2.0",
}
CONFIG = {"architecture": "tiny", "num_classes": 3, "label_names": ["ant", "bee", "cat"], "pretrained_cfg": CFG}
CLASSIFIER = make_model(
    "float[batch,3,32,32] image => float[batch,3] logits",
    "means = ReduceMean<keepdims=0>(image, [2, 3]) logits = MatMul(means, w[3,3])",
)


def write(folder: Path, config: Mapping[str, Any], content: bytes | None = CLASSIFIER) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if content is not None:
        (folder / "model.onnx").write_bytes(content)
    return folder


def test_classifier_needs_no_options(tmp_path: Path) -> None:
    """Labels, licence and preprocessing come from the configuration, and probabilities are added."""
    folder = write(tmp_path / "tiny", CONFIG)
    assert choose_source(folder).kind.startswith("a timm folder")
    plan, version = publish(folder, Store(tmp_path / "store"))
    image = plan.description.image
    assert image is not None
    assert (image.resize, image.shortest, image.height, image.interpolation) == ("crop", 35, 32, "bicubic")
    np.testing.assert_allclose(image.scale, 1 / 255 / np.array(CFG["std"]), rtol=1e-6)
    np.testing.assert_allclose(image.offset, -np.array(CFG["mean"]) / np.array(CFG["std"]), rtol=1e-6)
    assert not any(fact.is_guess for fact in plan.facts.values())
    manifest = version.read_manifest()
    assert (manifest.labels, manifest.licence) == (("ant", "bee", "cat"), "apache-2.0")
    assert manifest.classes is not None
    assert manifest.classes.probabilities == "probabilities"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"crop_pct": None}, {"resize": "crop", "shortest": 36}),
        ({"crop_mode": "squash", "crop_pct": 1.0}, {"resize": "stretch", "shortest": None}),
        ({"crop_mode": "border", "crop_pct": 1.0, "mean": [0.5] * 3}, {"resize": "fit", "padding": 128}),
    ],
    ids=["no share", "squash", "border"],
)
def test_resizing_is_that_of_timm(tmp_path: Path, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    """The share of the crop enlarges the picture first; the mode says how it becomes the size."""
    _, plan = plan_import(write(tmp_path / "tiny", {**CONFIG, "pretrained_cfg": {**CFG, **changes}}), {})
    image = plan.description.image
    assert image is not None
    assert {name: getattr(image, name) for name in expected} == expected


@pytest.mark.parametrize("changes", [{"crop_mode": "squash"}, {"crop_mode": "border", "crop_pct": 1.0}])
def test_resizing_that_a_manifest_cannot_say_is_asked_for(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Nothing is guessed, a remark says why, and an option says how."""
    folder = write(tmp_path / "tiny", {**CONFIG, "pretrained_cfg": {**CFG, **changes}})
    with pytest.raises(MissingFacts, match=r"give --resize(?s:.*)\nnote: .*the manifest cannot describe it"):
        plan_import(folder, {})
    _, plan = plan_import(folder, as_options({"picture.resize": "stretch"}))
    assert "the manifest cannot describe it" in plan.notes[0]


def test_model_without_a_head_is_an_embedder(tmp_path: Path) -> None:
    """No classes means vectors."""
    config = {**CONFIG, "num_classes": 0}
    _, plan = plan_import(write(tmp_path / "tiny", config), {})
    assert plan.description.task == "embed"


@pytest.mark.parametrize(
    ("config", "content", "complaint"),
    [
        (CONFIG, None, "expected weights, model.safetensors or pytorch_model.bin, or an ONNX file"),
        (
            {**CONFIG, "pretrained_cfg": {"num_classes": 3}},
            CLASSIFIER,
            "input_size: expected channels, height and width",
        ),
    ],
    ids=["no weights", "no size"],
)
def test_what_is_missing_is_named(
    tmp_path: Path, config: Mapping[str, Any], content: bytes | None, complaint: str
) -> None:
    """The error says what was expected, and where."""
    with pytest.raises(ExportError, match=complaint):
        plan_import(write(tmp_path / "tiny", config, content), {})


def test_weights_need_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without timm, the error says what to install or to put there."""
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "export.importers.sources.timm_torch", raising=False)
    folder = write(tmp_path / "tiny", CONFIG, None)
    (folder / "model.safetensors").touch()
    with pytest.raises(ExportError, match=r"needs timm and torch .*pip install timm, or put an ONNX file"):
        plan_import(folder, {})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_weights_are_read_by_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that timm creates from the configuration becomes a graph that gives the same."""
    torch = pytest.importorskip("torch")
    asked: list[Any] = []
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3))

    def create_model(name: str, **options: Any) -> Any:
        asked.append((name, options))
        return net

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model, __version__="1"))
    monkeypatch.delitem(sys.modules, "export.importers.sources.timm_torch", raising=False)
    folder = write(tmp_path / "tiny", CONFIG, None)
    (folder / "model.safetensors").touch()
    _, version = publish(folder, Store(tmp_path / "store"))
    weights = str(folder / "model.safetensors")
    assert asked == [("tiny", {"checkpoint_path": weights, "num_classes": 3, "in_chans": 3})]
    pixels = np.random.default_rng(0).random((2, 3, 32, 32), np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(
        Plain(version.folder / "main.onnx").run({"pixels": pixels})["logits"], expected, atol=1e-6
    )
