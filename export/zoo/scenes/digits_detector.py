"""digits-detector: a small convolutional network that finds and reads handwritten digits in photographs.

Every cell of a grid proposes one box, as in Tian et al., FCOS: Fully Convolutional One-Stage Object Detection, ICCV
2019. The targets around the centres of digits are those of Zhou et al., Objects as Points, 2019.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import ExportSpec, Predict, Progress
from export.zoo.data import scenes
from export.zoo.quality.precision import TrueBoxes, choose_threshold, measure_answers, measure_mean_precision
from export.zoo.scenes.blocks import Residual, make_block
from export.zoo.scenes.training import fit
from model_store.detections.boxes import Boxes, select_boxes
from model_store.manifest import Quality
from model_store.tasks import Detection, Image

NAME = "digits-detector"
LEAST_MEAN_PRECISION = 0.90
LABELS = tuple(str(digit) for digit in range(10))
SIDE = 160
STRIDE = 8
STEPS = 1300
BATCH_ROWS = 8
TRAIN_SIDE = 128  # smaller than the pictures to be read, and full of digits: that saves half of the time
TRAIN_DIGITS = 10
SPARSE_SHARE = 0.15
LEARNING_RATE = 4e-3
LARGEST_GRADIENT = 10.0
CHANNELS = 64
BOX_WEIGHT = 2.0
LABEL_WEIGHT = 1.0
LEAST_HEAT = 0.3  # cells with more heat learn the label and the box
CANDIDATES = Detection(threshold=0.01, overlap=0.45, across_labels=True)
"""A digit has one label, so boxes of different labels exclude each other."""
VALIDATION_ROWS = 150
SAMPLE_ROWS = 30
TEST_ROWS = 200
_SIDE_SIGMAS = 6.0  # the sides of a digit, in standard deviations of the heat at its centre
_LEAST_SIGMA = 1 / 3  # cells
_FIRST_SCORE = 0.01  # most cells have no digit: to start from one half would cost many steps
_VALIDATION_SEED, _TEST_SEED = 1, 2  # of the data: every version is measured on the same scenes


class DigitsDetector(nn.Module):
    """image [batch, 3, height, width] of 0..255 -> (boxes [batch, cells, 4], scores [batch, cells, 10]).

    Boxes are left, top, right, bottom in pixels, scores lie in 0..1. Height and width are multiples of 16.
    """

    def __init__(self) -> None:
        super().__init__()
        narrow = CHANNELS // 2
        self.stem = nn.Sequential(
            *make_block(3, narrow // 2, 2),
            *make_block(narrow // 2, narrow, 2),
            Residual(narrow),
            *make_block(narrow, CHANNELS, 2),
        )
        self.near = nn.Sequential(Residual(CHANNELS), Residual(CHANNELS))
        self.far = nn.Sequential(*make_block(CHANNELS, CHANNELS, 2), Residual(CHANNELS), nn.Upsample(scale_factor=2))
        self.head = nn.Sequential(*make_block(CHANNELS, CHANNELS))
        self.classify = nn.Conv2d(CHANNELS, len(LABELS), 1)
        self.locate = nn.Conv2d(CHANNELS, 4, 1)
        nn.init.constant_(self.classify.get_parameter("bias"), float(np.log(_FIRST_SCORE / (1 - _FIRST_SCORE))))

    def propose(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [batch, 10, rows, columns], and boxes [batch, 4, rows, columns] in pixels."""
        near = self.near(self.stem(image / scenes.LARGEST_PIXEL - 0.5))
        features = self.head(near + self.far(near))
        distances = functional.softplus(self.locate(features)) * STRIDE
        y = (torch.arange(features.shape[2]) + 0.5)[:, None].expand(features.shape[2:]) * STRIDE
        x = (torch.arange(features.shape[3]) + 0.5)[None, :].expand(features.shape[2:]) * STRIDE
        centres = torch.stack([x, y])
        return self.classify(features), torch.cat([centres - distances[:, :2], centres + distances[:, 2:]], dim=1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, boxes = self.propose(image)
        return boxes.flatten(2).transpose(1, 2), logits.flatten(2).transpose(1, 2).sigmoid()


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train and describe the detector; the same seed gives the same weights."""
    progress("loading the digits and photographs")
    data = scenes.load_sources()
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitsDetector()
        _fit(model, data.train, np.random.default_rng(seed), progress)
        threshold = _validate(model, data.validation, progress)
    return _describe(model, data, threshold, seed)


def _fit(model: DigitsDetector, source: scenes.Source, generator: np.random.Generator, progress: Progress) -> None:
    def draw_loss() -> torch.Tensor:
        counts = np.where(
            generator.random(BATCH_ROWS) < SPARSE_SHARE, generator.integers(3, size=BATCH_ROWS), TRAIN_DIGITS
        )
        drawn = [scenes.draw_scene(source, TRAIN_SIDE, int(count), generator) for count in counts]
        heat, boxes = _aim(drawn, TRAIN_SIDE // STRIDE)
        logits, proposed = model.propose(torch.from_numpy(scenes.stack_images(drawn)))
        return (
            _measure_heat_loss(logits, heat)
            + LABEL_WEIGHT * _measure_label_loss(logits, heat)
            + BOX_WEIGHT * _measure_box_loss(proposed, boxes, heat)
        )

    fit(
        model,
        draw_loss,
        steps=STEPS,
        learning_rate=LEARNING_RATE,
        largest_gradient=LARGEST_GRADIENT,
        progress=progress,
    )


def _aim(drawn: Sequence[scenes.Scene], cells: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The wanted heat [batch, 10, cells, cells], and boxes [batch, 4, cells, cells] where some heat is.

    The cell of a digit's centre has the heat 1, and its neighbours less, the farther away they are.
    """
    heat = np.zeros((len(drawn), len(LABELS), cells, cells), np.float32)
    boxes = np.zeros((len(drawn), 4, cells, cells), np.float32)
    grid = np.arange(cells)
    for row, scene in enumerate(drawn):
        for box, label in zip(scene.boxes, scene.labels, strict=True):
            middle = np.minimum((box[:2] + box[2:]) / 2 // STRIDE, cells - 1)
            sigma = np.maximum((box[2:] - box[:2]) / STRIDE / _SIDE_SIGMAS, _LEAST_SIGMA)
            x, y = (np.exp(-0.5 * ((grid - m) / s) ** 2) for m, s in zip(middle, sigma, strict=True))
            bump = np.outer(y, x).astype(np.float32)
            mine = bump > heat[row].max(axis=0)
            boxes[row][:, mine] = box[:, None]
            heat[row, label] = np.maximum(heat[row, label], bump)
    return torch.from_numpy(heat), torch.from_numpy(boxes)


def _measure_heat_loss(logits: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """The focal loss, which counts cells near a centre less."""
    centre = (heat == 1).float()
    scores = logits.sigmoid()
    found = centre * (1 - scores) ** 2 * functional.logsigmoid(logits)
    empty = (1 - centre) * (1 - heat) ** 4 * scores**2 * functional.logsigmoid(-logits)
    return -(found + empty).sum() / centre.sum().clamp(min=1)


def _measure_label_loss(logits: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of the labels of the cells around a centre, weighted by heat."""
    weight, label = heat.max(dim=1)
    weight = weight * (weight > LEAST_HEAT)
    losses = functional.cross_entropy(logits, label, reduction="none")
    return (losses * weight).sum() / weight.sum().clamp(min=1)


def _measure_box_loss(proposed: torch.Tensor, wanted: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """The generalised intersection over union of Rezatofighi et al., CVPR 2019, as a loss weighted by heat."""
    weight = heat.amax(dim=1)
    weight = weight * (weight > LEAST_HEAT)
    starts, ends = zip(proposed.chunk(2, dim=1), wanted.chunk(2, dim=1), strict=True)
    shared = _measure_area(torch.maximum(*starts), torch.minimum(*ends))
    around = _measure_area(torch.minimum(*starts), torch.maximum(*ends))
    union = _measure_area(*proposed.chunk(2, dim=1)) + _measure_area(*wanted.chunk(2, dim=1)) - shared
    loss = 2 - shared / union - union / around
    return (loss * weight).sum() / weight.sum().clamp(min=1)


def _measure_area(starts: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    sides = (ends - starts).clamp(min=0)
    return sides[:, 0] * sides[:, 1]


def _validate(model: DigitsDetector, source: scenes.Source, progress: Progress) -> float:
    """The least score of an answer that is best on the validation scenes."""
    drawn = scenes.draw_scenes(source, VALIDATION_ROWS, SIDE, _VALIDATION_SEED)
    with torch.no_grad():
        boxes, scores = model(torch.from_numpy(scenes.stack_images(drawn)))
    found = _select({"boxes": boxes.numpy(), "scores": scores.numpy()})
    true = _list_boxes(drawn)
    progress(f"validation: mean average precision {measure_mean_precision(found, true):.3f}")
    return round(choose_threshold(found, true), 2)


def _select(outputs: Mapping[str, np.ndarray], facts: Detection = CANDIDATES) -> list[Boxes]:
    """The boxes of each row."""
    rows = range(len(outputs["boxes"]))
    return [select_boxes({name: output[row] for name, output in outputs.items()}, facts) for row in rows]


def _list_boxes(drawn: Sequence[scenes.Scene]) -> list[TrueBoxes]:
    return [TrueBoxes(scene.boxes, scene.labels) for scene in drawn]


def _describe(model: DigitsDetector, data: scenes.Sources, threshold: float, seed: int) -> ExportSpec:
    samples = torch.from_numpy(
        scenes.stack_images(scenes.draw_scenes(data.validation, SAMPLE_ROWS, SIDE, _VALIDATION_SEED))
    )
    facts = CANDIDATES.model_copy(update={"threshold": threshold})
    return ExportSpec(
        name=NAME,
        task="detect",
        description="Finds and reads handwritten digits in a photograph.",
        module=model,
        inputs={"image": samples[:3]},
        outputs=("boxes", "scores"),
        labels=LABELS,
        image=Image(input="image", channels=3, height=SIDE, width=SIDE, resize="fit"),
        detection=facts,
        finite=("image",),
        samples={"image": samples},
        golden_rows=1,
        quality=lambda predict: measure_quality(predict, data.test, facts),
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
            "channels": CHANNELS,
            "box_weight": BOX_WEIGHT,
            "label_weight": LABEL_WEIGHT,
        },
        licence=scenes.LICENCE,
    )


def measure_quality(predict: Predict, source: scenes.Source, facts: Detection) -> Quality:
    """How well the digits of ``TEST_ROWS`` scenes of a fixed seed are found and read.

    ``map50`` is the mean average precision where boxes must overlap by one half, ``map75`` by three quarters.
    ``precision`` and ``recall`` are those of the answers above the threshold.
    """
    drawn = scenes.draw_scenes(source, TEST_ROWS, SIDE, _TEST_SEED)
    outputs, true = predict({"image": scenes.stack_images(drawn)}), _list_boxes(drawn)
    found = _select(outputs)
    precision, recall = measure_answers(_select(outputs, facts), true)
    return Quality(
        data=scenes.HELD_OUT,
        rows=TEST_ROWS,
        metrics={
            "map50": measure_mean_precision(found, true),
            "map75": measure_mean_precision(found, true, 0.75),
            "precision": precision,
            "recall": recall,
        },
        bar={"map50": LEAST_MEAN_PRECISION},
    )
