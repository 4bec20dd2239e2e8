"""digits-style: thickens the strokes of digits and thins them again, learnt from two unpaired sets of pictures.

Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, ICCV 2017, with the
least-squares objective of Mao et al., Least Squares Generative Adversarial Networks, ICCV 2017.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import ExportSpec, GraphSpec, Predict, Progress
from export.zoo.data import digits
from export.zoo.quality.judge import measure_agreement
from model_store.manifest import Quality
from model_store.tasks import Image, Reconstruction

NAME = "digits-style"
LEAST_PSNR_DB = 20.0
LEAST_AGREEMENT = 0.88
STEPS = 1600
BATCH_ROWS = 8
LEARNING_RATE = 2e-3
CRITIC_LEARNING_RATE = 4e-3
CYCLE_WEIGHT = 10.0
CHANNELS = 24
CRITIC_CHANNELS = 32
_PEN_PIXELS = 3


class Translator(nn.Module):
    """image [batch, 1, 8, 8] with values 0..16 -> the same digit in the other style, of the same form."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, CHANNELS, 3, padding=1),
            nn.ReLU(),
            Residual(),
            Residual(),
            nn.Conv2d(CHANNELS, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        drawn: torch.Tensor = self.layers(image / digits.LARGEST_PIXEL)
        return drawn * digits.LARGEST_PIXEL


class Residual(nn.Module):
    """Two convolutions added to the identity. Each picture is normalised alone, so the rows stay independent."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_convolve(), nn.ReLU(), *_convolve())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.layers(features)
        return features + change


def _convolve() -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)  # the normalisation has the bias
    return convolution, nn.InstanceNorm2d(CHANNELS, affine=True)


class Critic(nn.Module):
    """image [batch, 1, 8, 8] with values 0..16 -> how real each region of it looks [batch, 1, 4, 4]; real is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, CRITIC_CHANNELS, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(CRITIC_CHANNELS, 2 * CRITIC_CHANNELS, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * CRITIC_CHANNELS, 1, 3, padding=1),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        realness: torch.Tensor = self.layers(image / digits.LARGEST_PIXEL)
        return realness


def dilate(images: np.ndarray) -> np.ndarray:
    """Thicken the strokes: each pixel takes the darkest of the 3 x 3 around it; beyond the border is paper.

    ``images`` [rows, 1, 8, 8] -> the same form.
    """
    margin = _PEN_PIXELS // 2
    padded = np.pad(images, [(0, 0), (0, 0), (margin, margin), (margin, margin)])
    around = np.lib.stride_tricks.sliding_window_view(padded, (_PEN_PIXELS, _PEN_PIXELS), axis=(2, 3))
    thick: np.ndarray = around.max(axis=(4, 5))
    return thick


def split_styles(part: digits.Part) -> tuple[np.ndarray, np.ndarray]:
    """(plain, thick): half of the pictures unchanged and the other half dilated, so that no picture has a pair.

    The labels are not used.
    """
    half = len(part.images) // 2
    return part.images[:half], dilate(part.images[half:])


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train both directions and describe them; the same seed gives the same weights."""
    progress("loading the digits")
    data = digits.load_digits()
    plain, thick = (torch.from_numpy(images) for images in split_styles(data.train))
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        thicken, thin = Translator(), Translator()
        _fit(thicken, thin, plain, thick, progress)
    return _describe(thicken.eval(), thin.eval(), data, seed)


def _fit(thicken: Translator, thin: Translator, plain: torch.Tensor, thick: torch.Tensor, progress: Progress) -> None:
    critics = nn.ModuleDict({"plain": Critic(), "thick": Critic()})
    translating = _optimise([*thicken.parameters(), *thin.parameters()], LEARNING_RATE)
    judging = _optimise([*critics.parameters()], CRITIC_LEARNING_RATE)
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimiser, _decay) for optimiser in (translating, judging)]
    for step in range(1, STEPS + 1):
        real = {"plain": _draw(plain), "thick": _draw(thick)}
        made = {"plain": thin(real["thick"]), "thick": thicken(real["plain"])}
        returned = {"plain": thin(made["thick"]), "thick": thicken(made["plain"])}

        critics.requires_grad_(False)
        fooled = _add(_miss(critics[style](made[style]), 1.0) for style in critics)
        cycle = _add(functional.l1_loss(returned[style], real[style]) / digits.LARGEST_PIXEL for style in critics)
        _advance(translating, fooled + CYCLE_WEIGHT * cycle)

        critics.requires_grad_(True)
        missed = _add(
            _miss(critics[style](real[style]), 1.0) + _miss(critics[style](made[style].detach()), 0.0)
            for style in critics
        )
        _advance(judging, missed / 2)
        for schedule in schedules:
            schedule.step()
        if step % 50 == 0:
            progress(f"training: step {step} of {STEPS}, cycle loss {cycle.item():.3f}, critics {missed.item():.3f}")


def _optimise(parameters: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=rate, betas=(0.5, 0.999))


def _draw(images: torch.Tensor) -> torch.Tensor:
    return images[torch.randint(len(images), (BATCH_ROWS,))]


def _miss(realness: torch.Tensor, wanted: float) -> torch.Tensor:
    return (realness - wanted).square().mean()


def _add(losses: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.stack([*losses]).sum()


def _advance(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _decay(step: int) -> float:
    """The full rate for the first half, then straight down to zero, as in the paper."""
    return min(1.0, 2 * (1 - step / STEPS))


def _describe(thicken: Translator, thin: Translator, data: digits.Digits, seed: int) -> ExportSpec:
    plain = torch.from_numpy(data.validation.images)
    thick = torch.from_numpy(dilate(data.validation.images))
    return ExportSpec(
        name=NAME,
        task="reconstruct",
        description="Writes a handwritten digit with a thick pen; its graph thin does the opposite.",
        module=thicken,
        inputs={"image": plain[:3]},
        outputs=("reconstruction",),
        graphs={
            "thin": GraphSpec(
                module=thin,
                inputs={"image": thick[:3]},
                outputs=("reconstruction",),
                finite=("image",),
                samples={"image": thick},
                seed=seed,
            )
        },
        image=Image(input="image", channels=1, height=8, width=8, scale=digits.LARGEST_PIXEL / 255),
        reconstruction=Reconstruction(output="reconstruction", graphs=("main", "thin")),
        finite=("image",),
        samples={"image": plain},
        quality=lambda predict: measure_quality(predict, data.test),
        data=f"{digits.SOURCE}: {len(data.train.labels)} train (half as they are, the other half dilated by "
        f"{_PEN_PIXELS} x {_PEN_PIXELS}), {len(plain)} validate, {len(data.test.labels)} test",
        seed=seed,
        parameters={
            "steps": STEPS,
            "batch_rows": BATCH_ROWS,
            "optimiser": "Adam",
            "learning_rate": LEARNING_RATE,
            "critic_learning_rate": CRITIC_LEARNING_RATE,
            "cycle_weight": CYCLE_WEIGHT,
            "channels": CHANNELS,
            "critic_channels": CRITIC_CHANNELS,
        },
        licence=digits.LICENCE,
    )


def measure_quality(predict: Predict, test: digits.Part) -> Quality:
    """How close thickened digits come to dilated ones, and whether the judge reads the thinned ones."""
    thick = dilate(test.images)
    thickened = predict({"image": test.images})["reconstruction"]
    thinned = predict({"image": thick}, "thin")["reconstruction"]
    return Quality(
        data="load_digits, test part (never used to fit or choose)",
        rows=len(test.labels),
        metrics={
            "psnr_thick_db": measure_psnr(thickened, thick),
            "psnr_thinned_db": measure_psnr(thinned, test.images),
            "psnr_untranslated_db": measure_psnr(test.images, thick),
            "agreement_thinned": measure_agreement(thinned, test.labels),
            "agreement_untranslated": measure_agreement(thick, test.labels),
        },
        bar={"psnr_thick_db": LEAST_PSNR_DB, "agreement_thinned": LEAST_AGREEMENT},
    )


def measure_psnr(images: np.ndarray, wanted: np.ndarray) -> float:
    """The peak signal-to-noise ratio over all pixels in dB; the peak is 16."""
    error = np.mean((images.astype(np.float64) - wanted) ** 2)
    return float(10 * np.log10(digits.LARGEST_PIXEL**2 / error))
