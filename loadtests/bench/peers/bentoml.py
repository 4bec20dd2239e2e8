"""BentoML with adaptive batching, written as its documentation recommends: a ``batchable`` API on numpy arrays.

One worker, ONNX Runtime with as many threads as there are cores and without spinning (spinning threads would take the
cores from the HTTP server), JSON bodies of its API. Metrics, tracing and access log are as they are by default.
"""

import json
from collections.abc import Mapping

import numpy as np

from loadtests.bench.models.model import BenchModel
from loadtests.bench.peer import JSON, Peer, Site
from loadtests.http_client import Answer, Request
from loadtests.wire import WrongAnswer, shorten

SOURCE = """\
import os
from typing import Annotated

import bentoml
import numpy as np
import onnxruntime
from bentoml.validators import DType

Rows = Annotated[np.ndarray, DType("float32")]


@bentoml.service(workers=1, traffic={"timeout": 30})
class Bench:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = os.environ["BENCH_MODEL"]
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    @bentoml.api(batchable=True, max_batch_size=int(os.environ["BENCH_MAX_ROWS"]), max_latency_ms=1000)
    def predict(self, rows: Rows) -> Rows:
        return self.session.run(None, {self.input: rows})[0]
"""


def _command(site: Site) -> list[str]:
    place = ("--host", "127.0.0.1", "--port", str(site.port), "--working-dir", str(site.source.parent))
    return [str(site.python), "-m", "bentoml", "serve", f"{site.source.stem}:Bench", *place]


def _environment(site: Site) -> Mapping[str, str]:
    return {
        "BENCH_MODEL": str(site.model_file),
        "BENCH_THREADS": str(site.threads),
        "BENCH_MAX_ROWS": str(site.model.max_rows),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(site.source.parent / "home"),
    }


def _request(_: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    assert encoding == JSON  # noqa: S101 - the only one in PEER.encodings
    return Request(
        "/predict", "POST", {"Content-Type": "application/json"}, json.dumps({"rows": shorten(rows)}).encode()
    )


def _read_scores(answer: Answer) -> np.ndarray:
    try:
        return np.asarray(json.loads(answer.body), np.float32)
    except (ValueError, TypeError):
        raise WrongAnswer("expected a JSON list of rows of scores") from None


PEER = Peer(
    name="bentoml",
    requirements=("bentoml==1.4.39", "onnxruntime=={onnxruntime}", "numpy=={numpy}"),
    distributions=("bentoml", "onnxruntime", "numpy", "uvicorn"),
    encodings=(JSON,),
    source=SOURCE,
    command=_command,
    environment=_environment,
    ready_path="/readyz",
    request=_request,
    read_scores=_read_scores,
)
