"""photo-restorer: a small U-Net that removes blur and noise from photographs of any size."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import ExportSpec, Predict, Progress
from export.zoo.data import photos
from export.zoo.quality.fidelity import measure_psnr
from model_store.manifest import Quality
from model_store.tasks import Image, Reconstruction

NAME = "photo-restorer"
LEAST_GAIN_DB = 3.0
STEPS = 600
BATCH_ROWS = 16
PATCH_PIXELS = 48
LEARNING_RATE = 2e-3
CHANNELS = 24
SAMPLE_HEIGHT, SAMPLE_WIDTH = 32, 40
TILE_PIXELS = 512
SMOOTHING_SIGMAS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
_VALIDATION_NOISE, _TEST_NOISE = 1, 2  # seeds of the data: every version is measured on the same noise


class PhotoRestorer(nn.Module):
    """image [batch, 3, height, width] of 0..255 -> (reconstruction of the same shape, 0..255, error [batch]).

    The error is the mean squared difference per value between input and output. A filter smooths the picture, and a
    network predicts what to add. It works at half and a quarter of the size, rounded up, and crops the result, so any
    height and width will do.
    """

    def __init__(self) -> None:
        super().__init__()
        wide = 2 * CHANNELS
        self.smooth = nn.Conv2d(3, 3, 7, padding=3, padding_mode="replicate", bias=False)
        self.shrink = nn.Sequential(
            nn.Conv2d(3, CHANNELS, 5, stride=2, padding=2), nn.ReLU(), *_block(CHANNELS, CHANNELS)
        )
        self.survey = nn.Sequential(
            *_block(CHANNELS, wide, stride=2),
            *_block(wide, wide),
            *_block(wide, wide),
            nn.ConvTranspose2d(wide, CHANNELS, 2, stride=2),
        )
        last = nn.ConvTranspose2d(CHANNELS, 3, 4, stride=2, padding=1, bias=False)
        self.enlarge = nn.Sequential(*_block(CHANNELS, CHANNELS), *_block(CHANNELS, CHANNELS), last)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # keeps the strength of the signal through the layers
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        # It starts as a slight smoothing: in the same number of steps it learns more than from the identity.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(self.smooth.weight)
        with torch.no_grad():
            for colour in range(3):
                self.smooth.weight[colour, colour, 2:5, 2:5] = 1 / 9

    def restore(self, image: torch.Tensor) -> torch.Tensor:
        """The picture before its values are clipped to 0..255: training needs a slope beyond the ends."""
        half = self.shrink(image / photos.LARGEST_PIXEL - 0.5)
        added = self.enlarge(half + _crop(self.survey(half), half))
        restored: torch.Tensor = self.smooth(image) + _crop(added, image) * photos.LARGEST_PIXEL
        return restored

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        reconstruction = self.restore(image).clamp(0, photos.LARGEST_PIXEL)
        lines = (image - reconstruction).flatten(1, 2)
        # As products, because the order in which a mean adds depends on the memory alignment of a row. Line by line,
        # because float32 cannot hold the sum of a million squares to four digits.
        squares = torch.matmul(lines[:, :, None], lines[:, :, :, None])[:, :, 0, 0] / lines.shape[2]
        ones = torch.ones_like(squares[:, :, None])
        return reconstruction, torch.bmm(squares[:, None], ones)[:, 0, 0] / lines.shape[1]


def _block(channels_in: int, channels_out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1), nn.ReLU()


def _crop(large: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """``large`` without the extra rows and columns at its end, to fit ``wanted``."""
    return large[:, :, : wanted.shape[2], : wanted.shape[3]]


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train and describe the restorer; the same seed gives the same weights."""
    progress("loading the photographs")
    data = photos.load_photos()
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PhotoRestorer()
        _fit(model, data.train, progress)
        _validate(model, data.validation, progress)
    return _describe(model, data, seed)


def _fit(model: PhotoRestorer, photo: np.ndarray, progress: Progress) -> None:
    pairs = [_pair(photo), _pair(_soften(photo))]
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
    model.train()
    for step in range(1, STEPS + 1):
        blurred, sharp = _draw_patches(pairs[step % 2])
        noise = torch.randn_like(blurred) * photos.NOISE_SIGMA  # new in every step
        restored = model.restore((blurred + noise).clamp(0, photos.LARGEST_PIXEL))
        loss = functional.mse_loss(restored / photos.LARGEST_PIXEL, sharp / photos.LARGEST_PIXEL)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            progress(f"training: step {step} of {STEPS}, squared error {loss.item():.5f}")
    model.eval()


def _pair(photo: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([photos.blur(photo, photos.BLUR_SIGMA), photo]))


def _soften(photo: np.ndarray) -> np.ndarray:
    """Enlarged to twice the height and width: soft like out-of-focus areas, which the training photograph lacks."""
    return photos.blur(photo.repeat(2, axis=1).repeat(2, axis=2), 1.0)


def _draw_patches(pair: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches from the same places of two pictures, turned or mirrored alike, because the blur is symmetric.

    [2, 3, height, width] -> two of [BATCH_ROWS, 3, PATCH_PIXELS, PATCH_PIXELS].
    """
    height, width = pair.shape[2:]
    tops = torch.randint(height - PATCH_PIXELS + 1, (BATCH_ROWS,)).tolist()
    lefts = torch.randint(width - PATCH_PIXELS + 1, (BATCH_ROWS,)).tolist()
    patches = torch.stack(
        [pair[:, :, y : y + PATCH_PIXELS, x : x + PATCH_PIXELS] for y, x in zip(tops, lefts, strict=True)], dim=1
    )
    turns, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
    patches = torch.rot90(patches.flip(4) if mirrored else patches, turns, (3, 4))
    return patches[0], patches[1]


def _validate(model: PhotoRestorer, photo: np.ndarray, progress: Progress) -> None:
    spoilt = photos.spoil(photo, _VALIDATION_NOISE)[None]
    with torch.no_grad():
        restored, _ = model(torch.from_numpy(spoilt))
    before, after = (measure_psnr(p, photo[None], photos.LARGEST_PIXEL)[0] for p in (spoilt, restored.numpy()))
    progress(f"validation: PSNR {before:.2f} dB before, {after:.2f} dB after")


def _describe(model: PhotoRestorer, data: photos.Photos, seed: int) -> ExportSpec:
    spoilt = photos.spoil(data.validation, _VALIDATION_NOISE)
    samples = torch.from_numpy(photos.cut_patches(spoilt, SAMPLE_HEIGHT, SAMPLE_WIDTH))
    return ExportSpec(
        name=NAME,
        task="reconstruct",
        description="Takes blur and noise from a colour photograph of any size.",
        module=model,
        inputs={"image": samples[:3]},
        outputs=("reconstruction", "error"),
        dynamic={"image": {0: "batch", 2: "height", 3: "width"}},
        # Odd sizes too, which are cropped. Large ones would only slow down the proof; the quality is measured on one.
        lengths=(
            {"height": SAMPLE_HEIGHT, "width": SAMPLE_WIDTH},
            {"height": 17, "width": 23},
            {"height": 9, "width": 46},
        ),
        image=Image(input="image", channels=3),
        reconstruction=Reconstruction(output="reconstruction", error="error"),
        tile_pixels=TILE_PIXELS,  # 18 % of a tile is overlap; with 1024 it would be 9 %, at four times the memory
        finite=("image",),
        samples={"image": samples},
        atol=1e-3,  # of 255: float32 holds such values to 2e-5, and thousands of them are summed
        golden_rows=3,
        golden_atol=0.25,  # of 255: TensorFloat-32, which accelerators convolve in, keeps three digits
        quality=lambda predict: measure_quality(predict, data),
        data=(
            f"{photos.SOURCE}: train on china without its right {photos.VALIDATION_COLUMNS} columns, as it is and "
            f"enlarged, validate on those, test on flower; spoilt by Gaussian blur of {photos.BLUR_SIGMA} pixels and "
            f"Gaussian noise of {photos.NOISE_SIGMA} of {photos.LARGEST_PIXEL}, cut off at 0 and {photos.LARGEST_PIXEL}"
        ),
        seed=seed,
        parameters={
            "steps": STEPS,
            "batch_rows": BATCH_ROWS,
            "patch_pixels": PATCH_PIXELS,
            "optimiser": "AdamW",
            "schedule": "OneCycle",
            "learning_rate": LEARNING_RATE,
            "channels": CHANNELS,
            "blur_sigma_pixels": photos.BLUR_SIGMA,
            "noise_sigma": photos.NOISE_SIGMA,
        },
        licence=f"Apache-2.0 (weights); {photos.LICENCE}",
    )


def measure_quality(predict: Predict, data: photos.Photos) -> Quality:
    """How much closer the whole test photograph comes to the original.

    ``psnr_smoothed_db`` is for plain Gaussian smoothing, with the strength that is best on the validation part.
    """
    spoilt = photos.spoil(data.test, _TEST_NOISE)[None]
    restored = predict({"image": spoilt})["reconstruction"]
    smoothed = photos.blur(spoilt, _choose_smoothing(data.validation))
    psnr = {
        name: float(measure_psnr(photo, data.test[None], photos.LARGEST_PIXEL)[0])
        for name, photo in (("before", spoilt), ("after", restored), ("smoothed", smoothed))
    }
    return Quality(
        data="load_sample_images, the photograph flower (never trained on), spoilt with a fixed seed",
        rows=1,
        metrics={
            "psnr_gain_db": psnr["after"] - psnr["before"],
            "psnr_db": psnr["after"],
            "psnr_spoilt_db": psnr["before"],
            "psnr_smoothed_db": psnr["smoothed"],
        },
        bar={"psnr_gain_db": LEAST_GAIN_DB},
    )


def _choose_smoothing(photo: np.ndarray) -> float:
    spoilt = photos.spoil(photo, _VALIDATION_NOISE)[None]

    def reach(sigma: float) -> float:
        return float(measure_psnr(photos.blur(spoilt, sigma), photo[None], photos.LARGEST_PIXEL)[0])

    return max(SMOOTHING_SIGMAS, key=reach)
