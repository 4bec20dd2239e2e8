"""digits-segmenter: a small network that marks the ink of handwritten digits in photographs.

It is built as in Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015, with
residual blocks, and sums where that joins.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import ExportSpec, Predict, Progress
from export.zoo.data import scenes
from export.zoo.scenes.blocks import Residual, make_block
from export.zoo.scenes.training import fit
from model_store.manifest import Quality
from model_store.tasks import Image, Segmentation

NAME = "digits-segmenter"
LEAST_OVERLAP = 0.6
LABELS = ("nothing", "digit")
SIDE = 160
STEPS = 900
BATCH_ROWS = 8
TRAIN_SIDE = 128  # smaller than the pictures to be read: that saves a third of the time
TRAIN_DIGITS = 8
LEARNING_RATE = 4e-3
LARGEST_GRADIENT = 10.0
CHANNELS = (16, 32, 40)
"""At a half, a quarter and an eighth of the resolution."""
OVERLAP_WEIGHT = 1.0
THRESHOLDS = np.arange(0.2, 0.85, 0.05)
VALIDATION_ROWS = 150
SAMPLE_ROWS = 30
TEST_ROWS = 200
_FIRST_SCORE = 0.05  # most pixels have no ink: to start from one half would cost many steps
_VALIDATION_SEED, _TEST_SEED = 1, 2  # of the data: every version is measured on the same scenes


class DigitsSegmenter(nn.Module):
    """image [batch, 3, height, width] of 0..255 -> how sure it is that a pixel is ink, 0..1, [batch, 1, height, width].

    Height and width are multiples of 8.
    """

    def __init__(self) -> None:
        super().__init__()
        narrow, middle, wide = CHANNELS
        self.fine = nn.Sequential(*make_block(3, narrow, 2))
        self.medium = nn.Sequential(*make_block(narrow, middle, 2), Residual(middle))
        self.coarse = nn.Sequential(*make_block(middle, wide, 2), Residual(wide), Residual(wide))
        self.to_medium = nn.Sequential(nn.Conv2d(wide, middle, 1), nn.Upsample(scale_factor=2))
        self.to_fine = nn.Sequential(nn.Conv2d(middle, narrow, 1), nn.Upsample(scale_factor=2))
        self.join_medium, self.join_fine = Residual(middle), Residual(narrow)
        self.classify = nn.Conv2d(narrow, 4, 3, padding=1)  # the four pixels of a cell
        nn.init.constant_(self.classify.get_parameter("bias"), float(np.log(_FIRST_SCORE / (1 - _FIRST_SCORE))))

    def measure(self, image: torch.Tensor) -> torch.Tensor:
        """The logits of ink, [batch, 1, height, width]."""
        fine = self.fine(image / scenes.LARGEST_PIXEL - 0.5)
        medium = self.medium(fine)
        medium = self.join_medium(medium + self.to_medium(self.coarse(medium)))
        return functional.pixel_shuffle(self.classify(self.join_fine(fine + self.to_fine(medium))), 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.measure(image).sigmoid()


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train and describe the segmenter; the same seed gives the same weights."""
    progress("loading the digits and photographs")
    data = scenes.load_sources()
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitsSegmenter()
        _fit(model, data.train, np.random.default_rng(seed), progress)
        threshold = _validate(model, data.validation, progress)
    return _describe(model, data, threshold, seed)


def _fit(model: DigitsSegmenter, source: scenes.Source, generator: np.random.Generator, progress: Progress) -> None:
    def draw_loss() -> torch.Tensor:
        counts = generator.integers(TRAIN_DIGITS + 1, size=BATCH_ROWS)
        drawn = [scenes.draw_scene(source, TRAIN_SIDE, int(count), generator) for count in counts]
        return _measure_loss(
            model.measure(torch.from_numpy(scenes.stack_images(drawn))), torch.from_numpy(_stack_ink(drawn)).float()
        )

    fit(
        model,
        draw_loss,
        steps=STEPS,
        learning_rate=LEARNING_RATE,
        largest_gradient=LARGEST_GRADIENT,
        progress=progress,
    )


def _stack_ink(drawn: Sequence[scenes.Scene]) -> np.ndarray:
    """bool [rows, 1, side, side]."""
    return np.stack([scene.ink for scene in drawn])[:, None]


def _measure_loss(logits: torch.Tensor, ink: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of the pixels, and one minus the Dice coefficient of the batch."""
    scores = logits.sigmoid()
    dice = 2 * (scores * ink).sum() / (scores + ink).sum()
    return functional.binary_cross_entropy_with_logits(logits, ink) + OVERLAP_WEIGHT * (1 - dice)


def _validate(model: DigitsSegmenter, source: scenes.Source, progress: Progress) -> float:
    """The threshold that is best on the validation scenes."""
    drawn = scenes.draw_scenes(source, VALIDATION_ROWS, SIDE, _VALIDATION_SEED)
    with torch.no_grad():
        scores = model(torch.from_numpy(scenes.stack_images(drawn))).numpy()
    ink = _stack_ink(drawn)
    overlaps = [measure_overlap(scores >= np.float32(threshold), ink) for threshold in THRESHOLDS]
    best = int(np.argmax(overlaps))
    progress(f"validation: intersection over union {overlaps[best]:.3f}")
    return round(float(THRESHOLDS[best]), 2)


def measure_overlap(found: np.ndarray, ink: np.ndarray) -> float:
    """The intersection over the union of two masks, over all pixels of all rows; 1 if both are empty."""
    union = int((found | ink).sum())
    return int((found & ink).sum()) / union if union else 1.0


def _describe(model: DigitsSegmenter, data: scenes.Sources, threshold: float, seed: int) -> ExportSpec:
    drawn = scenes.draw_scenes(data.validation, SAMPLE_ROWS, SIDE, _VALIDATION_SEED)
    samples = torch.from_numpy(scenes.stack_images(drawn))
    return ExportSpec(
        name=NAME,
        task="segment",
        description="Marks the ink of handwritten digits in a photograph.",
        module=model,
        inputs={"image": samples[:3]},
        outputs=("scores",),
        labels=LABELS,
        image=Image(input="image", channels=3, height=SIDE, width=SIDE, resize="fit"),
        segmentation=Segmentation(output="scores", threshold=threshold, ignored=0),
        finite=("image",),
        samples={"image": samples},
        golden_rows=1,
        quality=lambda predict: measure_quality(predict, data.test, threshold),
        data=f"{scenes.SOURCE}: {data.count_digits()}",
        seed=seed,
        parameters={
            "steps": STEPS,
            "batch_rows": BATCH_ROWS,
            "side_pixels": TRAIN_SIDE,
            "most_digits": TRAIN_DIGITS,
            "optimiser": "AdamW",
            "schedule": "OneCycle",
            "learning_rate": LEARNING_RATE,
            "largest_gradient": LARGEST_GRADIENT,
            "channels": ", ".join(map(str, CHANNELS)),
            "overlap_weight": OVERLAP_WEIGHT,
        },
        licence=scenes.LICENCE,
    )


def measure_quality(predict: Predict, source: scenes.Source, threshold: float) -> Quality:
    """How well the ink of ``TEST_ROWS`` scenes of a fixed seed is found, over all their pixels.

    ``iou`` is the intersection over union of found and true ink; ``precision`` the share of what was found that is ink,
    ``recall`` the share of the ink that was found.
    """
    drawn = scenes.draw_scenes(source, TEST_ROWS, SIDE, _TEST_SEED)
    ink = _stack_ink(drawn)
    found = predict({"image": scenes.stack_images(drawn)})["scores"] >= np.float32(threshold)
    right = int((found & ink).sum())
    return Quality(
        data=scenes.HELD_OUT,
        rows=TEST_ROWS,
        metrics={
            "iou": measure_overlap(found, ink),
            "precision": right / max(1, int(found.sum())),
            "recall": right / int(ink.sum()),
        },
        bar={"iou": LEAST_OVERLAP},
    )
