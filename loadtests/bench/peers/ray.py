"""Ray Serve with ``@serve.batch``: one replica with the model, its documented switch for throughput, no access log.

Ray also listens on the outer interface of the machine, so it runs in a private network only.
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
import shutil
import signal
import sys
import tempfile

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


@serve.deployment(max_ongoing_requests=4 * MAX_ROWS, ray_actor_options={"num_cpus": 1})
class Bench:
    def __init__(self):
        self.session = open_session()
        self.name, self.shape = read_facts(self.session)

    @serve.batch(max_batch_size=MAX_ROWS, batch_wait_timeout_s=0.002)
    async def predict(self, rows):
        scores = self.session.run(None, {self.name: np.concatenate(rows)})[0]
        return np.split(scores, np.cumsum([len(one) for one in rows])[:-1])

    async def __call__(self, request: Request):
        if request.method == "GET":
            return Response()
        if request.url.path == "/json":
            rows = np.asarray((await request.json())["rows"], np.float32)
            return JSONResponse((await self.predict(rows)).tolist())
        rows = np.frombuffer(await request.body(), "<f4").reshape(-1, *self.shape)
        return Response((await self.predict(rows)).tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    host, port = sys.argv[2], int(sys.argv[4])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    cores = int(os.environ["BENCH_CORES"])
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # the paths of its sockets must stay short
    try:
        ray.init(
            num_cpus=cores,
            include_dashboard=False,
            object_store_memory=100_000_000,
            _node_ip_address=host,
            _temp_dir=folder,
        )
        serve.start(http_options={"host": host, "port": port})
        serve.run(Bench.bind(), logging_config={"enable_access_log": False}, blocking=True)
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
"""
)
PATHS = {JSON: "/json", BINARY: "/bytes"}


def _command(site: Site) -> list[str]:
    return [str(site.python), str(site.source), "--host", "127.0.0.1", "--port", str(site.port)]


def _environment(site: Site) -> Mapping[str, str]:
    return {
        **describe_site(site),
        "BENCH_CORES": str(max(2, site.threads)),
        "HOME": str(site.source.parent),
        "RAY_AUTH_MODE": "disabled",  # the network is private; otherwise Ray writes a token into the home folder
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_LOG_TO_STDERR": "1",
    }


def _request(_: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    return plain_request(PATHS, encoding, rows)


PEER = Peer(
    name="ray",
    requirements=("ray[serve]", "onnxruntime=={onnxruntime}", "numpy=={numpy}"),
    distributions=("ray", "uvicorn", "onnxruntime", "numpy"),
    encodings=ENCODINGS,
    source=SOURCE,
    command=_command,
    environment=_environment,
    ready_path="/ready",
    request=_request,
    read_scores=read_plain_scores,
    needs_private_network=True,
    is_busy_when_idle=True,
)
