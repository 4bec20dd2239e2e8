"""Triton Inference Server on a CPU: the binary inside the wheel nvidia-pytriton, Python backend, dynamic batcher.

That wheel has no ONNX Runtime backend, so a Python model calls ONNX Runtime, one instance a core with one thread each.
The source is a launcher: it lays the model and the backend out as pytriton does, and becomes ``tritonserver``.
"""

from collections.abc import Mapping

from loadtests.bench.models.model import CLASSES, INPUT, OUTPUT
from loadtests.bench.peer import ENCODINGS, Peer, Site
from loadtests.bench.peers.session import OPEN_SESSION, describe_site
from loadtests.bench.protocol import make_v2_request, read_v2_scores

MODEL = (
    OPEN_SESSION
    + """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.session = open_session()
        self.input, _ = read_facts(self.session)
        self.output = self.session.get_outputs()[0].name

    def execute(self, requests):
        rows = [pb_utils.get_input_tensor_by_name(one, self.input).as_numpy() for one in requests]
        scores = self.session.run(None, {self.input: np.concatenate(rows)})[0]
        parts = np.split(scores, np.cumsum([len(one) for one in rows])[:-1])
        return [pb_utils.InferenceResponse([pb_utils.Tensor(self.output, part)]) for part in parts]
"""
)
SOURCE = f"""\
import os
import shutil
import sys
from pathlib import Path

import pytriton

MODEL = '''
{MODEL}'''

here = Path(__file__).resolve().parent
package = Path(pytriton.__file__).resolve().parent
model = here / "models" / os.environ["BENCH_NAME"]
(model / "1").mkdir(parents=True, exist_ok=True)
(model / "config.pbtxt").write_text(os.environ["BENCH_CONFIG"])
(model / "1" / "model.py").write_text(MODEL)
backends = here / "backends"
shutil.copytree(package / "tritonserver" / "backends", backends, dirs_exist_ok=True)
version = f"{{sys.version_info[0]}}.{{sys.version_info[1]}}"
stub = package / "tritonserver" / "python_backend_stubs" / version / "triton_python_backend_stub"
shutil.copy(stub, backends / "python")
libraries = package.parent / "nvidia_pytriton.libs"
environment = {{
    **os.environ,
    "PATH": f"{{Path(sys.executable).parent}}:{{os.environ['PATH']}}",
    "LD_LIBRARY_PATH": f"{{libraries}}:{{os.environ.get('LD_LIBRARY_PATH', '')}}".rstrip(":"),
    "PYTHONPATH": str(package.parent),
}}
server = str(package / "tritonserver" / "bin" / "tritonserver")
places = ["--model-repository", str(here / "models"), "--backend-directory", str(backends)]
os.execve(server, [server, *places, *sys.argv[1:]], environment)
"""

CONFIG = """\
backend: "python"
max_batch_size: {max_rows}
input [{{ name: "{input}", data_type: TYPE_FP32, dims: [{shape}] }}]
output [{{ name: "{output}", data_type: TYPE_FP32, dims: [{classes}] }}]
instance_group [{{ count: {instances}, kind: KIND_CPU }}]
dynamic_batching {{ }}
"""


def _command(site: Site) -> list[str]:
    place = ("--http-address", "127.0.0.1", "--http-port", str(site.port))
    closed = ("--allow-grpc", "false", "--allow-metrics", "false")
    return [str(site.python), str(site.source), *place, *closed]


def _environment(site: Site) -> Mapping[str, str]:
    config = CONFIG.format(
        max_rows=site.model.max_rows,
        input=INPUT,
        shape=", ".join(map(str, site.model.row_shape)),
        output=OUTPUT,
        classes=CLASSES,
        instances=site.threads,
    )
    return {**describe_site(site, threads=1), "BENCH_NAME": site.model.name, "BENCH_CONFIG": config}


PEER = Peer(
    name="triton",
    requirements=("nvidia-pytriton", "onnxruntime=={onnxruntime}"),
    distributions=("nvidia-pytriton", "onnxruntime", "numpy"),
    encodings=ENCODINGS,
    source=SOURCE,
    command=_command,
    environment=_environment,
    ready_path="/v2/health/ready",
    request=make_v2_request,
    read_scores=read_v2_scores,
)
