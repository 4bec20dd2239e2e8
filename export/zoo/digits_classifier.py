"""digits-classifier: a small convolutional network that reads handwritten digits, with calibrated probabilities."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.errors import QualityError
from export.original import limit_threads
from export.spec import ExportSpec, Predict, Progress
from export.zoo.data import digits
from export.zoo.quality.calibration import fit_temperature, measure_calibration_error
from model_store.manifest import Quality
from model_store.tasks import Classes, Image

NAME = "digits-classifier"
LEAST_ACCURACY = 0.99
LARGEST_CALIBRATION_ERROR = 0.02
EPOCHS = 30
BATCH_ROWS = 64
LEARNING_RATE = 6e-3
LABEL_SMOOTHING = 0.05
SHIFT_PIXELS = 1


class DigitsClassifier(nn.Module):
    """image [batch, 1, 8, 8] with values 0..16 -> (logits, probabilities), both [batch, 10].

    Normalisation, temperature and softmax are part of the graph, so callers need not know them.
    """

    temperature: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_block(1, 32),
            *_block(32, 64),
            nn.Flatten(),
            nn.Linear(64 * 2 * 2, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.layers(image / digits.LARGEST_PIXEL) / self.temperature
        return logits, functional.softmax(logits, dim=1)


def _block(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)  # BatchNorm has the bias
    return convolution, nn.BatchNorm2d(channels_out), nn.ReLU(), nn.MaxPool2d(2)


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train, calibrate and describe the classifier; the same seed gives the same weights."""
    progress("loading the digits")
    data = digits.load_digits()
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitsClassifier()
        _fit(model, data.train, progress)
        _calibrate(model, data.validation)
    return _describe(model, data, seed)


def _fit(model: DigitsClassifier, part: digits.Part, progress: Progress) -> None:
    images, labels = torch.from_numpy(part.images), torch.from_numpy(part.labels)
    batches = len(labels) // BATCH_ROWS
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=EPOCHS * batches)
    model.train()
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for rows in torch.randperm(len(labels))[: batches * BATCH_ROWS].view(batches, BATCH_ROWS):
            logits, _ = model(_shift(images[rows]))
            loss = functional.cross_entropy(logits, labels[rows], label_smoothing=LABEL_SMOOTHING)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
        progress(f"training: epoch {epoch} of {EPOCHS}, loss {total / batches:.3f}")
    model.eval()


def _shift(images: torch.Tensor) -> torch.Tensor:
    """Each picture moved by up to one pixel in each direction; new pixels at the border are paper (0)."""
    padded = functional.pad(images, [SHIFT_PIXELS] * 4)
    height, width = images.shape[2:]
    moves = torch.randint(0, 2 * SHIFT_PIXELS + 1, (2, len(images), 1))
    y, x = moves[0] + torch.arange(height), moves[1] + torch.arange(width)
    rows = torch.arange(len(images))[:, None, None]
    return padded[rows, 0, y[:, :, None], x[:, None, :]][:, None]


def _calibrate(model: DigitsClassifier, part: digits.Part) -> None:
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(part.images))
    model.temperature.fill_(fit_temperature(logits.numpy(), part.labels))


def _describe(model: DigitsClassifier, data: digits.Digits, seed: int) -> ExportSpec:
    samples = torch.from_numpy(data.validation.images)
    return ExportSpec(
        name=NAME,
        task="classify",
        description="Reads a handwritten digit from a grey picture of 8 x 8; the probabilities are calibrated.",
        module=model,
        inputs={"image": samples[:3]},
        outputs=("logits", "probabilities"),
        labels=tuple(str(digit) for digit in range(10)),
        classes=Classes(probabilities="probabilities", logits="logits"),
        image=Image(input="image", channels=1, height=8, width=8, scale=digits.LARGEST_PIXEL / 255),
        finite=("image",),
        samples={"image": samples},
        quality=lambda predict: measure_quality(predict, data.test),
        data=f"{digits.SOURCE}: {len(data.train.labels)} train, {len(samples)} validate, {len(data.test.labels)} test",
        seed=seed,
        parameters={
            "epochs": EPOCHS,
            "batch_rows": BATCH_ROWS,
            "optimiser": "AdamW",
            "schedule": "OneCycle",
            "learning_rate": LEARNING_RATE,
            "label_smoothing": LABEL_SMOOTHING,
            "shift_pixels": SHIFT_PIXELS,
            "temperature": float(model.temperature),
        },
        licence=digits.LICENCE,
    )


def measure_quality(predict: Predict, test: digits.Part) -> Quality:
    """Accuracy and expected calibration error on the test part. Raises QualityError where the calibration is off."""
    probabilities = predict({"image": test.images})["probabilities"]
    accuracy = float(np.mean(probabilities.argmax(axis=1) == test.labels))
    error = measure_calibration_error(probabilities, test.labels)
    if error > LARGEST_CALIBRATION_ERROR:
        raise QualityError(
            f"{NAME}: calibration error on the test part: expected at most {LARGEST_CALIBRATION_ERROR}, got {error:.4f}"
            ": validate on more rows, or smooth the labels less"
        )
    return Quality(
        data="load_digits, test part (never used to fit, choose or calibrate)",
        rows=len(test.labels),
        metrics={"accuracy": accuracy, "ece": error},
        bar={"accuracy": LEAST_ACCURACY},
    )
