"""Steps that the tests of workbenches share."""

import io

import numpy as np
from PIL import Image as Pillow
from playwright.sync_api import FilePayload, Locator, Page, Request, expect

from model_store import DEFAULT_ROOT


def open_bench(page: Page, model: str, task: str = "", base: str = "") -> None:
    """Open the workbench of a model, for its own task or another; ``base`` is another server."""
    page.goto(f"{base}/#model={model}{task and f'&task={task}'}")
    expect(page.get_by_role("heading", name=model)).to_be_visible()
    expect(answer_of(page)).to_be_visible()


def answer_of(page: Page) -> Locator:
    return page.get_by_role("region", name="Answer", exact=True)


def told(page: Page) -> Locator:
    """The sentence about the answer, which screen readers say."""
    return answer_of(page).get_by_role("status").first


def give_file(page: Page, content: bytes, name: str = "picture.png", kind: str = "image/png") -> None:
    page.locator("input[type=file]").first.set_input_files(FilePayload(name=name, mimeType=kind, buffer=content))


def golden_picture(model: str, row: int = 0, scale: float = 1.0) -> bytes:
    """A golden sample of a model as a PNG. ``scale``: that of its manifest."""
    samples = np.load(DEFAULT_ROOT / model / "1" / "golden.npz")
    pixels = (samples["in.image"][row] / scale).round().clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def digit(row: int) -> bytes:
    """A handwritten digit of 8 x 8."""
    return golden_picture("digits-classifier", row, scale=16 / 255)


def plain_picture(width: int, height: int, colour: tuple[int, int, int] = (30, 60, 90)) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def watch_requests(page: Page, path: str) -> list[Request]:
    """The requests to a route from now on."""
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if request.url.endswith(path) else None)
    return asked


def draw_line(page: Page) -> None:
    """A line over the place to draw, with the mouse. The examples above it have come, so that it stays where it is."""
    expect(page.get_by_role("group", name="Examples")).to_contain_text("Try")
    box = page.locator("canvas.drawing").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 20, steps=4)
    page.mouse.up()
