"""Folders of Triton and of Hugging Face say what is around a graph."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import ExportError, MissingFacts
from export.importers.importing import plan_import
from export.importers.plan import Plan
from export.importers.sources.hugging_face_pictures import read_processor
from model_store import Store
from model_store.pictures.geometry import plan as plan_pixels
from model_store.tasks import Classes, Detection
from service.models.loading import load_version
from service.settings import Settings
from sluice import main
from tests.support.models.text import make_model

SCORES = (
    "float[batch,3,8,8] pixel_values => float[batch,2] logits",
    "m = ReduceMean<keepdims=0>(pixel_values, [2, 3]) ",
)
CLASSIFIER = make_model(SCORES[0], SCORES[1] + "logits = MatMul(m, w[3,2])")
DETECTOR = make_model(
    "float[batch,3,height,width] pixel_values => float[batch,n,4] logits, float[batch,n,4] pred_boxes",
    """
    means = GlobalAveragePool(pixel_values) flat = Reshape(means, [0, 3, 1]) boxes = Tile(flat, [1, 2, 4])
    logits = Mul(boxes, factors) pred_boxes = Sigmoid(boxes)
    """,
    factors=np.array([1, 2, 3, 4], np.float32),
)
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 8, "width": 8},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
CONFIG = {"architectures": ["ViTForImageClassification"], "model_type": "vit", "id2label": {"1": "dog", "0": "cat"}}
DETR = {"architectures": ["DetrForObjectDetection"], "model_type": "detr", "id2label": {"0": "a", "1": "b", "2": "c"}}
TRITON = """
backend: "onnxruntime" max_batch_size: 4
input [{ name: "pixel_values" data_type: TYPE_FP32 dims: [3, 8, 8] }]
output [{ name: "logits" data_type: TYPE_FP32 dims: [2] label_filename: "names.txt" }]
"""


def write(folder: Path, files: Mapping[str, Any]) -> Path:
    """A folder of files: bytes, texts, or objects for JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def plan(path: Path) -> Plan:
    return plan_import(path, {})[1]


def test_triton_folder_names_model_labels_and_batch(tmp_path: Path) -> None:
    """The labels of an output make it a classifier, and the newest version is imported."""
    folder = write(
        tmp_path / "pets",
        {"config.pbtxt": TRITON, "names.txt": "cat\ndog\n", "1/model.onnx": b"old", "2/model.onnx": CLASSIFIER},
    )
    said = ["--rows", "numbers", "--store", str(tmp_path / "store")]
    assert main(["import", str(folder), *said]) == 0
    manifest = load_version(Store(tmp_path / "store").find("pets"), Settings(provider="cpu")).manifest
    assert (manifest.task, manifest.labels, manifest.batching.max_rows) == ("classify", ("cat", "dog"), 4)
    assert manifest.classes == Classes(probabilities="probabilities", logits="logits")


def test_classifier_of_hugging_face_is_imported(tmp_path: Path) -> None:
    """Labels, scaling and resizing come from its files; nothing is asked for."""
    files = {"config.json": CONFIG, "preprocessor_config.json": PROCESSOR, "model.onnx": CLASSIFIER}
    folder = write(tmp_path / "pets", {**files, "README.md": "---\nlicense: apache-2.0\n---\nPets"})
    assert main(["import", str(folder), "--store", str(tmp_path / "store")]) == 0
    manifest = load_version(Store(tmp_path / "store").find("pets"), Settings(provider="cpu")).manifest
    assert (manifest.labels, manifest.licence) == (("cat", "dog"), "apache-2.0")
    assert manifest.classes == Classes(probabilities="probabilities", logits="logits")
    assert manifest.image is not None
    assert (manifest.image.interpolation, manifest.image.height, manifest.image.offset) == ("bicubic", 8, -1.0)
    assert manifest.image.scale == pytest.approx(2 / 255)


def test_detector_of_hugging_face_gives_boxes_in_pixels(tmp_path: Path) -> None:
    """Fractions of the sides become pixels of a picture of any size, and the last score means nothing."""
    sizes = {"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 80, "longest_edge": 133}}
    files = {"config.json": DETR, "preprocessor_config.json": {**PROCESSOR, **sizes}, "onnx/model.onnx": DETECTOR}
    folder = write(tmp_path / "pets", files)
    assert main(["import", str(folder), "--store", str(tmp_path / "store")]) == 0
    loaded = load_version(Store(tmp_path / "store").find("pets"), Settings(provider="cpu"))
    manifest = loaded.manifest
    assert manifest.detection == Detection(
        boxes="corners", scores="best_scores", classes="classes", threshold=0.5, overlap=None
    )
    assert manifest.image is not None
    assert (manifest.image.shortest, manifest.image.longest, manifest.image.height) == (80, 133, None)
    outputs = loaded.session.run({"pixel_values": np.zeros((1, 3, 80, 120), np.float32)})
    named = dict(zip((output.name for output in loaded.signature.graph.outputs), outputs, strict=True))
    np.testing.assert_allclose(named["corners"][0, 0], [30, 20, 90, 60])
    np.testing.assert_allclose(named["best_scores"][0, 0], 0.25)


@pytest.mark.parametrize("size", ["height,width", "6,6"])
def test_mask_of_padding_is_filled(tmp_path: Path, size: str) -> None:
    """A detector that takes a mask of its padding gets one without padding, in the graph itself."""
    masked = make_model(
        f"float[batch,3,height,width] pixel_values, int64[batch,{size}] pixel_mask => float[batch,n,4] logits, "
        "float[batch,n,4] pred_boxes",
        """
        means = GlobalAveragePool(pixel_values) flat = Reshape(means, [0, 3, 1]) boxes = Tile(flat, [1, 2, 4])
        whole = Cast<to=1>(pixel_mask) share = ReduceMean<keepdims=1>(whole, [1, 2])
        logits = Mul(boxes, share) pred_boxes = Sigmoid(boxes)
        """,
    )
    sizes = {"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 80, "longest_edge": 133}}
    files = {"config.json": DETR, "preprocessor_config.json": {**PROCESSOR, **sizes}, "model.onnx": masked}
    folder = write(tmp_path / "pets", files)
    assert main(["import", str(folder), "--store", str(tmp_path / "store")]) == 0
    loaded = load_version(Store(tmp_path / "store").find("pets"), Settings(provider="cpu", max_rows=4))
    assert [tensor.name for tensor in loaded.signature.graph.inputs] == ["pixel_values"]
    assert (loaded.rows.verdict, loaded.max_rows) == ("proved", 4)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"config.pbtxt": 'backend: "python"'}, "backend 'python': this server runs ONNX files only"),
        ({"config.pbtxt": TRITON, "names.txt": "a\nb", "1/model.plan": "x"}, "no ONNX file|expected model.onnx"),
        ({"config.pbtxt": TRITON + "sequence_batching { }", "names.txt": "a\nb"}, "into the store as it is"),
        ({"config.pbtxt": TRITON.replace("}", ""), "names.txt": "a\nb"}, "config.pbtxt"),
        ({"config.pbtxt": TRITON, "1/model.onnx": CLASSIFIER}, "names.txt.*No such file"),
        (
            {"config.json": {"architectures": ["BertModel"]}, "tokenizer.json": "{}"},
            "expected an ONNX file or model.safe",
        ),
        ({"config.json": {"architectures": ["WhisperModel"]}}, "publish others by `sluice export`"),
        ({"config.json": CONFIG, "pytorch_model.bin": b""}, "loading it may run code: save it as safetensors"),
        (
            {"config.json": CONFIG, "a.onnx": CLASSIFIER, "b.onnx": CLASSIFIER},
            "expected one ONNX file, got a.onnx, b.onnx",
        ),
        (
            {"config.json": {**CONFIG, "id2label": {"0": "a", "2": "b"}}, "a.onnx": b""},
            "by position from 0 without gaps",
        ),
    ],
    ids=["backend", "no file", "sequences", "syntax", "no labels", "texts", "sound", "pickle", "several", "gaps"],
)
def test_folder_that_cannot_be_imported_is_refused(tmp_path: Path, files: dict[str, Any], complaint: str) -> None:
    """The error says what is wrong, and what to do."""
    with pytest.raises(Exception, match=complaint):
        plan(write(tmp_path / "pets", files))


def test_one_of_several_files_is_imported_by_its_path(tmp_path: Path) -> None:
    """The configurations of the folder around it still count."""
    files = {"config.json": CONFIG, "preprocessor_config.json": PROCESSOR, "onnx/model_b.onnx": CLASSIFIER}
    folder = write(tmp_path / "pets", {**files, "onnx/model_a.onnx": CLASSIFIER})
    found = plan(folder / "onnx" / "model_b.onnx")
    assert (found.get("labels"), found.get("name")) == (("cat", "dog"), "pets")


def test_processor_that_is_not_known_is_asked_about(tmp_path: Path) -> None:
    """What an unknown processor does to a picture is not guessed."""
    unknown = {**PROCESSOR, "image_processor_type": "LevitImageProcessor"}
    files = {"config.json": CONFIG, "preprocessor_config.json": unknown, "model.onnx": CLASSIFIER}
    with pytest.raises(MissingFacts, match="--scale, --mean, --std, --order"):
        plan(write(tmp_path / "pets", files))


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("CLIP", {"size": 224, "crop_size": 224}, {"resize": "crop", "size": (224, 224), "shortest": 224}),
        ("ViT", {"size": 224}, {"resize": "stretch", "size": (224, 224)}),
        (
            "MobileViT",
            {"size": {"shortest_edge": 288}, "crop_size": {"height": 256, "width": 256}, "do_flip_channel_order": True},
            {"resize": "crop", "size": (256, 256), "shortest": 288, "order": "BGR"},
        ),
        ("ConvNext", {"size": {"shortest_edge": 224}}, {"resize": "crop", "size": (224, 224), "shortest": 256}),
        ("ConvNext", {"size": {"shortest_edge": 384}}, {"resize": "stretch", "size": (384, 384)}),
        ("Detr", {"size": 800, "max_size": 1333}, {"resize": "stretch", "shortest": 800, "longest": 1333}),
        ("DeiT", {"size": 256, "crop_size": 224, "do_center_crop": True}, {}),
    ],
)
def test_sizes_are_read_as_each_processor_reads_them(
    kind: str, config: dict[str, Any], expected: dict[str, Any]
) -> None:
    """One number is a side or the shortest side, and some processors crop."""
    facts, notes = read_processor({"feature_extractor_type": f"{kind}FeatureExtractor", **config}, "p.json")
    wanted = {"order": "RGB", **expected}
    found = {path.removeprefix("picture."): fact.value for path, fact in facts.items()}
    assert {name: found.get(name) for name in ("resize", "size", "shortest", "longest", "order")} == {
        name: wanted.get(name) for name in ("resize", "size", "shortest", "longest", "order")
    }
    assert bool(notes) == (kind == "DeiT")


@pytest.mark.parametrize("kind", ["ConvNext", "Bit"])
def test_half_a_pixel_of_a_crop_is_rounded_down(tmp_path: Path, kind: str) -> None:
    """Hugging Face's processors begin a crop one pixel earlier than torchvision if an odd number is cut off."""
    sizes = {"size": {"shortest_edge": 9}, "crop_size": 8, "do_center_crop": True}
    if kind == "ConvNext":
        sizes = {"size": {"shortest_edge": 8}, "crop_pct": 8 / 9}
    processor = {**PROCESSOR, "image_processor_type": f"{kind}ImageProcessor", **sizes}
    files = {"config.json": CONFIG, "preprocessor_config.json": processor, "model.onnx": CLASSIFIER}
    image = plan(write(tmp_path / "pets", files)).description.image
    assert image is not None
    assert (image.rounding, image.resize, image.shortest, image.height) == ("down", "crop", 9, 8)
    wide = image.model_copy(update={"height": 64, "width": 64, "shortest": 73})
    down, nearest = (plan_pixels(132, 101, wide.model_copy(update={"rounding": r})) for r in ("down", "nearest"))
    assert (down.left, nearest.left) == (-15, -16)


def test_configuration_that_is_no_json_is_named(tmp_path: Path) -> None:
    """The error names the file."""
    files = {"config.json": CONFIG, "preprocessor_config.json": "{", "model.onnx": CLASSIFIER}
    with pytest.raises(ExportError, match=r"preprocessor_config.json: expected JSON"):
        plan(write(tmp_path / "pets", files))
