"""Five minutes over all routes, with callers that leave at random: only expected answers, and no growth."""

import asyncio
import base64
import io
import random
from typing import Any

import numpy as np
from PIL import Image

from tests.chaos.caller import Caller, Gone
from tests.chaos.checks import Check, at_most, equals
from tests.chaos.server import ROOT, ChaosServer, serving

CLIENTS = 16
WARM_S, DURATION_S = 60.0, 300.0
LEAVES = 0.1
"""The share of requests whose caller does not wait for the answer."""
GROWTH = 1.1


async def run() -> list[Check]:
    with serving(ROOT / "model_store/models") as server:
        await server.until_ready()
        stop = asyncio.Event()
        callers = [asyncio.create_task(_call(server, random.Random(number), stop)) for number in range(CLIENTS)]
        await asyncio.sleep(WARM_S)
        before = server.measure()
        await asyncio.sleep(DURATION_S - WARM_S)
        stop.set()
        results = [await caller for caller in callers]
        after = server.measure()
    answered, unexpected = sum(one for one, _ in results), [text for _, texts in results for text in texts]
    return [
        equals(f"unexpected answers of {answered:,}", [], sorted(set(unexpected))[:3]),
        at_most("memory at the end, of that after a minute", GROWTH, after[0] / before[0]),
        at_most("threads at the end", before[1] + 2, after[1]),
        at_most("descriptors at the end", before[2] + CLIENTS, after[2]),
    ]


async def _call(server: ChaosServer, chance: random.Random, stop: asyncio.Event) -> tuple[int, list[str]]:
    """How many were answered, and what was not expected."""
    routes, answered, unexpected = _routes(), 0, []
    async with Caller(server.port) as caller:
        while not stop.is_set():
            path, document = chance.choice(routes)
            ask = caller.get(path) if document is None else caller.post_json(path, document)
            patience_s = chance.uniform(0, 0.05) if chance.random() < LEAVES else None
            try:
                async with asyncio.timeout(patience_s):
                    answer = await ask
            except TimeoutError:
                continue
            except Gone as failure:
                unexpected.append(f"{path}: {failure}")
                continue
            answered += 1
            if answer.status not in (200, 429):
                unexpected.append(f"{path}: {answer.status}: {answer.body[:100]!r}")
    return answered, unexpected


def _routes() -> list[tuple[str, Any]]:
    pixels = np.zeros((8, 8), np.uint8)
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, "PNG")
    encoded = base64.b64encode(picture.getvalue()).decode()
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": pixels.ravel().tolist()}
    infer: dict[str, Any] = {"inputs": [tensor]}
    series = [119.6, 111.0, 104.0, 63.7, 40.4, 29.8, 15.2, 7.5, 2.9]
    text = {"model": "date-translator", "inputs": ["Saturday, December 31, 2022"]}
    gets = ("/livez", "/readyz", "/models", "/metrics", "/v2", "/v2/models/digits-classifier")
    return [
        *((path, None) for path in gets),
        ("/v2/models/digits-classifier/infer", infer),
        ("/classify", {"inputs": [{"image": encoded}]}),
        ("/classify", {"inputs": [{"image": encoded}], "explain": "saliency"}),
        ("/predict_sequence", {"model": "sunspots-forecaster", "inputs": [series], "horizon": 5}),
        ("/predict_sequence", text),
        ("/predict_sequence", {**text, "stream": True}),
        ("/reconstruct", {"model": "digits-denoiser", "inputs": [{"image": encoded}]}),
        ("/generate", {"model": "digits-gan", "count": 2, "seed": 1}),
        ("/generate", {"model": "digits-diffusion", "count": 1, "steps": 5, "seed": 1, "stream": True}),
        ("/v2/repository/index", {}),
    ]
