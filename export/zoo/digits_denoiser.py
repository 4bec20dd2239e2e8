"""digits-denoiser: a convolutional autoencoder that removes noise from handwritten digits."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import ExportSpec, Predict, Progress
from export.zoo.data import digits
from export.zoo.quality.fidelity import measure_psnr
from export.zoo.quality.judge import measure_agreement
from export.zoo.scenes.blocks import make_block
from model_store.manifest import Quality
from model_store.tasks import Image, Reconstruction

NAME = "digits-denoiser"
LEAST_GAIN_DB = 5.0
LEAST_ACCURACY = 0.90
NOISE_SIGMA = 0.3  # of the range of a pixel
EPOCHS = 80
BATCH_ROWS = 64
LEARNING_RATE = 4e-3
CHANNELS = 32
LATENT = 32
_VALIDATION_NOISE, _TEST_NOISE = 1, 2  # seeds of the data: every version is measured on the same noise


class DigitsDenoiser(nn.Module):
    """image [batch, 1, 8, 8] of 0..16 -> (reconstruction [batch, 1, 8, 8] of 0..16, error [batch]).

    The error is the mean squared difference per pixel between input and output. The picture passes through ``LATENT``
    numbers, which can hold a digit but not its noise.
    """

    def __init__(self) -> None:
        super().__init__()
        wide = 2 * CHANNELS
        self.encoder = nn.Sequential(
            *make_block(1, CHANNELS, stride=1),
            *make_block(CHANNELS, wide, stride=2),
            *make_block(wide, wide, stride=2),
            nn.Flatten(),
            nn.Linear(wide * 2 * 2, LATENT),
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, wide * 2 * 2),
            nn.ReLU(),
            nn.Unflatten(1, (wide, 2, 2)),
            nn.ConvTranspose2d(wide, wide, 2, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(wide, CHANNELS, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        reconstruction = self.decoder(self.encoder(image / digits.LARGEST_PIXEL)) * digits.LARGEST_PIXEL
        difference = (image - reconstruction).flatten(1)
        return reconstruction, (difference * difference).mean(dim=1)


def add_noise(images: np.ndarray, seed: int) -> np.ndarray:
    """Add Gaussian noise of ``NOISE_SIGMA``, clipped to 0..16.

    float32 of any shape -> the same shape; the same for the same seed.
    """
    noise = np.random.default_rng(seed).normal(0.0, NOISE_SIGMA * digits.LARGEST_PIXEL, images.shape)
    noisy: np.ndarray = np.clip(images + noise, 0, digits.LARGEST_PIXEL).astype(np.float32)
    return noisy


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train and describe the denoiser; the same seed gives the same weights."""
    progress("loading the digits")
    data = digits.load_digits()
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitsDenoiser()
        _fit(model, torch.from_numpy(data.train.images), progress)
        _validate(model, data.validation, progress)
    return _describe(model, data, seed)


def _fit(model: DigitsDenoiser, images: torch.Tensor, progress: Progress) -> None:
    batches = len(images) // BATCH_ROWS
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=EPOCHS * batches)
    model.train()
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for rows in torch.randperm(len(images))[: batches * BATCH_ROWS].view(batches, BATCH_ROWS):
            clean = images[rows]
            noise = torch.randn_like(clean) * (NOISE_SIGMA * digits.LARGEST_PIXEL)  # new in every epoch
            reconstruction, _ = model((clean + noise).clamp(0, digits.LARGEST_PIXEL))
            loss = functional.mse_loss(reconstruction, clean)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
        progress(f"training: epoch {epoch} of {EPOCHS}, squared error {total / batches:.2f}")
    model.eval()


def _validate(model: DigitsDenoiser, part: digits.Part, progress: Progress) -> None:
    with torch.no_grad():
        reconstruction, _ = model(torch.from_numpy(add_noise(part.images, _VALIDATION_NOISE)))
    psnr = measure_psnr(reconstruction.numpy(), part.images, digits.LARGEST_PIXEL).mean()
    agreement = measure_agreement(reconstruction.numpy(), part.labels)
    progress(f"validation: PSNR {psnr:.2f} dB, accuracy {agreement:.3f}")


def _describe(model: DigitsDenoiser, data: digits.Digits, seed: int) -> ExportSpec:
    samples = torch.from_numpy(add_noise(data.validation.images, _VALIDATION_NOISE))
    return ExportSpec(
        name=NAME,
        task="reconstruct",
        description="Takes the noise from a grey picture, 8 x 8, of a handwritten digit.",
        module=model,
        inputs={"image": samples[:3]},
        outputs=("reconstruction", "error"),
        image=Image(input="image", channels=1, height=8, width=8, scale=digits.LARGEST_PIXEL / 255),
        reconstruction=Reconstruction(output="reconstruction", error="error"),
        finite=("image",),
        samples={"image": samples},
        golden_atol=0.02,  # of 16: TensorFloat-32, which accelerators convolve in, keeps three digits
        quality=lambda predict: measure_quality(predict, data.test),
        data=(
            f"{digits.SOURCE}: {len(data.train.labels)} train, {len(samples)} validate, {len(data.test.labels)} test; "
            f"Gaussian noise of {NOISE_SIGMA} of the range added, cut off at 0 and {digits.LARGEST_PIXEL}"
        ),
        seed=seed,
        parameters={
            "epochs": EPOCHS,
            "batch_rows": BATCH_ROWS,
            "optimiser": "AdamW",
            "schedule": "OneCycle",
            "learning_rate": LEARNING_RATE,
            "noise_sigma": NOISE_SIGMA,
            "channels": CHANNELS,
            "latent": LATENT,
        },
        licence=digits.LICENCE,
    )


def measure_quality(predict: Predict, test: digits.Part) -> Quality:
    """How much closer the digits are to the clean ones, and how many the judge reads, before and after.

    Both PSNR are means over pictures: of the input (noise clipped to 0..16) and of the output.
    """
    noisy = add_noise(test.images, _TEST_NOISE)
    denoised = predict({"image": noisy})["reconstruction"]
    before = float(measure_psnr(noisy, test.images, digits.LARGEST_PIXEL).mean())
    after = float(measure_psnr(denoised, test.images, digits.LARGEST_PIXEL).mean())
    return Quality(
        data="load_digits, test part (never used to fit or choose), with noise of a fixed seed",
        rows=len(test.labels),
        metrics={
            "psnr_gain_db": after - before,
            "psnr_db": after,
            "psnr_noisy_db": before,
            "accuracy": measure_agreement(denoised, test.labels),
            "accuracy_noisy": measure_agreement(noisy, test.labels),
        },
        bar={"psnr_gain_db": LEAST_GAIN_DB, "accuracy": LEAST_ACCURACY},
    )
