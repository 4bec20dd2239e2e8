"""mosec with dynamic batching: its Rust front, one Python worker with the model, batches held for at most 2 ms.

JSON is its default. For binary bodies the worker reads and writes plain bytes, the custom serialisation of its
documentation. A worker has one encoding, so each encoding has its own route and process; the other one sleeps.
"""

from collections.abc import Mapping

import numpy as np

from loadtests.bench.models.model import BenchModel
from loadtests.bench.peer import BINARY, ENCODINGS, JSON, Peer, Site
from loadtests.bench.peers.session import OPEN_SESSION, describe_site, plain_request, read_plain_scores
from loadtests.http_client import Request

SOURCE = (
    OPEN_SESSION
    + """\
from mosec import Server, Worker


class JsonRows(Worker):
    def __init__(self):
        super().__init__()
        self.session = open_session()
        self.name, self.shape = read_facts(self.session)

    def forward(self, data):
        rows = np.concatenate([np.asarray(one["rows"], np.float32) for one in data])
        scores = self.session.run(None, {self.name: rows})[0].tolist()
        ends = np.cumsum([len(one["rows"]) for one in data]).tolist()
        return [scores[start:end] for start, end in zip([0, *ends], ends)]


class ByteRows(Worker):
    resp_mime_type = "application/octet-stream"

    def __init__(self):
        super().__init__()
        self.session = open_session()
        self.name, self.shape = read_facts(self.session)

    def deserialize(self, data):
        return np.frombuffer(data, "<f4").reshape(-1, *self.shape)

    def serialize(self, data):
        return data.tobytes()

    def forward(self, data):
        scores = self.session.run(None, {self.name: np.concatenate(data)})[0]
        return np.split(scores, np.cumsum([len(one) for one in data])[:-1])


if __name__ == "__main__":
    server = Server()
    server.append_worker(JsonRows, max_batch_size=MAX_ROWS, max_wait_time=2, route="/json")
    server.append_worker(ByteRows, max_batch_size=MAX_ROWS, max_wait_time=2, route="/bytes")
    server.run()
"""
)
PATHS = {JSON: "/json", BINARY: "/bytes"}


def _command(site: Site) -> list[str]:
    limits = ("--timeout", "30000", "--log-level", "warning")
    return [str(site.python), str(site.source), "--address", "127.0.0.1", "--port", str(site.port), *limits]


def _environment(site: Site) -> Mapping[str, str]:
    return describe_site(site)


def _request(_: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    return plain_request(PATHS, encoding, rows)


PEER = Peer(
    name="mosec",
    requirements=("mosec", "onnxruntime=={onnxruntime}", "numpy=={numpy}"),
    distributions=("mosec", "onnxruntime", "numpy"),
    encodings=ENCODINGS,
    source=SOURCE,
    command=_command,
    environment=_environment,
    ready_path="/",
    request=_request,
    read_scores=read_plain_scores,
)
