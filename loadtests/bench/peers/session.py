"""Shared by the Python peers: opening ONNX Runtime, and plain bodies for peers without a format of their own.

Every peer runs the same ONNX Runtime without spinning, because spinning threads would take cores from the HTTP server.
"""

import json
from collections.abc import Mapping

import numpy as np

from loadtests.bench.models.model import CLASSES
from loadtests.bench.peer import BINARY, Site
from loadtests.http_client import Answer, Request
from loadtests.wire import WrongAnswer, shorten

OPEN_SESSION = """\
import os

import numpy as np
import onnxruntime

MAX_ROWS = int(os.environ["BENCH_MAX_ROWS"])


def open_session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = os.environ["BENCH_MODEL"]
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def read_facts(session):
    \"\"\"The name of the input and the shape of one row.\"\"\"
    return session.get_inputs()[0].name, session.get_inputs()[0].shape[1:]


"""
"""The beginning of a peer's source: ``open_session``, ``read_facts`` and ``MAX_ROWS``."""


def describe_site(site: Site, threads: int | None = None) -> dict[str, str]:
    """The variables that ``OPEN_SESSION`` reads. By default, as many threads as cores."""
    return {
        "BENCH_MODEL": str(site.model_file),
        "BENCH_THREADS": str(threads or site.threads),
        "BENCH_MAX_ROWS": str(site.model.max_rows),
    }


def plain_request(paths: Mapping[str, str], encoding: str, rows: np.ndarray) -> Request:
    """``{"rows": ...}`` as JSON, or the rows' bytes, to the encoding's path."""
    if encoding == BINARY:
        return Request(paths[encoding], "POST", {"Content-Type": "application/octet-stream"}, rows.tobytes())
    body = json.dumps({"rows": shorten(rows)}).encode()
    return Request(paths[encoding], "POST", {"Content-Type": "application/json"}, body)


def read_plain_scores(answer: Answer) -> np.ndarray:
    """The scores in a JSON list of rows or, if the answer says that it is bytes, in those. Raises WrongAnswer."""
    try:
        if answer.headers.get("content-type", "").startswith("application/octet-stream"):
            return np.frombuffer(answer.body, "<f4").reshape(-1, CLASSES)
        return read_rows(json.loads(answer.body))
    except ValueError:
        raise WrongAnswer("expected rows of scores, as a JSON list or as bytes") from None


def read_rows(document: object) -> np.ndarray:
    """Rows of scores from a nested list; raises WrongAnswer."""
    try:
        scores = np.asarray(document, np.float32)
    except (ValueError, TypeError):
        raise WrongAnswer("expected a list of rows of scores") from None
    if scores.ndim != 2:
        raise WrongAnswer(f"expected a list of rows of scores, got {scores.ndim} axes")
    return scores
