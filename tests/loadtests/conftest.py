"""A stand-in server: the few routes that a load test asks, with faults on demand, on a port that the system chose."""

import itertools
import json
import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.loadtests.answering import answering, send

CLASSES = 3
METADATA = {
    "name": "digits",
    "inputs": [{"name": "rows", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, CLASSES]}],
}
SERIES = {
    "name": "series",
    "inputs": [{"name": "value", "datatype": "FP32", "shape": [-1]}],
    "outputs": [{"name": "mean", "datatype": "FP32", "shape": [-1]}],
}
EXAMPLES = {"examples": [{"task": "predict_sequence", "body": {"model": "series", "inputs": [[1, 2, 3]], "seed": 1}}]}
CARDS = [
    {"name": "echo", "task": "reconstruct", "ready": True},
    {"name": "zeros", "task": "classify", "ready": False},
    {"name": "digits", "task": "classify", "ready": True},
    {"name": "series", "task": "predict_sequence", "ready": True},
    {"name": "plain", "task": "tensors", "ready": True},
]
EVENTS = b'data: {"row": 0, "step": 0, "value": 1.0}\n\nevent: %b\ndata: {"predictions": []}\n\n'


@dataclass
class StandIn:
    """It reads what it is sent by the protocol's own rules and refuses what breaks them."""

    fail_every: int = 0
    delay_s: float = 0.0
    missing_rows: int = 0
    last_event: bytes = b"done"
    answered: int = 0
    address: str = ""
    seen: itertools.count = field(default_factory=itertools.count)

    def __call__(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        status, headers, content = self.answer(handler.path, handler.headers, body)
        send(handler, content, status, headers)

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        documents = {
            "/models": CARDS,
            "/v2/models/digits": METADATA,
            "/v2/models/plain": {**METADATA, "name": "plain"},
            "/v2/models/series": SERIES,
            "/v2/models/series/example": EXAMPLES,
            "/v2/models/digits/stats": self.tell_statistics(),
        }
        if path in documents:
            return 200, {}, json.dumps(documents[path]).encode()
        if path not in ("/classify", "/v2/models/digits/infer", "/predict_sequence"):
            return 404, {}, b'{"error": "Not Found"}'
        time.sleep(self.delay_s)
        if self.fail_every and next(self.seen) % self.fail_every == 0:
            return 500, {}, b'{"error": "planned"}'
        self.answered += 1
        if path == "/predict_sequence":
            return self.predict(body)
        return self.classify(body) if path == "/classify" else self.infer(headers, body)

    def tell_statistics(self) -> dict[str, Any]:
        """As if each request ran alone, for 1 ms, after a wait of 2 ms."""
        times = {"success": 4, "queue": 2, "compute_input": 0, "compute_infer": 1, "compute_output": 1}
        stats = {name: {"count": self.answered, "ns": ms * 10**6 * self.answered} for name, ms in times.items()}
        model = {"inference_stats": stats, "inference_count": 3 * self.answered, "execution_count": self.answered}
        return {"model_stats": [model]}

    def predict(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        request = json.loads(body)
        if request.get("stream"):
            return 200, {"content-type": "text/event-stream"}, EVENTS % self.last_event
        return 200, {}, json.dumps({"predictions": [{"mean": [1.0]}] * len(request["inputs"])}).encode()

    def classify(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        request = json.loads(body)
        rows = request["inputs"]
        well_formed = all(len(row) == 1 and len(row[0]) == 8 and len(row[0][0]) == 8 for row in rows)
        if request["model"] != "digits" or not well_formed:
            return 400, {}, b'{"error": "expected rows of 1x8x8 for the model digits"}'
        prediction = {"label": "seven", "index": 7, "probability": 0.5, "top": []}
        return 200, {}, json.dumps({"predictions": [prediction] * (len(rows) - self.missing_rows)}).encode()

    def infer(self, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if "inference-header-content-length" not in headers:
            return self.infer_json(body)
        length = int(headers["inference-header-content-length"])
        header = json.loads(body[:length])
        (tensor,) = header["inputs"]
        size = math.prod(tensor["shape"]) * 4
        expected = {"name": "rows", "shape": tensor["shape"], "datatype": "FP32"}
        if tensor != {**expected, "parameters": {"binary_data_size": size}} or len(body) != length + size:
            return 400, {}, b'{"error": "the binary request does not follow the protocol"}'
        rows = tensor["shape"][0] - self.missing_rows
        output = {"name": "scores", "datatype": "FP32", "shape": [rows, CLASSES]}
        content = b"\x00\x00\x80\x3f" * (rows * CLASSES)  # 1.0 as little-endian float32
        output["parameters"] = {"binary_data_size": len(content)}
        answer = json.dumps({"model_name": "digits", "model_version": "1", "outputs": [output]}).encode()
        return 200, {"inference-header-content-length": str(len(answer))}, answer + content

    def infer_json(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        (tensor,) = json.loads(body)["inputs"]
        if len(tensor["data"]) != math.prod(tensor["shape"]):
            return 400, {}, b'{"error": "the data does not fill the shape"}'
        shape = [tensor["shape"][0], CLASSES]
        output = {"name": "scores", "datatype": "FP32", "shape": shape, "data": [1.0] * math.prod(shape)}
        return 200, {}, json.dumps({"model_name": "digits", "outputs": [output]}).encode()


@contextmanager
def run_stand_in(**faults: Any) -> Iterator[StandIn]:
    stand_in = StandIn(**faults)
    with answering(stand_in) as stand_in.address:
        yield stand_in


@pytest.fixture
def serve() -> Callable[..., AbstractContextManager[StandIn]]:
    """``with serve(fail_every=10) as server: server.address``"""
    return run_stand_in


@pytest.fixture
def closed_address() -> Iterator[str]:
    """An address that nobody listens on: bound, and never listened on while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
