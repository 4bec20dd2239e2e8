"""MLServer with a custom runtime and adaptive batching: the Open Inference Protocol without its binary extension.

The binary encoding is the rows' bytes in base64, one of MLServer's content types. Configured by its variables. The
model is in the server's process (``parallel_workers`` 0: its worker pool does not start with today's uvloop), and
batches are held for 0.1 ms, which measured better than 2 ms for every number of clients.
"""

import base64
import json
from collections.abc import Mapping

import numpy as np

from loadtests.bench.models.model import INPUT, BenchModel
from loadtests.bench.peer import BINARY, ENCODINGS, Peer, Site
from loadtests.bench.peers.session import OPEN_SESSION, describe_site
from loadtests.bench.protocol import read_v2_scores
from loadtests.http_client import Request
from loadtests.wire import encode_json

SOURCE = (
    OPEN_SESSION
    + """\
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Bench(MLModel):
    async def load(self) -> bool:
        self.session = open_session()
        self.input, self.shape = read_facts(self.session)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensor = payload.inputs[0]
        if tensor.datatype == "BYTES":
            rows = np.frombuffer(b"".join(Base64Codec.decode_input(tensor)), "<f4").reshape(-1, *self.shape)
        else:
            rows = NumpyCodec.decode_input(tensor)
        scores = self.session.run(None, {self.input: rows})[0]
        output = NumpyCodec.encode_output(self.session.get_outputs()[0].name, scores)
        return InferenceResponse(model_name=self.name, outputs=[output])
"""
)


def _command(site: Site) -> list[str]:
    return [str(site.python), str(site.python.with_name("mlserver")), "start", str(site.source.parent)]


def _environment(site: Site) -> Mapping[str, str]:
    return {
        **describe_site(site),
        "PYTHONPATH": str(site.source.parent),
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": str(site.port),
        "MLSERVER_GRPC_PORT": str(site.spare_ports[0]),
        "MLSERVER_METRICS_PORT": str(site.spare_ports[1]),
        "MLSERVER_METRICS_DIR": str(site.source.parent / "metrics"),
        "MLSERVER_ENVIRONMENTS_DIR": str(site.source.parent / "environments"),
        "MLSERVER_DEBUG": "false",
        "MLSERVER_PARALLEL_WORKERS": "0",
        "MLSERVER_MODEL_NAME": site.model.name,
        "MLSERVER_MODEL_IMPLEMENTATION": f"{site.source.stem}.Bench",
        "MLSERVER_MODEL_MAX_BATCH_SIZE": str(site.model.max_rows),
        "MLSERVER_MODEL_MAX_BATCH_TIME": "0.0001",
    }


def _request(model: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    path = f"/v2/models/{model.name}/infer"
    if encoding != BINARY:
        headers, body = encode_json({INPUT: rows})
        return Request(path, "POST", headers, body)
    data = [base64.b64encode(row.tobytes()).decode() for row in rows]
    tensor = {"name": INPUT, "shape": [len(rows)], "datatype": "BYTES", "data": data}
    document = {"inputs": [{**tensor, "parameters": {"content_type": "base64"}}]}
    return Request(path, "POST", {"Content-Type": "application/json"}, json.dumps(document).encode())


PEER = Peer(
    name="mlserver",
    requirements=("mlserver", "onnxruntime=={onnxruntime}"),
    distributions=("mlserver", "fastapi", "uvicorn", "onnxruntime", "numpy"),
    encodings=ENCODINGS,
    source=SOURCE,
    command=_command,
    environment=_environment,
    ready_path="/v2/health/ready",
    request=_request,
    read_scores=read_v2_scores,
)
