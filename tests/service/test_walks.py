"""How many files a request passes through, from the socket to its answer: what a reader has to open to follow it.

The walks are those of ARCHITECTURE.md; ``pytest -s tests/service/test_walks.py`` prints them.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from model_store import DEFAULT_ROOT
from model_store.tasks import Picture
from service.codecs.pictures.writer import encode_png
from service.compiled import is_compiled
from service.metrics.event_loop import LoopWatch
from tests.support.connections.turns import LIVE
from tests.support.servers import FAST, Serving, settings_for
from tests.support.wires import Wire, request_bytes

pytestmark = pytest.mark.skipif(is_compiled(), reason="compiled code has no frames to trace")

ROOT = Path(__file__).resolve().parents[2]
OURS = ("service", "model_store")


class Walk:
    """The files of ours whose code runs on the thread of the event loop, until the answer is written.

    The timer that watches the event loop may fire in between: what it runs is not part of the request.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self._timer: FrameType | None = None

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if self._timer is not None:
            if event == "return" and frame is self._timer:
                self._timer = None
        elif event == "call" and frame.f_code is LoopWatch._look.__code__:
            self._timer = frame
        elif event == "return" and frame.f_code.co_name == "_write":
            sys.setprofile(None)
        elif event == "call" and path.is_relative_to(ROOT):
            file = path.relative_to(ROOT).as_posix()
            if file.startswith(OURS) and file not in self.files:
                self.files.append(file)


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving(settings_for(DEFAULT_ROOT, models=("digits-classifier",), max_rows=2), FAST) as serving:
        yield serving


def trace(server: Serving, request: bytes, *, times: int = 1) -> list[str]:
    """The files that the last of so many equal requests on one connection passes through."""
    walk = Walk()

    async def begin() -> None:
        sys.setprofile(walk)

    with Wire(server) as wire:
        # The server may accept the connection late, and that is not part of the walk.
        for before in (LIVE, *[request] * (times - 1)):
            wire.send(before)
            assert wire.read()[0] == 200
        asyncio.run_coroutine_threadsafe(begin(), server.worker.tasks.loop).result(20)
        wire.send(request)
        assert wire.read()[0] == 200
    return walk.files


def show(title: str, files: list[str]) -> None:
    print(f"\n{title}: {len(files)} files")
    print("\n".join(f"{number:4}. {file}" for number, file in enumerate(files, 1)))


ROWS = np.zeros((1, 1, 8, 8), "<f4")
INFER = "/v2/models/digits-classifier/infer"


def json_tensors() -> bytes:
    tensor = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": ROWS.ravel().tolist()}
    return request_bytes(json.dumps({"inputs": [tensor]}).encode(), INFER)


def binary_tensors() -> bytes:
    size = {"binary_data_size": ROWS.nbytes}
    tensor = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "parameters": size}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return request_bytes(head + ROWS.tobytes(), INFER, f"Inference-Header-Content-Length: {len(head)}")


def named_in(title: str) -> list[str]:
    """The files that a walk of ARCHITECTURE.md names, in its order."""
    section = (ROOT / "ARCHITECTURE.md").read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"`((?:service|model_store)/[\w/]+\.py)`", section)


@pytest.mark.parametrize("times", [1, 3], ids=["first", "third"])
@pytest.mark.parametrize("make", [json_tensors, binary_tensors], ids=["json", "binary"])
def test_tensors_pass_through_at_most_14_files(server: Serving, make: Callable[[], bytes], times: int) -> None:
    """This holds for JSON and binary tensors, for the first request of its kind and the third, whose head is known."""
    files = trace(server, make(), times=times)
    show(f"tensors, {make.__name__}, request {times} of its kind", files)
    assert len(files) <= 14
    assert set(files) <= set(named_in("Life of a tensor request"))


@pytest.mark.parametrize("times", [1, 3], ids=["first", "third"])
def test_picture_to_classify_passes_through_at_most_30_files(server: Serving, times: int) -> None:
    """A PNG as the body, answered with labels."""
    request = request_bytes(encode_png(ROWS[0], Picture(channels=1)), "/classify", "Content-Type: image/png")
    files = trace(server, request, times=times)
    show(f"a picture to /classify, request {times} of its kind", files)
    assert len(files) <= 30
    assert set(files) <= set(named_in("Life of a picture request"))


@pytest.mark.parametrize(("title", "most"), [("Life of a tensor request", 14), ("Life of a picture request", 30)])
def test_walks_name_each_file_once(title: str, most: int) -> None:
    """ARCHITECTURE.md names every file of a walk, none twice, and none that is not there."""
    named = named_in(title)
    assert 0 < len(named) <= most
    assert len(set(named)) == len(named)
    assert all((ROOT / file).is_file() for file in named)
