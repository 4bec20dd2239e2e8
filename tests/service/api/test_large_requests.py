"""What one request may take: others are answered meanwhile, its deadline holds, and its memory has a bound."""

import asyncio
import gc
import io
import json
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model_store import DEFAULT_ROOT
from model_store.tasks import Picture
from service.codecs.pictures.writer import encode_png, to_pixels
from tests.service.models.asking import X
from tests.support.driving import load
from tests.support.gates import HeldThread
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for
from tests.support.wires import INFER, Wire, request_bytes

LARGE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [10_000, 3], "data": [[0.5, 1, 2]] * 10_000}]}
FEW: dict[str, Any] = {"models": ("double", "digits-classifier"), "max_rows": 8}
ROWS = {"model": "digits-classifier", "inputs": [[[[0.5] * 8] * 8]] * 1000}


@contextmanager
def parsing_held(server: Serving) -> Iterator[HeldThread]:
    """Nothing is parsed meanwhile."""
    thread = server.worker.handler.parsing = HeldThread()
    try:
        yield thread
    finally:
        thread.opened.set()


@pytest.mark.parametrize(("path", "body"), [(INFER, LARGE), ("/classify", ROWS)], ids=["infer", "classify"])
def test_large_json_is_read_in_a_thread(store: Path, path: str, body: Any) -> None:
    """While a large body waits to be parsed, another request is answered."""
    with (
        Serving(settings_for(store, **FEW), FAST) as server,
        server.client() as client,
        server.client() as other,
        ThreadPoolExecutor() as pool,
        parsing_held(server) as thread,
    ):
        large = pool.submit(other.post, path, json=body)
        thread.given.get(timeout=30)
        assert client.get("/livez").status_code == 200
        assert not large.done()
        thread.opened.set()
        assert large.result(60).status_code == 200


@pytest.mark.parametrize(("path", "body"), [(INFER, LARGE), ("/classify", ROWS)], ids=["infer", "classify"])
def test_deadline_passes_while_a_body_waits_to_be_parsed(store: Path, path: str, body: Any) -> None:
    """A request whose body is not parsed by its deadline gets 504 then, on every route."""
    settings = settings_for(store, **FEW, deadline_s=0.2)
    with Serving(settings, FAST) as server, server.client() as client, parsing_held(server):
        reply = client.post(path, json=body)
        assert (reply.status_code, "deadline" in reply.json()["error"]) == (504, True)


def test_caller_that_leaves_is_not_parsed_for(store: Path) -> None:
    """The body of a caller that has left is not parsed."""
    cancelled = threading.Event()
    with Serving(settings_for(store, **FEW), FAST) as server, parsing_held(server) as thread:
        with Wire(server) as wire:
            wire.send(request_bytes(json.dumps(LARGE).encode()))
            future = thread.given.get(timeout=30)
        future.add_done_callback(lambda _: cancelled.set())
        assert cancelled.wait(30)
        assert future.cancelled()


@pytest.mark.parametrize("timeout_us", [None, 200_000])
def test_request_waits_for_its_model_no_longer_than_its_deadline(store: Path, timeout_us: int | None) -> None:
    """A request that waits for its model to load gets 504 at its deadline, and the load goes on."""
    parameters = {} if timeout_us is None else {"parameters": {"timeout": timeout_us}}
    settings = settings_for(store, **FEW, lazy=True, deadline_s=0.2 if timeout_us is None else 60.0)
    with Serving(settings, FAST) as server, server.client() as client:
        worker = server.worker
        loop = worker.tasks.loop
        busy = worker.registry.lock("double")
        asyncio.run_coroutine_threadsafe(busy.acquire(), loop).result(20)
        try:
            assert client.post(INFER, json={"inputs": [X], **parameters}).status_code == 504
        finally:
            loop.call_soon_threadsafe(busy.release)
        reply = client.post(INFER, json={"inputs": [X], "parameters": {"timeout": 60_000_000}})
        assert reply.json()["outputs"][0]["data"] == [2, 4, 6]


@pytest.mark.long
def test_request_whose_run_never_ends_stops_nobody(tmp_path: Path) -> None:
    """A request whose run never ends gets 504 at its deadline; its model and others still answer."""
    graphs.write_plain(tmp_path, "hang", graphs.never_ends_from(1000))
    graphs.write_plain(tmp_path, "double", graphs.double())
    with Serving(settings_for(tmp_path), FAST) as server, server.client() as client:

        def infer(model: str, value: float, timeout_us: int = 60_000_000) -> int:
            body = {"inputs": [{**X, "data": [value, 1, 1]}], "parameters": {"timeout": timeout_us}}
            return client.post(f"/v2/models/{model}/infer", json=body).status_code

        assert [infer("hang", 5000, 500_000), infer("double", 1), infer("hang", 1)] == [504, 200, 200]


def test_large_request_begins_to_load_its_model() -> None:
    """A large request to a model that is not loaded makes it load, waits for it and is answered."""
    settings = settings_for(DEFAULT_ROOT, models=("digits-classifier",), lazy=True, max_rows=8)
    with Serving(settings, FAST) as server, server.client() as client:
        reply = client.post("/classify", json=ROWS)
        assert (reply.status_code, len(reply.json()["predictions"])) == (200, 1000)


def photo(*shape: int) -> bytes:
    """A black PNG of three channels."""
    return encode_png(np.zeros((3, *shape), np.float32), Picture(channels=3))


def ask_photo(
    client: httpx.Client, content: bytes, accept: str = "image/png", timeout_s: float = 30.0
) -> httpx.Response:
    headers = {"content-type": "image/png", "accept": accept}
    return client.post("/reconstruct", content=content, headers=headers, timeout=timeout_s)


def test_picture_whose_run_would_take_too_much_memory_is_refused() -> None:
    """A picture whose run would take too much memory is 413 before it runs; a small one is answered."""
    settings = settings_for(DEFAULT_ROOT, models=("photo-restorer",), max_run_bytes=20 << 20)
    with Serving(settings, FAST) as server, server.client() as client:
        assert ask_photo(client, photo(64, 64)).status_code == 200
        reply = ask_photo(client, photo(1024, 1024))
        assert (reply.status_code, str(20 << 20) in reply.json()["error"]) == (413, True)


@pytest.mark.long
def test_picture_beyond_a_run_is_answered_in_tiles() -> None:
    """A large picture is answered as a picture, equal to the whole in each pixel; as numbers it is refused."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 560, 640)).astype(np.float32)
    content = encode_png(pixels, Picture(channels=3))
    whole = load("photo-restorer").infer("main", {"image": pixels[None]})["reconstruction"][0]
    with Serving(settings_for(DEFAULT_ROOT, models=("photo-restorer",), max_run_bytes=60 << 20), FAST) as server:
        with server.client() as client:
            reply = ask_photo(client, content)
            got = np.asarray(Image.open(io.BytesIO(reply.content))).transpose(2, 0, 1)
            np.testing.assert_array_equal(got, to_pixels(whole, Picture(channels=3)))
            refused = ask_photo(client, content, "application/json")
        worker = server.worker
        assert worker.tasks.limits.room.held_bytes == 0
    assert (refused.status_code, "or Accept: image/png" in refused.json()["error"]) == (413, True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_photograph_of_twenty_megapixels_takes_bounded_memory() -> None:
    """A photograph of 20 megapixels is answered, and the process grows by less than 1 GiB."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (3, 40, 56)).astype(np.uint8).repeat(97, 1).repeat(97, 2)
    content = encode_png(pixels, Picture(channels=3))
    size = pixels.shape[1:]
    assert size[0] * size[1] > 20_000_000
    settings = settings_for(DEFAULT_ROOT, models=("photo-restorer",), deadline_s=300.0)
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    with Serving(settings, FAST) as server, server.client() as client:
        assert ask_photo(client, photo(9, 9)).status_code == 200
        clear.write_text("5")
        before = int(status.read_text().split("VmRSS:")[1].split()[0])
        reply = ask_photo(client, content, timeout_s=settings.deadline_s)
        peak = int(status.read_text().split("VmHWM:")[1].split()[0])
        assert (reply.status_code, Image.open(io.BytesIO(reply.content)).size) == (200, size[::-1])
        assert peak - before < 1 << 20  # of KiB


@pytest.mark.long
@pytest.mark.parametrize("body", [b"[" + b"1," * (1 << 18) + b"1]", b"x" * (2 << 20)], ids=["array", "no JSON"])
def test_refused_body_does_not_stay_in_memory(server: Serving, body: bytes) -> None:
    """Its memory is free after the answer, without the garbage collector."""
    with server.client() as client:
        client.post(INFER, content=body)
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(4):
                assert client.post(INFER, content=body).status_code == 400
            assert client.get("/livez").status_code == 200
            assert tracemalloc.get_traced_memory()[0] - before < 2 * len(body)
        finally:
            tracemalloc.stop()
            gc.enable()
