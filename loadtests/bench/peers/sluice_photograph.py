"""Sluice for photographs: both models are imported by the command line, and asked by their tasks."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.bench.models.classifier import CLASSIFIER, LABELS, MEAN, SHORTEST, STD, TOP
from loadtests.bench.models.detector import DETECTOR, MOST, OVERLAP, PADDING, THRESHOLD
from loadtests.bench.models.detector import LABELS as BOX_LABELS
from loadtests.bench.models.model import BenchModel
from loadtests.bench.models.photograph import JPEG, encode_jpeg
from loadtests.bench.peer import Site
from loadtests.bench.peers.bentoml_photograph import read_found
from loadtests.bench.peers.sluice import PEER, serve_store, store_of
from loadtests.bench.server import run_to_end
from loadtests.http_client import Answer, Request

IMPORT_LIMIT_S = 300

PICTURE = {"scale": "1/255", "order": "RGB"}
OPTIONS = {
    CLASSIFIER.name: {
        "task": "classify",
        "activation": "softmax",
        "resize": "crop",
        "shortest": SHORTEST,
        "mean": ",".join(map(str, MEAN)),
        "std": ",".join(map(str, STD)),
    },
    DETECTOR.name: {
        "task": "detect",
        "activation": "none",
        "resize": "fit",
        "padding": PADDING,
        "no-antialias": None,
        "box-format": "cxcywh",
        "box-units": "pixels",
        "background": "none",
        "threshold": THRESHOLD,
        "overlap": OVERLAP,
        "max-detections": MOST,
    },
}
"""What ``sluice import`` is told about each model."""


def write_import(site: Site, labels: Path) -> list[str]:
    """The command that publishes the site's model. ``labels`` is the file with the names of its labels."""
    name = site.model.name
    facts = {"name": name, "max-rows": site.model.max_rows, "labels": labels, **PICTURE, **OPTIONS[name]}
    words = [word for key, value in facts.items() for word in (f"--{key}", value) if word is not None]
    command = [site.python, "-m", "sluice", "import", site.model_file, *words, "--store", store_of(site)]
    return [str(word) for word in command]


def _prepare(site: Site) -> None:
    """Import the model, unless it is there. Raises ServerFailed."""
    if store_of(site).exists():
        return
    count = LABELS if site.model == CLASSIFIER else BOX_LABELS
    labels = site.repository.parent / "labels.txt"
    labels.write_text("".join(f"label {i}\n" for i in range(count)))
    run_to_end(write_import(site, labels), PEER.environment(site), IMPORT_LIMIT_S)


def _request(model: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    assert encoding == JPEG  # noqa: S101 - the only one in PHOTOGRAPH_PEER.encodings
    path = f"/classify?model={model.name}&top_k={TOP}" if model == CLASSIFIER else f"/detect?model={model.name}"
    return Request(path, "POST", {"Content-Type": "image/jpeg"}, encode_jpeg(rows))


def _read_scores(answer: Answer) -> np.ndarray:
    def read() -> list[Mapping[str, Any]]:
        (prediction,) = json.loads(answer.body)["predictions"]
        found: list[Mapping[str, Any]] = prediction["detections"] if "detections" in prediction else prediction["top"]
        return found

    return read_found(read)


PHOTOGRAPH_PEER = dataclasses.replace(
    PEER, encodings=(JPEG,), prepare=_prepare, command=serve_store, request=_request, read_scores=_read_scores
)
"""Serves one imported model."""
