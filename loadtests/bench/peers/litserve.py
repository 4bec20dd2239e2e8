"""LitServe with batching, as its documentation recommends: on a CPU one worker a core, ``fast_queue`` above 100 req/s.

Its bodies are JSON; the binary encoding is the rows' bytes in base64, as its examples send pictures.
"""

import base64
import json
from collections.abc import Mapping

import numpy as np

from loadtests.bench.models.model import BenchModel
from loadtests.bench.peer import BINARY, ENCODINGS, Peer, Site
from loadtests.bench.peers.session import OPEN_SESSION, describe_site, read_rows
from loadtests.http_client import Answer, Request
from loadtests.wire import WrongAnswer, shorten

SOURCE = (
    OPEN_SESSION
    + """\
import base64
import sys

import litserve


class Bench(litserve.LitAPI):
    def setup(self, device):
        self.session = open_session()
        self.name, self.shape = read_facts(self.session)

    def decode_request(self, request):
        if "bytes" in request:
            return np.frombuffer(base64.b64decode(request["bytes"]), "<f4").reshape(self.shape)
        return np.asarray(request["row"], np.float32)

    def predict(self, rows):
        return self.session.run(None, {self.name: rows})[0]

    def encode_response(self, scores):
        return {"scores": scores.tolist()}


if __name__ == "__main__":
    api = Bench(max_batch_size=MAX_ROWS, batch_timeout=0.002)
    workers = int(os.environ["BENCH_WORKERS"])
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers, fast_queue=True)
    host, port = sys.argv[2], int(sys.argv[4])
    server.run(host=host, port=port, log_level="warning", access_log=False, generate_client_file=False)
"""
)


def _command(site: Site) -> list[str]:
    return [str(site.python), str(site.source), "--host", "127.0.0.1", "--port", str(site.port)]


def _environment(site: Site) -> Mapping[str, str]:
    return {**describe_site(site, threads=1), "BENCH_WORKERS": str(site.threads)}


def _request(_: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    (row,) = rows  # a request of LitServe is one item of its batch
    text = base64.b64encode(row.tobytes()).decode()
    body = json.dumps({"bytes": text} if encoding == BINARY else {"row": shorten(row)})
    return Request("/predict", "POST", {"Content-Type": "application/json"}, body.encode())


def _read_scores(answer: Answer) -> np.ndarray:
    try:
        return read_rows([json.loads(answer.body)["scores"]])
    except (ValueError, KeyError, TypeError):
        raise WrongAnswer("expected a JSON object with scores") from None


PEER = Peer(
    name="litserve",
    requirements=("litserve", "uvloop", "httptools", "onnxruntime=={onnxruntime}", "numpy=={numpy}"),
    distributions=("litserve", "uvicorn", "uvloop", "onnxruntime", "numpy"),
    encodings=ENCODINGS,
    source=SOURCE,
    command=_command,
    environment=_environment,
    ready_path="/health",
    request=_request,
    read_scores=_read_scores,
    is_busy_when_idle=True,
)
