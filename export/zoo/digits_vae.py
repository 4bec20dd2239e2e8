"""digits-vae: splits a handwritten digit into class and style, redraws it, and says how unusual it is.

A conditional variational autoencoder (Kingma and Welling, 2014; Sohn et al., 2015). A sent picture has no label, so the
encoder infers it, and the decoder receives the inferred probabilities instead.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import ExportSpec, GraphSpec, Predict, Progress
from export.zoo.data import digits
from export.zoo.quality.judge import CLASSES, CLASSIFIER, measure_agreement, measure_generation
from model_store.manifest import Quality
from model_store.tasks import Generation, Image, Picture, Reconstruction

NAME = "digits-vae"
LEAST_AGREEMENT = 0.97
LEAST_CLASS_AGREEMENT = 0.93
LEAST_DIVERSITY = 0.7
LEAST_AUROC = 0.95
LATENT_SIZE = 6
HIDDEN = 256
EPOCHS = 120
BATCH_ROWS = 64
LEARNING_RATE = 2e-3
BETA = 0.7
RECONSTRUCTION_WEIGHT = 10.0
ANOMALY_QUANTILE = 0.99
SAMPLES = 200
MADE_PER_CLASS = 100
_PIXELS = 8 * 8
_SAMPLE_SEED = 0  # a seed of the measured samples: every version is measured on the same noise
_EPOCHS_PER_REPORT = 10


class Decoder(nn.Module):
    """noise [batch, 6] standard normal, label int64 [batch] with values 0..9 -> image [batch, 1, 8, 8], 0..16."""

    def __init__(self) -> None:
        super().__init__()
        self.latent = nn.Linear(LATENT_SIZE, HIDDEN)
        self.label = nn.Embedding(CLASSES, HIDDEN)
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, _PIXELS),
            nn.Sigmoid(),
            nn.Unflatten(1, (1, 8, 8)),
        )

    def forward(self, noise: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return self.draw(noise, self.label(label))

    def draw(self, latent: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """``condition`` [batch, 256] is the embedding of a label, or the mean of several by their probabilities."""
        image: torch.Tensor = self.layers(self.latent(latent) + condition) * digits.LARGEST_PIXEL
        return image


class Autoencoder(nn.Module):
    """image [batch, 1, 8, 8] with values 0..16 -> (reconstruction like it, error, anomaly, latent [batch, 6]).

    ``error`` [batch] is the root mean square over the pixels, in their unit. ``anomaly`` [batch] is minus the logarithm
    of the joint density of picture and latent mean, up to a constant: large where the picture is not drawn well, or
    only by a style that digits do not have.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(_PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()
        )
        self.mean = nn.Linear(HIDDEN, LATENT_SIZE)
        self.log_variance = nn.Linear(HIDDEN, LATENT_SIZE)
        self.classes = nn.Linear(HIDDEN, CLASSES)
        self.decoder = Decoder()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden = self.encoder(image / digits.LARGEST_PIXEL)
        latent = self.mean(hidden)
        condition = functional.softmax(self.classes(hidden), dim=1) @ self.decoder.label.weight
        reconstruction = self.decoder.draw(latent, condition)
        error = _square(image - reconstruction)
        anomaly = RECONSTRUCTION_WEIGHT / digits.LARGEST_PIXEL**2 * error + _square(latent) / 2
        return reconstruction, (error / _PIXELS).sqrt(), anomaly, latent

    def measure_loss(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The mean over the rows of minus the evidence bound, weighted, and of the cross entropy of the inferred label.

        The latent is drawn here, in training only; the decoder is given the true label.
        """
        hidden = self.encoder(image / digits.LARGEST_PIXEL)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        drawn = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        missed = _square((image - self.decoder(drawn, label)) / digits.LARGEST_PIXEL).mean()
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        guessed = functional.cross_entropy(self.classes(hidden), label)
        loss: torch.Tensor = RECONSTRUCTION_WEIGHT * missed + BETA * divergence + guessed
        return loss


def _square(values: torch.Tensor) -> torch.Tensor:
    """The sum of squares of each row.

    A product with ones, because ONNX Runtime's ReduceSum over six numbers rounds by where in memory a row starts, and
    a row must not change with its place in the batch.
    """
    squares = values.flatten(1) ** 2
    return (squares @ squares.new_ones(squares.shape[1], 1))[:, 0]


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train, calibrate and describe the autoencoder; the same seed gives the same weights."""
    progress("loading the digits")
    data = digits.load_digits()
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Autoencoder()
        _fit(model, data.train, progress)
        threshold = _calibrate(model, data.validation)
    return _describe(model, threshold, data, seed)


def _fit(model: Autoencoder, part: digits.Part, progress: Progress) -> None:
    images, labels = torch.from_numpy(part.images), torch.from_numpy(part.labels)
    batches = len(labels) // BATCH_ROWS
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=EPOCHS * batches)
    model.train()
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for rows in torch.randperm(len(labels))[: batches * BATCH_ROWS].view(batches, BATCH_ROWS):
            loss = model.measure_loss(images[rows], labels[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
        if epoch % _EPOCHS_PER_REPORT == 0:
            progress(f"training: epoch {epoch} of {EPOCHS}, loss {total / batches:.3f}")
    model.eval()


def _calibrate(model: Autoencoder, part: digits.Part) -> float:
    """The anomaly score that one in a hundred digits is above."""
    with torch.no_grad():
        anomaly = model(torch.from_numpy(part.images))[2]
    return float(np.quantile(anomaly.numpy(), ANOMALY_QUANTILE))


def draw_inputs(rows: int) -> dict[str, np.ndarray]:
    """What the decoder takes, the same every time: labels in turn, so ``rows`` / 10 of each."""
    generator = np.random.default_rng(_SAMPLE_SEED)
    noise = generator.standard_normal((rows, LATENT_SIZE), dtype=np.float32)
    return {"noise": noise, "label": np.arange(rows, dtype=np.int64) % CLASSES}


def draw_anomalies(part: digits.Part) -> dict[str, np.ndarray]:
    """Pictures that are no digits, by kind and as many of each as ``part`` has rows; with values 0..16.

    ``uniform`` and ``gaussian`` noise, the latter as bright and as varied as the digits are, and ``inverted`` digits.
    """
    generator = np.random.default_rng(_SAMPLE_SEED)
    real = part.images
    gaussian = generator.normal(real.mean(), real.std(), real.shape).astype(np.float32)
    return {
        "uniform": digits.LARGEST_PIXEL * generator.random(real.shape, dtype=np.float32),
        "gaussian": gaussian.clip(0, digits.LARGEST_PIXEL),
        "inverted": digits.LARGEST_PIXEL - real,
    }


def _describe(model: Autoencoder, threshold: float, data: digits.Digits, seed: int) -> ExportSpec:
    samples = torch.from_numpy(data.validation.images)
    return ExportSpec(
        name=NAME,
        task="reconstruct",
        description="Draws a handwritten digit anew from class and style, scores how odd it is, and draws new ones.",
        module=model,
        inputs={"image": samples[:3]},
        outputs=("reconstruction", "error", "anomaly", "latent"),
        image=Image(input="image", channels=1, height=8, width=8, scale=digits.LARGEST_PIXEL / 255),
        finite=("image",),
        samples={"image": samples},
        graphs={"decode": _describe_decoder(model.decoder, seed)},
        labels=tuple(str(digit) for digit in range(CLASSES)),
        reconstruction=Reconstruction(output="reconstruction", error="error", anomaly="anomaly", threshold=threshold),
        generation=Generation(
            graph="decode",
            output="image",
            noise="noise",
            label="label",
            picture=Picture(channels=1, scale=digits.LARGEST_PIXEL / 255),
        ),
        quality=lambda predict: measure_quality(predict, data.test, threshold),
        data=f"{digits.SOURCE}: {len(data.train.labels)} train, {len(samples)} validate, {len(data.test.labels)} test",
        seed=seed,
        parameters={
            "epochs": EPOCHS,
            "batch_rows": BATCH_ROWS,
            "optimiser": "Adam",
            "schedule": "OneCycle",
            "learning_rate": LEARNING_RATE,
            "beta": BETA,
            "reconstruction_weight": RECONSTRUCTION_WEIGHT,
            "anomaly_quantile": ANOMALY_QUANTILE,
        },
        licence=digits.LICENCE,
    )


def _describe_decoder(decoder: Decoder, seed: int) -> GraphSpec:
    samples = {name: torch.from_numpy(array) for name, array in draw_inputs(SAMPLES).items()}
    return GraphSpec(
        module=decoder,
        inputs={name: tensor[:3] for name, tensor in samples.items()},
        outputs=("image",),
        finite=("noise",),
        ranges={"label": (0, CLASSES - 1)},
        samples=samples,
        seed=seed,
    )


def measure_quality(predict: Predict, test: digits.Part, threshold: float) -> Quality:
    """New digits as the judge sees them, and how well the anomaly score tells test digits from what is no digit.

    ``false_alarm_rate`` is the share of test digits above ``threshold``; ``reconstruction_agreement`` that of
    reconstructions which the judge puts in the class of their original.
    """
    inputs = draw_inputs(CLASSES * MADE_PER_CLASS)
    real = predict({"image": test.images})
    odd = {kind: predict({"image": images})["anomaly"] for kind, images in draw_anomalies(test).items()}
    bar = {"auroc_noise": LEAST_AUROC, "auroc_inverted": LEAST_AUROC, "agreement": LEAST_AGREEMENT}
    return Quality(
        data=f"load_digits, test part, and {MADE_PER_CLASS} made digits a class, judged by {CLASSIFIER}",
        rows=len(test.labels),
        metrics={
            **measure_generation(predict(inputs, graph="decode")["image"], inputs["label"], test),
            "auroc_noise": measure_auroc(real["anomaly"], np.concatenate([odd["uniform"], odd["gaussian"]])),
            "auroc_inverted": measure_auroc(real["anomaly"], odd["inverted"]),
            "false_alarm_rate": float(np.mean(real["anomaly"] > threshold)),
            "reconstruction_agreement": measure_agreement(real["reconstruction"], test.labels),
            "error": float(real["error"].mean()),
        },
        bar={**bar, "least_class_agreement": LEAST_CLASS_AGREEMENT, "diversity": LEAST_DIVERSITY},
    )


def measure_auroc(usual: np.ndarray, odd: np.ndarray) -> float:
    """The chance that an odd row scores above a usual one; a tie counts half."""
    above = (odd[:, None] > usual).mean()
    ties = (odd[:, None] == usual).mean()
    return float(above + ties / 2)
