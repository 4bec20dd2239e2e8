"""Pictures become what Hugging Face's image processors make of them, and a model gives the same scores."""

from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from sklearn.datasets import load_sample_image

from model_store.pictures.reading import read_picture
from model_store.tasks import Image
from tests.support.pictures.encoding import encode

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SIZES = [(1, 1), (1, 50), (50, 1), (2, 300), (300, 2), (37, 53), (53, 37), (224, 224), (255, 256), (257, 500)]


def draw(width: int, height: int) -> Pillow.Image:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return Pillow.fromarray(noise)


def photographs() -> list[Pillow.Image]:
    return [Pillow.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]


PICTURES = [*(draw(*size) for size in SIZES), *photographs(), photographs()[0].rotate(90, expand=True)]


def facts(**more: Any) -> Image:
    scale, offset = 1 / (255 * DEVIATION), -MEAN / DEVIATION
    return Image(input="x", channels=3, scale=tuple(scale.tolist()), offset=tuple(offset.tolist()), **more)


def make(name: str, folder: str, **options: Any) -> Any:
    module = __import__(f"transformers.models.{folder}.image_processing_pil_{folder}", fromlist=[name])
    return getattr(module, f"{name}ImageProcessorPil")(
        image_mean=MEAN.tolist(), image_std=DEVIATION.tolist(), **options
    )


def square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


CROP = {"resize": "crop", "rounding": "down", "interpolation": "bicubic"}
DETR = {"size": {"shortest_edge": 80, "longest_edge": 133}}
FITTED = {"size": {"max_height": 64, "max_width": 97}, "pad_size": {"height": 64, "width": 97}}
LEVELS = tuple(int(level) for level in np.rint(MEAN * 255))
CASES = {
    "ViT": (("ViT", "vit", {"size": square(96)}), facts(**square(96))),
    "SegFormer": (("Segformer", "segformer", {"size": square(128)}), facts(**square(128))),
    "CLIP": (("CLIP", "clip", {}), facts(**square(224), **CROP, shortest=224)),
    "CLIP, a crop that is larger": (
        ("CLIP", "clip", {"size": {"shortest_edge": 61}, "crop_size": {"height": 96, "width": 71}}),
        facts(height=96, width=71, **CROP, shortest=61),
    ),
    "ConvNeXT": (
        ("ConvNext", "convnext", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}),
        facts(**square(224), **CROP, shortest=256),
    ),
    "ConvNeXT, large": (
        ("ConvNext", "convnext", {"size": {"shortest_edge": 384}}),
        facts(**square(384), interpolation="bicubic"),
    ),
    "DETR": (("Detr", "detr", DETR), facts(shortest=80, longest=133)),
    "DETR, padded": (
        ("Detr", "detr", FITTED),
        facts(height=64, width=97, resize="fit", rounding="down", padded="end", padding=LEVELS),
    ),
}


@pytest.mark.parametrize(("processor", "image"), CASES.values(), ids=CASES)
def test_row_is_that_of_the_image_processor(processor: tuple[str, str, dict[str, Any]], image: Image) -> None:
    """Every value is within one level of 255, for odd, tiny, long and ordinary pictures."""
    name, folder, options = processor
    reference = make(name, folder, **options)
    tried = 0
    for picture in PICTURES:
        try:
            expected = np.asarray(reference(picture)["pixel_values"][0])
        except ValueError:  # a side of the reference would be 0
            continue
        row, _ = read_picture(encode(picture), image, 10**6, "it")
        assert row.shape == expected.shape, picture.size
        assert np.abs((row - expected) * (255 * DEVIATION[:, None, None])).max() <= 1.001, picture.size
        tried += 1
    assert tried >= len(PICTURES) - 4


def test_model_gives_the_same_scores() -> None:
    """Of a vision transformer with random weights, every probability is within 0.001 of that of the reference."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    configuration = transformers.ViTConfig(image_size=96, patch_size=16, num_labels=10, **sizes)
    model = transformers.ViTForImageClassification(configuration).eval()
    (name, folder, options), image = CASES["ViT"]
    reference = make(name, folder, **options)

    def score(row: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            scores: np.ndarray = model(torch.from_numpy(row[None])).logits.softmax(1).numpy()
        return scores

    for picture in PICTURES:
        row, _ = read_picture(encode(picture), image, 10**6, "it")
        expected = np.asarray(reference(picture)["pixel_values"][0], np.float32)
        np.testing.assert_allclose(score(row), score(expected), atol=1e-3)
