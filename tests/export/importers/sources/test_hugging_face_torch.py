"""Safetensors become a graph that equals transformers' model, with the outputs that the manifest describes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import ExportError
from service.models.loading import LoadedVersion
from tests.export.importers.publishing import import_and_load

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def save(folder: Path, model: Any, processor: Any) -> Any:
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model


def run(loaded: LoadedVersion, pixels: np.ndarray) -> dict[str, np.ndarray]:
    outputs = loaded.session.run({"pixel_values": pixels})
    return dict(zip((output.name for output in loaded.signature.graph.outputs), outputs, strict=True))


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_classifier_equals_the_original(tmp_path: Path) -> None:
    """Its probabilities are the softmax of transformers' logits."""
    config = transformers.ViTConfig(**SMALL, image_size=32, patch_size=8, num_labels=3)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    model = save(tmp_path / "vit", transformers.ViTForImageClassification(config), processor)
    loaded = import_and_load(tmp_path / "vit", tmp_path / "store", {"labels": ("ant", "bee", "cat")})
    pixels = draw(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(pixel_values=torch.from_numpy(pixels)).logits.softmax(-1).numpy()
    np.testing.assert_allclose(run(loaded, pixels)["probabilities"], expected, atol=1e-5)
    assert loaded.manifest.labels == ("ant", "bee", "cat")
    assert loaded.manifest.parity is not None


def test_detector_equals_the_post_processing(tmp_path: Path) -> None:
    """Its boxes, scores and labels are those of transformers' post-processing, at any size of the picture."""
    config = transformers.YolosConfig(**SMALL, image_size=[32, 48], patch_size=8, num_detection_tokens=5, num_labels=3)
    processor = transformers.YolosImageProcessor(size={"shortest_edge": 32, "longest_edge": 48})
    model = save(tmp_path / "yolos", transformers.YolosForObjectDetection(config), processor)
    loaded = import_and_load(
        tmp_path / "yolos", tmp_path / "store", {"picture.size": (32, 48), "picture.resize": "stretch"}
    )
    pixels = draw(1, 3, 32, 48)
    with torch.no_grad():
        outputs = model(pixel_values=torch.from_numpy(pixels))
    [expected] = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[(32, 48)])
    found = run(loaded, pixels)
    np.testing.assert_allclose(found["boxes"][0], expected["boxes"].numpy(), atol=1e-3)
    np.testing.assert_allclose(found["scores"][0], expected["scores"].numpy(), atol=1e-5)
    np.testing.assert_array_equal(found["classes"][0], expected["labels"].numpy())


def test_embedder_needs_a_pooling_for_vectors_of_places(tmp_path: Path) -> None:
    """The error names the option; with it there is one vector for each picture."""
    config = transformers.ViTConfig(**SMALL, image_size=32, patch_size=8)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    model = save(tmp_path / "vit", transformers.ViTModel(config, add_pooling_layer=False), processor)
    with pytest.raises(ExportError, match="a vector for each place: give --pooling first"):
        import_and_load(tmp_path / "vit", tmp_path / "store", {"output": "last_hidden_state"})
    said = {"output": "last_hidden_state", "vectors.pooling": "mean"}
    loaded = import_and_load(tmp_path / "vit", tmp_path / "store", said)
    pixels = draw(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(pixel_values=torch.from_numpy(pixels)).last_hidden_state.mean(1).numpy()
    np.testing.assert_allclose(run(loaded, pixels)["last_hidden_state"], expected, atol=1e-4)
    assert loaded.manifest.embedding is not None


def test_model_that_transformers_does_not_have_is_refused(tmp_path: Path) -> None:
    """The error says which version was asked, and what to do."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.json").write_text('{"architectures": ["NewForImageClassification"], "image_size": 8}')
    (tmp_path / "new" / "model.safetensors").touch()
    with pytest.raises(ExportError, match="has no NewForImageClassification: install a newer one, or put an ONNX file"):
        import_and_load(tmp_path / "new", tmp_path / "store")
