"""digits-matcher: a vector for each handwritten digit, by which two pictures are of the same digit or not.

It learns from 0 to 6 and is tested on 7 to 9. Seven classes teach too little about others, so it also learns from the
upper half of one digit above the lower half of another, in some branches mirrored or turned too. The classifiers are of
NormFace: Wang et al., L2 Hypersphere Embedding for Face Verification, ACM Multimedia 2017.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import ExportSpec, Predict, Progress
from export.zoo.data import digits
from export.zoo.quality.verification import compare_pairs, find_equal_error, measure_auroc, measure_errors
from export.zoo.scenes.blocks import make_block
from model_store.manifest import Quality
from model_store.tasks import Embedding, Image

NAME = "digits-matcher"
LEAST_AUROC = 0.90
SEEN = tuple(range(7))
UNSEEN = tuple(range(7, 10))
STEPS = 300  # of each branch
BATCH_ROWS = 128
VIEWS = (1, 1, 1, 4, 4, 4)
"""For each branch: 1 learns from upright pictures, 4 also from mirrored, turned and transposed ones as other kinds."""
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
TEMPERATURE = 0.1
WHOLE_SHARE = 0.4  # of the digits; the others are put together of two
CHANNELS = 24
BRANCH_SIZE = 16
EDGES_SIZE = 64
EDGES_WEIGHT = 2.0  # a branch has 1
LARGEST_ANGLE = 12.0  # degrees
LARGEST_STRETCH = 0.15
LARGEST_SHEAR = 0.15
LARGEST_SHIFT = 0.25  # of half a picture: one pixel
_LEAST_SLOPE = 1e-6  # squared
_LEAST_STRENGTH = 1e-4  # a root is too steep at zero to be the same everywhere


class DigitsMatcher(nn.Module):
    """image [batch, 1, 8, 8] of 0..16 -> vector [batch, 160] of length 1.

    The vector joins what the branches learnt of the classes that they saw with the strength of edges, which is
    measured alike in any class.
    """

    def __init__(self) -> None:
        super().__init__()
        self.edges = Edges()
        self.branches = nn.ModuleList(_make_branch() for _ in VIEWS)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pixels = image / digits.LARGEST_PIXEL
        parts = [functional.normalize(branch(pixels)) for branch in self.branches]
        return functional.normalize(torch.cat([EDGES_WEIGHT * functional.normalize(self.edges(pixels)), *parts], 1))


class Edges(nn.Module):
    """The strength of edges in eight directions, smoothed: the ``EDGES_SIZE`` components that vary most."""

    slopes: torch.Tensor
    smooth: torch.Tensor
    mean: torch.Tensor
    components: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        across = torch.zeros(3, 3)
        across[1] = torch.tensor([-1.0, 0.0, 1.0])
        diagonal = (across + across.T) / 2**0.5, (across - across.T) / 2**0.5
        slopes = torch.stack([across, across.T, *diagonal])
        self.register_buffer("slopes", torch.cat([slopes, -slopes])[:, None])
        weights = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("smooth", torch.outer(weights, weights).expand(8, 1, 3, 3).clone())
        self.register_buffer("mean", torch.zeros(8 * 8 * 8))
        self.register_buffer("components", torch.zeros(8 * 8 * 8, EDGES_SIZE))

    def measure(self, pixels: torch.Tensor) -> torch.Tensor:
        """[batch, 1, 8, 8] -> [batch, 512].

        Directions count by the cube of their cosine, and strengths by their root, so that faint strokes count too.
        """
        slopes = functional.conv2d(pixels, self.slopes, padding=1)
        squared = slopes[:, :2].square().sum(dim=1, keepdim=True) + _LEAST_SLOPE
        strengths = slopes.relu() ** 3 / squared
        for _ in range(2):
            strengths = functional.conv2d(strengths, self.smooth, padding=1, groups=8)
        return (strengths + _LEAST_STRENGTH).sqrt().flatten(1)

    def fit(self, pixels: torch.Tensor) -> None:
        """Find the mean and the components."""
        strengths = self.measure(pixels)
        self.mean.copy_(strengths.mean(dim=0))
        self.components.copy_(torch.linalg.svd(strengths - self.mean, full_matrices=False)[2][:EDGES_SIZE].T)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (self.measure(pixels) - self.mean) @ self.components


def _make_branch() -> nn.Module:
    wide = 2 * CHANNELS
    return nn.Sequential(
        *make_block(1, CHANNELS),
        *make_block(CHANNELS, CHANNELS),
        *make_block(CHANNELS, wide, stride=2),
        *make_block(wide, wide),
        *make_block(wide, wide, stride=2),
        nn.Flatten(),
        nn.Linear(wide * 2 * 2, BRANCH_SIZE),
    )


def take_classes(parts: Sequence[digits.Part], classes: tuple[int, ...]) -> digits.Part:
    """All pictures of these classes."""
    images, labels = np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts])
    mine = np.isin(labels, classes)
    return digits.Part(images[mine], labels[mine])


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train, calibrate and describe the matcher; the same seed gives the same weights."""
    progress("loading the digits")
    data = digits.load_digits()
    seen = take_classes([data.train, data.test], SEEN)  # the test is of other classes, so it leaves these free
    validation = take_classes([data.validation], SEEN)
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitsMatcher()
        pixels, labels = torch.from_numpy(seen.images) / digits.LARGEST_PIXEL, torch.from_numpy(seen.labels)
        model.edges.fit(pixels)
        for number, (branch, views) in enumerate(zip(model.branches, VIEWS, strict=True), 1):
            loss = _fit(branch, pixels, labels, views)
            progress(f"training: branch {number} of {len(VIEWS)}, loss {loss:.3f}")
        with torch.no_grad():
            vectors = model.eval()(torch.from_numpy(validation.images)).numpy()
    pairs = compare_pairs(vectors, validation.labels)
    progress(f"validation: AUROC of pairs of classes that were seen {measure_auroc(pairs):.4f}")
    return _describe(model, data, round(find_equal_error(pairs), 3), seed)


def _fit(branch: nn.Module, pixels: torch.Tensor, labels: torch.Tensor, views: int) -> float:
    """Train a branch to tell all kinds apart by the cosine with a vector for each. The mean loss of the last steps."""
    centres = nn.Parameter(torch.randn(views * len(SEEN) ** 2, BRANCH_SIZE))
    optimiser = torch.optim.AdamW([*branch.parameters(), centres], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
    branch.train()
    losses = []
    for _ in range(STEPS):
        joined, kinds = _join_halves(pixels, labels)
        chosen = torch.randint(views, kinds.shape)
        cosines = functional.normalize(branch(_distort(_turn(joined, chosen)))) @ functional.normalize(centres).T
        loss = functional.cross_entropy(cosines / TEMPERATURE, chosen * len(SEEN) ** 2 + kinds)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses[-20:]))


def _join_halves(pixels: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures [rows, 1, 8, 8], and their kinds [rows]: the label of the upper half times 7, plus that of the lower."""
    upper, lower = torch.randint(len(pixels), (2, BATCH_ROWS))
    lower = torch.where(torch.rand(BATCH_ROWS) < WHOLE_SHARE, upper, lower)
    half = pixels.shape[2] // 2
    joined = torch.cat([pixels[upper, :, :half], pixels[lower, :, half:]], dim=2)
    return joined, labels[upper] * len(SEEN) + labels[lower]


def _turn(pixels: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
    """Each picture upright (0), mirrored (1), turned by a quarter (2) or transposed (3).

    Never by a half: a 6 would become a 9, which is for the test.
    """
    turned = torch.stack([pixels, pixels.flip(3), torch.rot90(pixels, 1, (2, 3)), pixels.transpose(2, 3)])
    return turned[views, torch.arange(len(pixels))]


def _distort(pixels: torch.Tensor) -> torch.Tensor:
    """Each picture turned, stretched, sheared and moved a little, at random."""
    angle, width, height, shear, x, y = torch.rand(6, len(pixels)) * 2 - 1
    angle = torch.deg2rad(angle * LARGEST_ANGLE)
    width, height = 1 + width * LARGEST_STRETCH, 1 + height * LARGEST_STRETCH
    across = torch.stack([angle.cos() * width, shear * LARGEST_SHEAR - angle.sin() * height, x * LARGEST_SHIFT], dim=1)
    down = torch.stack([angle.sin() * width, angle.cos() * height, y * LARGEST_SHIFT], dim=1)
    grid = functional.affine_grid(torch.stack([across, down], dim=1), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, align_corners=False)


def _describe(model: DigitsMatcher, data: digits.Digits, threshold: float, seed: int) -> ExportSpec:
    samples = torch.from_numpy(take_classes([data.validation], SEEN).images)
    unseen = take_unseen(data)
    seen_rows = len(take_classes([data.train, data.test], SEEN).labels)
    embedding = Embedding(output="vector", normalise=True, metric="cosine", threshold=threshold)
    return ExportSpec(
        name=NAME,
        task="embed",
        description="Tells whether two handwritten digits, grey pictures of 8 x 8, are the same, of any class.",
        module=model,
        inputs={"image": samples[:3]},
        outputs=("vector",),
        image=Image(input="image", channels=1, height=8, width=8, scale=digits.LARGEST_PIXEL / 255),
        embedding=embedding,
        finite=("image",),
        samples={"image": samples},
        quality=lambda predict: measure_quality(predict, unseen, threshold),
        data=(
            f"{digits.SOURCE}: {seen_rows} of the digits {SEEN[0]} to {SEEN[-1]} to train, {len(samples)} for the "
            f"threshold; {len(unseen.labels)} of the digits {UNSEEN[0]} to {UNSEEN[-1]} to test"
        ),
        seed=seed,
        parameters={
            "steps": STEPS,
            "batch_rows": BATCH_ROWS,
            "optimiser": "AdamW",
            "schedule": "OneCycle",
            "learning_rate": LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "softmax_temperature": TEMPERATURE,
            "whole_share": WHOLE_SHARE,
            "channels": CHANNELS,
            "branches": len(VIEWS),
            "edges_weight": EDGES_WEIGHT,
        },
        licence=digits.LICENCE,
    )


def take_unseen(data: digits.Digits) -> digits.Part:
    """All pictures of the classes that are for the test only."""
    return take_classes([data.train, data.validation, data.test], UNSEEN)


def measure_quality(predict: Predict, unseen: digits.Part, threshold: float) -> Quality:
    """How well same and different pairs of classes that were never seen are told apart.

    ``auroc_pixels`` is that of the cosine of the pictures themselves. The errors are those at the threshold.
    """
    pairs = compare_pairs(predict({"image": unseen.images})["vector"], unseen.labels)
    plain = compare_pairs(unseen.images.reshape(len(unseen.images), -1), unseen.labels)
    false_accepts, false_rejects = measure_errors(pairs, threshold)
    return Quality(
        data="load_digits, all pairs of the digits 7 to 9, never used to fit or calibrate; five designs were tried",
        rows=len(unseen.labels),
        metrics={
            "auroc": measure_auroc(pairs),
            "auroc_pixels": measure_auroc(plain),
            "false_accepts": false_accepts,
            "false_rejects": false_rejects,
        },
        bar={"auroc": LEAST_AUROC},
    )
