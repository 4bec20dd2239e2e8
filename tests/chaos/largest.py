"""The largest requests that the settings allow, on each route: answered or refused, in bounded memory."""

import asyncio
import gzip
import io
import json
import threading

import numpy as np
from PIL import Image

from tests.chaos.caller import Caller, Gone
from tests.chaos.checks import Check, at_most, equals
from tests.chaos.server import ROOT, ChaosServer, serving

BODY_BYTES = 64 << 20
PIXELS_A_SIDE = 7000
MEMORY_BYTES = 2 << 30
"""For all processes: those that answer begin with about 400 MiB, and a body is 64 MiB."""
EXPECTED = (200, 400, 413, 422, 429, 503, 504)


async def run() -> list[Check]:
    store = ROOT / "model_store/models"
    with serving(store) as server:
        await server.until_ready()
        requests, stop = _requests(), threading.Event()
        # In a thread of its own: to write 64 MiB takes this one as long as some answers.
        watcher = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(_watch(server, stop))))
        found: dict[str, int | str] = {}
        for name, (path, body, headers) in requests.items():
            async with Caller(server.port) as caller:
                try:
                    found[name] = (await caller.post(path, body, headers)).status
                except Gone as failure:
                    found[name] = f"no answer: {failure}"
        stop.set()
        most_bytes, slowest_s = await watcher
    return [
        equals("requests without an answer", {}, {name: was for name, was in found.items() if was not in EXPECTED}),
        at_most("memory of all processes", MEMORY_BYTES / 2**20, most_bytes / 2**20, " MiB"),
        at_most("slowest /livez", 2.0, slowest_s, " s"),
    ]


def _requests() -> dict[str, tuple[str, bytes, str]]:
    plain, binary = "Content-Type: application/json\r\n", "Content-Type: application/octet-stream\r\n"
    infer = "/v2/models/digits-classifier/infer"
    numbers = b"0," * (BODY_BYTES // 2 - 200) + b"0"
    tensor = b'{"inputs":[{"name":"image","datatype":"FP32","shape":[1,1,8,8],"data":[' + numbers + b"]}]}"
    rows = (BODY_BYTES - 1000) // 256
    size = {"binary_data_size": rows * 256}
    described = {"name": "image", "datatype": "FP32", "shape": [rows, 1, 8, 8], "parameters": size}
    head = json.dumps({"inputs": [described]}).encode()
    lengths = f"Inference-Header-Content-Length: {len(head)}\r\n"
    picture = io.BytesIO()
    Image.new("RGB", (PIXELS_A_SIDE, PIXELS_A_SIDE)).save(picture, "PNG")
    png = "Content-Type: image/png\r\n"
    series = json.dumps({"model": "sunspots-forecaster", "inputs": [[1.0] * 4_000_000], "horizon": 5}).encode()
    restore = "/reconstruct?model=photo-restorer"
    return {
        "infer, JSON": (infer, tensor, plain),
        "infer, binary": (infer, head + np.zeros(rows * 64, "<f4").tobytes(), binary + lengths),
        "infer, gzip": (infer, gzip.compress(tensor, 1), plain + "Content-Encoding: gzip\r\n"),
        "classify, JSON": ("/classify", b'{"inputs":[[' + numbers + b"]]}", plain),
        "classify, PNG": ("/classify", picture.getvalue(), png),
        "reconstruct, PNG": (restore, picture.getvalue(), png),
        "reconstruct, PNG in and out": (restore, picture.getvalue(), png + "Accept: image/png\r\n"),
        "predict_sequence": ("/predict_sequence", series, plain),
        "generate": ("/generate", b'{"model":"digits-gan","count":1024,"seed":1}', plain),
        "classify, nested": ("/classify", b'{"inputs":[' + b"[0]," * (BODY_BYTES // 4 - 10) + b"[0]]}", plain),
        "generate, flat": ("/v2/models/digits-classifier/generate", b'{"image":[' + numbers + b"]}", plain),
        "v1 predict": ("/v1/models/digits-classifier:predict", b'{"instances":[' + numbers + b"]}", plain),
    }


async def _watch(server: ChaosServer, stop: threading.Event) -> tuple[int, float]:
    """The most memory of all processes in bytes, and the slowest answer of /livez in seconds."""
    loop, most_bytes, slowest_s = asyncio.get_running_loop(), 0, 0.0
    async with Caller(server.port) as caller:
        while not stop.is_set():
            began = loop.time()
            await caller.get("/livez")
            slowest_s = max(slowest_s, loop.time() - began)
            most_bytes = max(most_bytes, server.measure()[0])
            await asyncio.sleep(0.02)
    return most_bytes, slowest_s
