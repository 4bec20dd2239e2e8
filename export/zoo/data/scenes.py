"""Handwritten digits pasted into photographs, of which no digit and no photograph is in two parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from export.zoo.data import digits

SOURCE = (
    "scikit-learn load_digits in crops of photographs: astronaut, brick, chelsea, grass, gravel and hubble_deep_field "
    "of scikit-image and china of scikit-learn to train, camera of scikit-image to validate, coffee and rocket of "
    "scikit-image and flower of scikit-learn to test"
)
LICENCE = (
    f"{digits.LICENCE}; photographs of scikit-image CC0 or in the public domain, of scikit-learn by danielbuechele "
    "(china) and vultilion (flower), CC BY 2.0"
)
HELD_OUT = "scenes of a fixed seed, of digits and photographs that are in no other part"
"""The data on which every version is measured."""
LARGEST_PIXEL = 255
LEAST_HEIGHT, LARGEST_HEIGHT = 22, 56  # pixels, of the 8 x 8 picture of a digit
MOST_DIGITS = 6
_PHOTOS = {
    "train": ("astronaut", "brick", "chelsea", "china", "grass", "gravel", "hubble_deep_field"),
    "validation": ("camera",),
    "test": ("coffee", "flower", "rocket"),
}
_OF_SKLEARN = ("china", "flower")
_LARGEST_ZOOM = 2.0  # pixels of a photograph for one of the scene
_PADDED_SHARE = 0.2
_LARGEST_ANGLE = 10.0  # degrees
_LARGEST_STRETCH = 1.15
_ROOM = 1.25  # of a digit's height: the side of the square that it has for itself, turned and stretched
_LARGEST_BLUR = 0.03  # sigma, of the height of a digit
_SHARPEST = 3.0  # how much steeper the edges of ink may become than those of an enlarged picture
_LEAST_OPACITY = 0.8
_LEAST_CONTRAST = 50  # levels of luminance between ink and photograph ...
_CLEAR_SHARE = 0.9  # ... in this share of the pixels with ink
_INK = 0.3  # a pixel with more ink than this belongs to a digit
_TRIES = 20
_LUMINANCE = np.array([0.299, 0.587, 0.114])


Square = tuple[int, int, int]
"""Left, top and the side, in pixels."""
Edges = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels."""
FindPlace = Callable[[int, Edges, Sequence[Square], np.random.Generator], Square | None]
"""(side, edges of the photograph, squares of the digits before, generator) -> that of the next digit."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the scenes of one part are made of: uint8 photographs [height, width, 3], and digits."""

    photos: tuple[np.ndarray, ...]
    digits: digits.Part
    recoloured: bool = False
    """Whether the photographs get other colours at random."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Train to fit, validation to choose, test only to report."""

    train: Source
    validation: Source
    test: Source

    def count_digits(self) -> str:
        """The number of digits in each part, in words."""
        train, validation, test = (len(part.digits.labels) for part in (self.train, self.validation, self.test))
        return f"{train} digits to train, {validation} to validate, {test} to test"


@dataclass(frozen=True, slots=True)
class Scene:
    """``image`` uint8 [side, side, 3], ``ink`` bool [side, side], ``boxes`` float32 [digits, 4], ``labels`` int64
    [digits].

    ``ink`` is whether a pixel belongs to a digit. A box is left, top, right, bottom in pixels. It encloses the ink.
    """

    image: np.ndarray
    ink: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def load_sources() -> Sources:
    """The photographs and digits. Needs scikit-image, whose package brings the photographs."""
    data = digits.load_digits()
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    train, validation, test = (
        Source(tuple(map(_load_photo, _PHOTOS[name])), part, recoloured=name == "train") for name, part in parts.items()
    )
    return Sources(train, validation, test)


def _load_photo(name: str) -> np.ndarray:
    if name in _OF_SKLEARN:
        from sklearn.datasets import load_sample_image

        return np.asarray(load_sample_image(f"{name}.jpg"))
    from skimage import data

    photo = np.asarray(getattr(data, name)())
    return photo if photo.ndim == 3 else photo[:, :, None].repeat(3, axis=2)


def draw_scenes(source: Source, count: int, side: int, seed: int) -> list[Scene]:
    """Square scenes of ``side`` pixels with 0 to ``MOST_DIGITS`` digits; the same for the same seed."""
    generator = np.random.default_rng(seed)
    return [draw_scene(source, side, int(generator.integers(MOST_DIGITS + 1)), generator) for _ in range(count)]


def draw_scene(
    source: Source,
    side: int,
    most_digits: int,
    generator: np.random.Generator,
    heights: tuple[float, float] = (LEAST_HEIGHT, LARGEST_HEIGHT),
    find_place: FindPlace | None = None,
) -> Scene:
    """A square scene with as many digits as find room beside each other, at most ``most_digits``."""
    find_place = find_place or _find_place
    image, inside = _draw_photo(source, side, generator)
    inked = np.zeros((side, side), bool)
    taken: list[Square] = []
    boxes: list[np.ndarray] = []
    labels: list[int] = []
    for _ in range(most_digits):
        height = np.exp(generator.uniform(*np.log(heights)))
        place = find_place(int(np.ceil(height * _ROOM)), inside, taken, generator)
        if place is None:
            continue
        row = generator.integers(len(source.digits.labels))
        ink = _draw_ink(source.digits.images[row, 0], height, place[2], generator)
        if _paste(image, ink, place, generator):
            taken.append(place)
            x, y, size = place
            inked[y : y + size, x : x + size] = ink > _INK
            rows, columns = (np.flatnonzero((ink > _INK).any(axis=axis)) for axis in (1, 0))
            boxes.append(np.add((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), (x, y, x, y)))
            labels.append(int(source.digits.labels[row]))
    pixels = np.round(image).astype(np.uint8)
    return Scene(pixels, inked, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64))


def stack_images(drawn: Sequence[Scene]) -> np.ndarray:
    """The pictures as rows of a graph, float32 [rows, 3, side, side]."""
    return np.ascontiguousarray(np.stack([scene.image for scene in drawn]).transpose(0, 3, 1, 2), np.float32)


def _draw_photo(
    source: Source, side: int, generator: np.random.Generator
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A crop as float64 [side, side, 3], perhaps mirrored, brighter or darker. Some have the padding of a picture that
    is not square.

    Also left, top, right and bottom of what is no padding.
    """
    photo = source.photos[generator.integers(len(source.photos))]
    inside = [0, 0, side, side]
    if generator.random() < _PADDED_SHARE:
        bar = int(generator.integers(1, side // 4))
        axis = int(generator.integers(2))
        inside[axis], inside[axis + 2] = bar, side - bar
    height, width = inside[3] - inside[1], inside[2] - inside[0]
    zoom = min(generator.uniform(1, _LARGEST_ZOOM), photo.shape[0] / height, photo.shape[1] / width)
    top = generator.uniform(0, max(0, photo.shape[0] - zoom * height))  # rounding may be below 0
    left = generator.uniform(0, max(0, photo.shape[1] - zoom * width))
    crop = Image.fromarray(photo).resize(
        (width, height), Image.Resampling.BILINEAR, (left, top, left + zoom * width, top + zoom * height)
    )
    pixels = np.asarray(crop, np.float64)[:, :: -1 if generator.random() < 0.5 else 1]
    if source.recoloured:  # a handful of photographs has few colours
        pixels = _recolour(pixels, generator)
    image = np.zeros((side, side, 3))
    image[inside[1] : inside[3], inside[0] : inside[2]] = np.clip(pixels * generator.uniform(0.6, 1.2), 0, 255)
    return image, (inside[0], inside[1], inside[2], inside[3])


def _recolour(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The channels exchanged, each stronger or weaker; some pictures as negatives, and upside down."""
    pixels = pixels[:: -1 if generator.random() < 0.5 else 1, :, generator.permutation(3)]
    if generator.random() < 0.3:
        pixels = 255 - pixels
    return pixels * generator.uniform(0.6, 1.3, 3) + generator.uniform(-30, 30, 3)


def _draw_ink(digit: np.ndarray, height: float, side: int, generator: np.random.Generator) -> np.ndarray:
    """How much ink is where, 0..1: [8, 8] of 0..16, enlarged, stretched, turned, blurred or sharpened -> [side, side].

    ``height`` is that of the digit's picture, which lies in the middle.
    """
    cell_y = height / 8
    cell_x = cell_y * np.exp(generator.uniform(-1, 1) * np.log(_LARGEST_STRETCH))
    angle = np.deg2rad(generator.uniform(-_LARGEST_ANGLE, _LARGEST_ANGLE))
    paper = np.pad(digit * (255 / digits.LARGEST_PIXEL), 4).astype(np.float32)  # beyond the picture's edge is paper
    # From a place of the enlarged picture to one of the original: around the middles, turned, then made smaller.
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[cosine / cell_x, sine / cell_x], [-sine / cell_y, cosine / cell_y]])
    offset = 8 - matrix @ [side / 2, side / 2]
    enlarged = Image.fromarray(paper).transform(
        (side, side), Image.Transform.AFFINE, (*matrix[0], offset[0], *matrix[1], offset[1]), Image.Resampling.BICUBIC
    )
    levels = Image.fromarray(np.clip(np.asarray(enlarged), 0, 255).astype(np.uint8))
    blurred = levels.filter(ImageFilter.GaussianBlur(generator.uniform(0, _LARGEST_BLUR * height)))
    ink = (np.asarray(blurred, np.float64) / 255 - 0.5) * generator.uniform(1, _SHARPEST) + 0.5
    return np.clip(ink, 0, 1)


def _find_place(size: int, inside: Edges, taken: Sequence[Square], generator: np.random.Generator) -> Square | None:
    """A free square, or None if none was found."""
    left, top, right, bottom = inside
    if size > min(right - left, bottom - top):
        return None
    x = generator.integers(left, right - size + 1, _TRIES)
    y = generator.integers(top, bottom - size + 1, _TRIES)
    return choose_free(x, y, size, taken)


def choose_free(x: np.ndarray, y: np.ndarray, size: int, taken: Sequence[Square]) -> Square | None:
    """The first of the squares with these corners that overlaps none that is taken."""
    free = np.ones(len(x), bool)
    for other_x, other_y, side in taken:
        free &= (x >= other_x + side) | (x + size <= other_x) | (y >= other_y + side) | (y + size <= other_y)
    first = int(free.argmax())
    return (int(x[first]), int(y[first]), size) if free[first] else None


def _paste(image: np.ndarray, ink: np.ndarray, place: Square, generator: np.random.Generator) -> bool:
    """Blend ink of one random colour into ``image``. False where no colour was found that stands out there."""
    x, y, size = place
    under = image[y : y + size, x : x + size]
    behind = under[ink > 0.5] @ _LUMINANCE
    for colour in generator.uniform(0, 255, (_TRIES, 3)):
        if np.mean(abs(colour @ _LUMINANCE - behind) >= _LEAST_CONTRAST) >= _CLEAR_SHARE:
            share = (ink * generator.uniform(_LEAST_OPACITY, 1))[:, :, None]
            under += share * (colour - under)
            return True
    return False
