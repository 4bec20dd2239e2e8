"""BentoML for pictures, as its documentation shows: an API that takes a ``PIL.Image`` from a multipart form.

A root input with a raw ``image/png`` body answers a tenth less. The method is a plain ``def``, as recommended for
blocking work; an ``async def``, which blocks all other callers, answers 1.4 times as much on this tiny model. It has
one worker and default settings; ONNX Runtime runs as in the other BentoML peer.
"""

import json
from collections.abc import Mapping

import numpy as np

from loadtests.bench.models.model import BenchModel
from loadtests.bench.models.picture import PNG, encode_png
from loadtests.bench.peer import Peer, Site
from loadtests.bench.peers.bentoml import PEER as BENTOML
from loadtests.http_client import Answer, Request
from loadtests.wire import WrongAnswer

BOUNDARY = "sluice-bench-boundary"
SOURCE = """\
import os
from typing import Any

import bentoml
import numpy as np
import onnxruntime
from PIL import Image

HEIGHT, WIDTH, SCALE = 8, 8, np.float32(16 / 255)


@bentoml.service(workers=1, traffic={"timeout": 30})
class Bench:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = os.environ["BENCH_MODEL"]
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    @bentoml.api
    def classify(self, image: Image.Image) -> dict[str, Any]:
        grey = image.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        row = np.asarray(grey)[None, None] * SCALE
        probabilities = self.session.run(["probabilities"], {self.input: row})[0][0]
        index = int(probabilities.argmax())
        return {"label": str(index), "index": index, "probability": float(probabilities[index])}
"""


def _command(site: Site) -> list[str]:
    return list(BENTOML.command(site))


def _environment(site: Site) -> Mapping[str, str]:
    return BENTOML.environment(site)


def _request(_: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    assert encoding == PNG  # noqa: S101 - the only one in PEER.encodings
    return fill_form("/classify", "image", PNG, encode_png(rows))


def fill_form(path: str, field: str, encoding: str, content: bytes) -> Request:
    """A multipart form with one picture."""
    disposition = f'form-data; name="{field}"; filename="image.{encoding}"'
    head = f"Content-Disposition: {disposition}\r\nContent-Type: image/{encoding}"
    start, end = f"--{BOUNDARY}\r\n{head}\r\n\r\n", f"\r\n--{BOUNDARY}--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return Request(path, "POST", headers, start.encode() + content + end.encode())


def _read_scores(answer: Answer) -> np.ndarray:
    try:
        document = json.loads(answer.body)
        return np.array([[document["index"], document["probability"]]], np.float32)
    except (ValueError, KeyError, TypeError):
        raise WrongAnswer("expected a JSON object with index and probability") from None


PEER = Peer(
    name="bentoml-picture",
    requirements=("bentoml==1.4.39", "pillow=={pillow}", "onnxruntime=={onnxruntime}", "numpy=={numpy}"),
    distributions=("bentoml", "pillow", "onnxruntime", "numpy", "uvicorn"),
    encodings=(PNG,),
    source=SOURCE,
    command=_command,
    environment=_environment,
    ready_path="/readyz",
    request=_request,
    read_scores=_read_scores,
)
