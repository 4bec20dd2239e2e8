"""BentoML for photographs, as its documentation shows: an API that takes a ``PIL.Image``, and one that takes a batch.

Around ONNX Runtime it is what people write: Pillow for the classifier, OpenCV for the detector's letterbox, and NumPy
for the rest. Everything else is as in the BentoML peer for the small PNG.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from loadtests.bench.models.classifier import CLASSIFIER
from loadtests.bench.models.model import BenchModel
from loadtests.bench.models.photograph import JPEG, encode_jpeg
from loadtests.bench.peer import Peer, Site
from loadtests.bench.peers.bentoml import PEER as BENTOML
from loadtests.bench.peers.bentoml_picture import PEER as BENTOML_PICTURE
from loadtests.bench.peers.bentoml_picture import fill_form
from loadtests.http_client import Answer, Request
from loadtests.wire import WrongAnswer

SOURCE = """\
import os
from typing import Any

import bentoml
import cv2
import numpy as np
import onnxruntime
from PIL import Image

BATCHES = {"batchable": True, "max_batch_size": int(os.environ["BENCH_MAX_ROWS"]), "max_latency_ms": 10000}


def open_session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])


@bentoml.service(workers=1, traffic={"timeout": 30})
class Classifier:
    MEAN = np.array([0.485, 0.456, 0.406], np.float32)
    STD = np.array([0.229, 0.224, 0.225], np.float32)

    def __init__(self) -> None:
        self.session = open_session()
        self.labels = [f"label {i}" for i in range(1000)]

    @bentoml.api
    def one(self, image: Image.Image) -> list[dict[str, Any]]:
        return self.predict(self.prepare(image)[None])[0]

    @bentoml.api(**BATCHES)
    def many(self, images: list[Image.Image]) -> list[list[dict[str, Any]]]:
        return self.predict(np.stack([self.prepare(image) for image in images]))

    def prepare(self, image: Image.Image) -> np.ndarray:
        image = image.convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / np.float32(255)
        return ((pixels - self.MEAN) / self.STD).transpose(2, 0, 1)

    def predict(self, rows: np.ndarray) -> list[list[dict[str, Any]]]:
        scores = self.session.run(None, {"rows": rows})[0]
        probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        best = np.argsort(-probabilities, axis=1)[:, :5]
        return [
            [{"label": self.labels[i], "index": int(i), "probability": float(of_row[i])} for i in indices]
            for indices, of_row in zip(best, probabilities)
        ]


@bentoml.service(workers=1, traffic={"timeout": 30})
class Detector:
    SIDE = 320

    def __init__(self) -> None:
        self.session = open_session()
        self.labels = [f"label {i}" for i in range(80)]

    @bentoml.api
    def one(self, image: Image.Image) -> list[dict[str, Any]]:
        return self.predict([self.prepare(image)])[0]

    @bentoml.api(**BATCHES)
    def many(self, images: list[Image.Image]) -> list[list[dict[str, Any]]]:
        return self.predict([self.prepare(image) for image in images])

    def prepare(self, image: Image.Image) -> tuple[np.ndarray, float, int, int, int, int]:
        pixels = np.asarray(image.convert("RGB"))
        height, width = pixels.shape[:2]
        scale = self.SIDE / max(height, width)
        wide, high = round(width * scale), round(height * scale)
        left, top = (self.SIDE - wide) // 2, (self.SIDE - high) // 2
        pixels = cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_LINEAR)
        edges = top, self.SIDE - high - top, left, self.SIDE - wide - left
        pixels = cv2.copyMakeBorder(pixels, *edges, cv2.BORDER_CONSTANT, value=(114, 114, 114))
        return pixels.transpose(2, 0, 1).astype(np.float32) / 255, scale, left, top, width, height

    def predict(self, prepared: list[tuple]) -> list[list[dict[str, Any]]]:
        rows = np.stack([row for row, *_ in prepared])
        boxes, scores = self.session.run(["boxes", "scores"], {"rows": rows})
        return [self.select(*each, *place) for *each, (_, *place) in zip(boxes, scores, prepared)]

    def select(self, boxes, scores, scale, left, top, width, height) -> list[dict[str, Any]]:
        best, labels = scores.max(axis=1), scores.argmax(axis=1)
        found = best >= 0.25
        boxes, best, labels = boxes[found], best[found], labels[found]
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        kept = self.suppress(corners + labels[:, None] * 4096.0, best)[:300]
        corners = (corners[kept] - np.array([left, top, left, top])) / scale
        corners = corners.clip(0, [width, height, width, height])
        return [
            {"box": box.tolist(), "label": self.labels[i], "index": int(i), "score": float(score)}
            for box, i, score in zip(corners, labels[kept], best[kept])
        ]

    def suppress(self, boxes: np.ndarray, scores: np.ndarray) -> list[int]:
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        order, kept = scores.argsort()[::-1], []
        while order.size:
            first, rest = order[0], order[1:]
            kept.append(int(first))
            sides = np.minimum(boxes[first, 2:], boxes[rest, 2:]) - np.maximum(boxes[first, :2], boxes[rest, :2])
            common = sides.clip(0).prod(axis=1)
            order = rest[common / (areas[first] + areas[rest] - common) <= 0.45]
        return kept
"""


def _command(site: Site) -> list[str]:
    name = "Classifier" if site.model == CLASSIFIER else "Detector"
    return [word.replace(":Bench", f":{name}") for word in BENTOML.command(site)]


def _request(field: str, path: str, _: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    assert encoding == JPEG  # noqa: S101 - the only one in PEER.encodings
    return fill_form(path, field, JPEG, encode_jpeg(rows))


def _read_one(answer: Answer) -> np.ndarray:
    return read_found(lambda: json.loads(answer.body))


def _read_many(answer: Answer) -> np.ndarray:
    return read_found(lambda: json.loads(answer.body)[0])


def read_found(read: Callable[[], list[Mapping[str, Any]]]) -> np.ndarray:
    """Labels with probabilities as [n, 2], or boxes with labels and scores as [n, 6]. Raises WrongAnswer."""
    try:
        found = [
            [*one["box"], one["index"], one["score"]] if "box" in one else [one["index"], one["probability"]]
            for one in read()
        ]
        return np.array(found, np.float32)
    except (ValueError, LookupError, TypeError):
        raise WrongAnswer("expected labels with index and probability, or boxes with index and score") from None


PEER = dataclasses.replace(
    BENTOML_PICTURE,
    name="bentoml-photograph",
    requirements=(*(BENTOML_PICTURE.requirements or ()), "opencv-python-headless==5.0.0.93"),
    distributions=(*BENTOML_PICTURE.distributions, "opencv-python-headless"),
    encodings=(JPEG,),
    source=SOURCE,
    command=_command,
    request=partial(_request, "image", "/one"),
    read_scores=_read_one,
)
"""Each picture is a run of its own."""
BATCHED_PEER: Peer = dataclasses.replace(
    PEER,
    name="bentoml-photograph-batched",
    environment_of=PEER.name,
    request=partial(_request, "images", "/many"),
    read_scores=_read_many,
)
"""With adaptive batching. Its limit is 10 s because a smaller one makes it refuse some of 64 clients."""
