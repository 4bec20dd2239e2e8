"""digits-gan: draws handwritten digits of a requested class from noise, and judges how real a digit looks.

A conditional generative adversarial network with hinge loss (Lim and Ye, 2017), spectral normalisation (Miyato et al.,
2018) and one direction of the critic's features per class (the projection of Miyato and Koyama, 2018). The moving
average of the generator's weights is exported.
"""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from export.original import limit_threads
from export.spec import ExportSpec, GraphSpec, Predict, Progress
from export.zoo.data import digits
from export.zoo.quality.judge import CLASSES, CLASSIFIER, measure_generation
from model_store.manifest import Quality
from model_store.tasks import Generation, Picture

NAME = "digits-gan"
LEAST_AGREEMENT = 0.98
LEAST_CLASS_AGREEMENT = 0.95
LEAST_DIVERSITY = 0.8
NOISE_SIZE = 32
HIDDEN = 256
STEPS = 3000
LABEL_STEPS = 500
BATCH_ROWS = 64
LEARNING_RATE = 1e-3
BETAS = (0.0, 0.99)
AVERAGE_DECAY = 0.99
LABEL_SPREAD = 0.5  # at the start; 1 drowns the noise, and the digits of a class look alike
SLOPE = 0.1  # of the critic's activations below 0
SAMPLES = 200
MADE_PER_CLASS = 100
_PIXELS = 8 * 8
_SAMPLE_SEED = 0  # a seed of the measured samples: every version is measured on the same noise
_STEPS_PER_REPORT = 250
Labelled = tuple[torch.Tensor, torch.Tensor]
"""Images and labels."""


class Generator(nn.Module):
    """noise [batch, 32] standard normal, label int64 [batch] with values 0..9 -> image [batch, 1, 8, 8], 0..16.

    The label shifts the first hidden layer, like its one-hot form beside the noise would. But a label out of range is
    an error instead of an empty picture.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noise = nn.Linear(NOISE_SIZE, HIDDEN)
        self.label = nn.Embedding(CLASSES, HIDDEN)
        nn.init.normal_(self.label.weight, std=LABEL_SPREAD)
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, _PIXELS),
            nn.Sigmoid(),
            nn.Unflatten(1, (1, 8, 8)),
        )

    def forward(self, noise: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        image: torch.Tensor = self.layers(self.noise(noise) + self.label(label)) * digits.LARGEST_PIXEL
        return image


class Critic(nn.Module):
    """image [batch, 1, 8, 8] with values 0..16, label int64 [batch] with values 0..9 -> score [batch].

    Above 0 means real and of that class, below 0 drawn or of another class. Training pushes scores past 1 and -1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            spectral_norm(nn.Linear(_PIXELS, HIDDEN)),
            nn.LeakyReLU(SLOPE),
            spectral_norm(nn.Linear(HIDDEN, HIDDEN)),
            nn.LeakyReLU(SLOPE),
            spectral_norm(nn.Linear(HIDDEN, CLASSES)),
        )

    def forward(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(image / digits.LARGEST_PIXEL)
        return scores.gather(1, label[:, None])[:, 0]

    def fold(self) -> None:
        """Replace the weights permanently by their normalised values."""
        for layer in self.layers:
            if parametrize.is_parametrized(layer):
                parametrize.remove_parametrizations(layer, "weight")


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train and describe both networks; the same seed gives the same weights."""
    progress("loading the digits")
    data = digits.load_digits()
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator, critic = _fit(data.train, progress)
    return _describe(generator, critic, data, seed)


def _fit(part: digits.Part, progress: Progress) -> tuple[Generator, Critic]:
    """The average of the generator, and the final critic with plain weights.

    If the generator draws the right class, the critic has no reason to look at the label. So the critic trains on alone
    for a while, against drawn digits and real ones with a wrong label. Doing so from the start would cost diversity.
    """
    images, labels = torch.from_numpy(part.images), torch.from_numpy(part.labels)
    generator, critic = Generator(), Critic()
    average = copy.deepcopy(generator).requires_grad_(False)
    makes = torch.optim.Adam(generator.parameters(), lr=LEARNING_RATE, betas=BETAS)
    judges = torch.optim.Adam(critic.parameters(), lr=LEARNING_RATE, betas=BETAS)
    for step in range(1, STEPS + LABEL_STEPS + 1):
        rows = torch.randint(len(labels), (BATCH_ROWS,))
        real, label = images[rows], labels[rows]
        if step <= STEPS:
            loss = _improve_critic(critic, judges, (real, label), _make(generator, label))
            _improve_generator(generator, makes, critic)
            for kept, new in zip(average.parameters(), generator.parameters(), strict=True):
                kept.lerp_(new.detach(), 1 - AVERAGE_DECAY)
        else:
            loss = _improve_critic(critic, judges, (real, label), _mistake(real, label, _make(average, label)))
        if step % _STEPS_PER_REPORT == 0:
            progress(f"training: step {step} of {STEPS + LABEL_STEPS}, critic loss {loss:.3f}")
    critic.eval()  # folding in training mode would take one more step of the power iteration
    critic.fold()
    return average.eval(), critic


def _make(generator: Generator, labels: torch.Tensor) -> Labelled:
    with torch.no_grad():
        return generator(torch.randn(len(labels), NOISE_SIZE), labels), labels


def _mistake(real: torch.Tensor, labels: torch.Tensor, made: Labelled) -> Labelled:
    """Drawn digits, and as many real ones with a wrong label."""
    wrong = (labels + torch.randint(1, CLASSES, labels.shape)) % CLASSES
    return torch.cat([made[0], real]), torch.cat([made[1], wrong])


def _improve_critic(critic: Critic, optimiser: torch.optim.Optimizer, real: Labelled, others: Labelled) -> float:
    loss = functional.relu(1 - critic(*real)).mean() + functional.relu(1 + critic(*others)).mean()
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return float(loss.item())


def _improve_generator(generator: Generator, optimiser: torch.optim.Optimizer, critic: Critic) -> None:
    labels = torch.randint(CLASSES, (BATCH_ROWS,))
    critic.requires_grad_(False)  # this half of the backward pass is not needed
    loss = -critic(generator(torch.randn(BATCH_ROWS, NOISE_SIZE), labels), labels).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    critic.requires_grad_(True)


def draw_inputs(rows: int) -> dict[str, np.ndarray]:
    """Inputs of the generator, the same every time: labels in turn, ``rows`` / 10 of each."""
    generator = np.random.default_rng(_SAMPLE_SEED)
    noise = generator.standard_normal((rows, NOISE_SIZE), dtype=np.float32)
    return {"noise": noise, "label": np.arange(rows, dtype=np.int64) % CLASSES}


def _describe(generator: Generator, critic: Critic, data: digits.Digits, seed: int) -> ExportSpec:
    samples = {name: torch.from_numpy(array) for name, array in draw_inputs(SAMPLES).items()}
    return ExportSpec(
        name=NAME,
        task="generate",
        description="Draws a handwritten digit of the wanted class from noise; the graph realism scores a picture.",
        module=generator,
        inputs={name: tensor[:3] for name, tensor in samples.items()},
        outputs=("image",),
        finite=("noise",),
        ranges={"label": (0, CLASSES - 1)},
        samples=samples,
        graphs={"realism": _describe_critic(critic, data.validation, seed)},
        labels=tuple(str(digit) for digit in range(CLASSES)),
        generation=Generation(
            output="image",
            noise="noise",
            label="label",
            picture=Picture(channels=1, scale=digits.LARGEST_PIXEL / 255),
        ),
        quality=lambda predict: measure_quality(predict, data.test),
        data=f"{digits.SOURCE}: {len(data.train.labels)} train, {len(data.test.labels)} test",
        seed=seed,
        parameters={
            "steps": STEPS,
            "label_steps": LABEL_STEPS,
            "batch_rows": BATCH_ROWS,
            "optimiser": "Adam",
            "learning_rate": LEARNING_RATE,
            "beta1": BETAS[0],
            "beta2": BETAS[1],
            "average_decay": AVERAGE_DECAY,
            "loss": "hinge",
        },
        licence=digits.LICENCE,
    )


def _describe_critic(critic: Critic, part: digits.Part, seed: int) -> GraphSpec:
    samples = {"image": torch.from_numpy(part.images), "label": torch.from_numpy(part.labels)}
    return GraphSpec(
        module=critic,
        inputs={name: tensor[:3] for name, tensor in samples.items()},
        outputs=("score",),
        finite=("image",),
        ranges={"label": (0, CLASSES - 1)},
        samples=samples,
        seed=seed,
    )


def measure_quality(predict: Predict, test: digits.Part) -> Quality:
    """The judge's verdict on 100 drawn digits per class, and their variety compared with real ones of the test part.

    ``label_accuracy`` is the share of real test digits whose own class has the highest score in the graph ``realism``.
    """
    inputs = draw_inputs(CLASSES * MADE_PER_CLASS)
    made = predict(inputs)["image"]
    return Quality(
        data=f"made digits, {MADE_PER_CLASS} a class, judged by {CLASSIFIER}; diversity beside load_digits, test part",
        rows=len(made),
        metrics={
            **measure_generation(made, inputs["label"], test),
            "label_accuracy": _measure_label_accuracy(predict, test),
        },
        bar={
            "agreement": LEAST_AGREEMENT,
            "least_class_agreement": LEAST_CLASS_AGREEMENT,
            "diversity": LEAST_DIVERSITY,
        },
    )


def _measure_label_accuracy(predict: Predict, test: digits.Part) -> float:
    scores = [
        predict({"image": test.images, "label": np.full_like(test.labels, label)}, graph="realism")["score"]
        for label in range(CLASSES)
    ]
    return float(np.mean(np.argmax(scores, axis=0) == test.labels))
