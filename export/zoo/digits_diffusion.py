"""digits-diffusion: draws handwritten digits of a requested class by removing noise step by step.

A denoising diffusion model (Ho et al., 2020) with the cosine schedule of Nichol and Dhariwal (2021), which predicts the
velocity (Salimans and Ho, 2022). One graph is one step from any noise level to any lower one, with the update of Song
et al. (Denoising Diffusion Implicit Models, 2021) and classifier-free guidance (Ho and Salimans, 2022).
"""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import Arrays, ExportSpec, Predict, Progress
from export.zoo.data import digits
from export.zoo.quality.judge import CLASSES, CLASSIFIER, measure_generation
from model_store.manifest import Quality
from model_store.tasks import Carry, Diffusion, Generation, Loop, Picture

NAME = "digits-diffusion"
LEAST_AGREEMENT = 0.98
LEAST_CLASS_AGREEMENT = 0.93
LEAST_DIVERSITY = 0.7
TIMES = 200
STEPS = 20
GUIDANCE = 0.5
CHANNELS = 16
GROUPS = 4
CONDITION_SIZE = 64
TRAINING_STEPS = 1500
BATCH_ROWS = 64
LEARNING_RATE = 2e-3
LABEL_DROP = 0.1
AVERAGE_DECAY = 0.995
MADE_PER_CLASS = 100
_HALF_RANGE = digits.LARGEST_PIXEL / 2
_FREQUENCIES = 16
_SCHEDULE_OFFSET = 0.008  # of Nichol and Dhariwal: the first level is not too faint to learn from
_SAMPLE_SEED = 0  # a seed of the measured samples: every version is measured on the same noise
_STEPS_PER_REPORT = 100
Step = Callable[[Arrays], Arrays]
"""The inputs of one denoising step by name -> its outputs by name."""


class Denoiser(nn.Module):
    """A U-Net of two sizes that predicts the velocity; each picture is normalised alone.

    sample [batch, 1, 8, 8] with values about -1..1, time features [batch, 32], label condition [batch, 64] -> the
    velocity, shaped like the sample.
    """

    def __init__(self) -> None:
        super().__init__()
        wide = 2 * CHANNELS
        self.time = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, CONDITION_SIZE), nn.SiLU(), nn.Linear(CONDITION_SIZE, CONDITION_SIZE)
        )
        self.enter = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.before = Block(CHANNELS, CHANNELS)
        self.shrink = nn.Conv2d(CHANNELS, wide, 3, stride=2, padding=1)
        self.inside = nn.ModuleList([Block(wide, wide), Block(wide, wide)])
        self.enlarge = nn.ConvTranspose2d(wide, CHANNELS, 2, stride=2)
        self.after = Block(wide, CHANNELS)
        self.leave = nn.Sequential(nn.GroupNorm(GROUPS, CHANNELS), nn.SiLU(), nn.Conv2d(CHANNELS, 1, 3, padding=1))

    def forward(self, sample: torch.Tensor, time: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        condition = functional.silu(self.time(time) + label)
        outer = self.before(self.enter(sample), condition)
        inner = self.shrink(outer)
        for block in self.inside:
            inner = block(inner, condition)
        velocity: torch.Tensor = self.leave(self.after(torch.cat([self.enlarge(inner), outer], dim=1), condition))
        return velocity


class Block(nn.Module):
    """Two convolutions added to the identity. The condition [batch, 64] shifts every channel between them."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = _convolve(channels_in, channels_out)
        self.shift = nn.Linear(CONDITION_SIZE, channels_out)
        self.second = _convolve(channels_out, channels_out)
        same = channels_in == channels_out
        self.skip = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, features: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        hidden = self.first(features) + self.shift(condition)[:, :, None, None]
        mixed: torch.Tensor = self.skip(features) + self.second(hidden)
        return mixed


def _convolve(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.GroupNorm(GROUPS, channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels_out, 3, padding=1)
    )


class DenoisingStep(nn.Module):
    """One step of every row from its noise level to a lower one: (next_sample, preview), both [batch, 1, 8, 8].

    ``sample`` [batch, 1, 8, 8] is standard normal at level 199 and a picture in -1..1 without noise. ``time`` and
    ``next_time`` int64 [batch] are its level, 0..199, and the next level, down to -1 (no noise). ``label`` int64
    [batch] has values 0..9. ``guidance`` [batch] says how far to move from the unlabelled prediction beyond the
    labelled one; 0 is the label alone. ``noise`` [batch, 1, 8, 8] is standard normal; ``eta`` [batch] is how much of it
    is added, from 0 (DDIM) to 1 (DDPM). ``preview`` is the finished picture predicted at this step, with values 0..16.
    """

    features: torch.Tensor
    share: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.denoiser = Denoiser()
        self.label = nn.Embedding(CLASSES, CONDITION_SIZE)
        self.no_label = nn.Parameter(torch.zeros(CONDITION_SIZE))
        self.register_buffer("features", torch.from_numpy(_make_features()))
        self.register_buffer("share", torch.from_numpy(make_schedule()))

    def forward(
        self,
        sample: torch.Tensor,
        time: torch.Tensor,
        next_time: torch.Tensor,
        label: torch.Tensor,
        guidance: torch.Tensor,
        noise: torch.Tensor,
        eta: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        velocity = self._guide(sample, time, label, _widen(guidance))
        now, later = _widen(self.share[time + 1]), _widen(self.share[next_time + 1])
        finished = now.sqrt() * sample - (1 - now).sqrt() * velocity
        found = (1 - now).sqrt() * sample + now.sqrt() * velocity
        # The share of new noise in the variance of the noise at the next level. With a share, the rest of the variance
        # is a product; a difference could be pure rounding, whose square root is large.
        fresh = (_widen(eta) ** 2 * (1 - now / later) / (1 - now)).clamp(0, 1)
        kept = ((1 - later) * (1 - fresh)).sqrt() * found
        next_sample = later.sqrt() * finished + kept + ((1 - later) * fresh).sqrt() * noise
        return next_sample, ((finished + 1) * _HALF_RANGE).clamp(0, digits.LARGEST_PIXEL)

    def _guide(
        self, sample: torch.Tensor, time: torch.Tensor, label: torch.Tensor, guidance: torch.Tensor
    ) -> torch.Tensor:
        """Run with and without the label, in one batch of twice as many rows."""
        rows, features = sample.shape[0], self.features[time]
        labels = torch.cat([self.label(label), self.no_label.expand(rows, -1)])
        both: torch.Tensor = self.denoiser(torch.cat([sample, sample]), torch.cat([features, features]), labels)
        wanted, usual = both[:rows], both[rows:]
        return wanted + guidance * (wanted - usual)

    def measure_loss(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The mean squared error of the velocity at random levels. The label of some rows is hidden."""
        noise, time = torch.randn_like(image), torch.randint(TIMES, label.shape)
        share = _widen(self.share[time + 1])
        sample = share.sqrt() * image + (1 - share).sqrt() * noise
        velocity = share.sqrt() * noise - (1 - share).sqrt() * image
        told = torch.rand(label.shape) >= LABEL_DROP
        condition = torch.where(told[:, None], self.label(label), self.no_label)
        return functional.mse_loss(self.denoiser(sample, self.features[time], condition), velocity)


def _widen(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]


def make_schedule() -> np.ndarray:
    """The picture's share of a sample's variance, float32 [201]: from 1 at level -1 to almost 0 at 199."""
    angle = (np.arange(TIMES + 1) / TIMES + _SCHEDULE_OFFSET) / (1 + _SCHEDULE_OFFSET) * math.pi / 2
    share: np.ndarray = np.cos(angle) ** 2 / np.cos(angle[0]) ** 2
    return share.astype(np.float32)


def _make_features() -> np.ndarray:
    """Sines and cosines of each level, float32 [200, 32], as for positions in a text."""
    frequencies = np.geomspace(1, 1 / TIMES, _FREQUENCIES)
    angles = np.arange(TIMES)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train and describe the denoising step; the same seed gives the same weights."""
    progress("loading the digits")
    data = digits.load_digits()
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _fit(data.train, progress)
        _validate(model, data.validation, progress)
    return _describe(model, data, seed)


def _fit(part: digits.Part, progress: Progress) -> DenoisingStep:
    """The moving average of the trained weights."""
    images, labels = torch.from_numpy(part.images) / _HALF_RANGE - 1, torch.from_numpy(part.labels)
    model = DenoisingStep()
    average = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=TRAINING_STEPS)
    total = 0.0
    for step in range(1, TRAINING_STEPS + 1):
        rows = torch.randint(len(labels), (BATCH_ROWS,))
        loss = model.measure_loss(images[rows], labels[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        for kept, new in zip(average.parameters(), model.parameters(), strict=True):
            kept.lerp_(new.detach(), 1 - AVERAGE_DECAY)
        total += loss.item()
        if step % _STEPS_PER_REPORT == 0:
            progress(f"training: step {step} of {TRAINING_STEPS}, loss {total / _STEPS_PER_REPORT:.3f}")
            total = 0.0
    return average.eval()


def _validate(model: DenoisingStep, part: digits.Part, progress: Progress) -> None:
    def step(inputs: Arrays) -> Arrays:
        with torch.no_grad():
            next_sample, preview = model(**{name: torch.from_numpy(array) for name, array in inputs.items()})
        return {"next_sample": next_sample.numpy(), "preview": preview.numpy()}

    labels = list_labels()
    found = measure_generation(draw(step, labels), labels, part)
    progress("validation: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))


def list_labels() -> np.ndarray:
    """The labels of the digits that are drawn for the measurement, in turn, int64 [1000]."""
    return np.arange(CLASSES * MADE_PER_CLASS, dtype=np.int64) % CLASSES


def list_times(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(time, next_time) of each step from the level 199 down to none, both int64 [steps]."""
    times = np.linspace(TIMES - 1, 0, steps).round().astype(np.int64)
    return times, np.append(times[1:], -1)


def draw(step: Step, labels: np.ndarray) -> np.ndarray:
    """A picture for each label, drawn in 20 steps without further noise; the same every time.

    ``labels`` int64 [rows] -> float32 [rows, 1, 8, 8] with values 0..16.
    """
    rows = len(labels)
    sample = np.random.default_rng(_SAMPLE_SEED).standard_normal((rows, 1, 8, 8), dtype=np.float32)
    settled = {
        "label": labels,
        "guidance": np.full(rows, GUIDANCE, np.float32),
        "noise": np.zeros_like(sample),
        "eta": np.zeros(rows, np.float32),
    }
    preview = sample
    for time, next_time in zip(*list_times(STEPS), strict=True):
        levels = {"time": np.full(rows, time), "next_time": np.full(rows, next_time)}
        made = step({"sample": sample, **levels, **settled})
        sample, preview = made["next_sample"], made["preview"]
    return preview


def draw_samples(part: digits.Part) -> dict[str, np.ndarray]:
    """Inputs of a step, the same every time: each digit at a random noise level, with a lower next level."""
    generator, rows = np.random.default_rng(_SAMPLE_SEED), len(part.labels)
    time = generator.integers(0, TIMES, rows)
    share = make_schedule()[time + 1][:, None, None, None]
    mixed, fresh = generator.standard_normal((2, *part.images.shape), dtype=np.float32)
    return {
        "sample": np.sqrt(share) * (part.images / _HALF_RANGE - 1) + np.sqrt(1 - share) * mixed,
        "time": time,
        "next_time": generator.integers(-1, time),
        "label": part.labels,
        "guidance": generator.random(rows, dtype=np.float32),
        "noise": fresh,
        "eta": generator.random(rows, dtype=np.float32),
    }


def _describe(model: DenoisingStep, data: digits.Digits, seed: int) -> ExportSpec:
    samples = {name: torch.from_numpy(array) for name, array in draw_samples(data.validation).items()}
    return ExportSpec(
        name=NAME,
        task="generate",
        description="Draws a handwritten digit of the wanted class by taking the noise from noise, step by step.",
        module=model,
        inputs={name: tensor[:3] for name, tensor in samples.items()},
        outputs=("next_sample", "preview"),
        finite=("sample", "guidance", "noise", "eta"),
        ranges={"time": (0, TIMES - 1), "next_time": (-1, TIMES - 1), "label": (0, CLASSES - 1)},
        samples=samples,
        atol=5e-5,  # of 16: eight times the rounding of a sample in -1..1
        golden_atol=0.02,  # of 16: TensorFloat-32, which accelerators convolve in, keeps three digits
        labels=tuple(str(digit) for digit in range(CLASSES)),
        loop=Loop(carries=(Carry(input="sample", output="next_sample"),), max_steps=TIMES),
        generation=_describe_generation(),
        quality=lambda predict: measure_quality(predict, data.test),
        data=f"{digits.SOURCE}: {len(data.train.labels)} train, {len(data.validation.labels)} validate, "
        f"{len(data.test.labels)} test",
        seed=seed,
        parameters={
            "steps": TRAINING_STEPS,
            "batch_rows": BATCH_ROWS,
            "optimiser": "AdamW",
            "schedule": "OneCycle",
            "learning_rate": LEARNING_RATE,
            "label_drop": LABEL_DROP,
            "average_decay": AVERAGE_DECAY,
            "channels": CHANNELS,
        },
        licence=digits.LICENCE,
    )


def _describe_generation() -> Generation:
    return Generation(
        output="preview",
        noise="sample",
        label="label",
        picture=Picture(channels=1, scale=digits.LARGEST_PIXEL / 255),
        diffusion=Diffusion(
            time="time",
            next_time="next_time",
            times=TIMES,
            preview="preview",
            step_noise="noise",
            guidance="guidance",
            eta="eta",
            steps=STEPS,
            default_guidance=GUIDANCE,
        ),
    )


def measure_quality(predict: Predict, test: digits.Part) -> Quality:
    """The judge's verdict on 100 drawn digits per class, and their variety compared with real ones of the test part."""
    labels = list_labels()
    made = draw(predict, labels)
    return Quality(
        data=f"digits made in {STEPS} steps, guidance {GUIDANCE}, {MADE_PER_CLASS} a class, judged by {CLASSIFIER}; "
        "diversity beside load_digits, test part",
        rows=len(made),
        metrics=measure_generation(made, labels, test),
        bar={
            "agreement": LEAST_AGREEMENT,
            "least_class_agreement": LEAST_CLASS_AGREEMENT,
            "diversity": LEAST_DIVERSITY,
        },
    )
