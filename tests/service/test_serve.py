"""`sluice serve` as people start it: BentoML's processes around our service."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import tritonclient.grpc as triton

from service.api.openapi.examples import EXAMPLES
from service.api.tasks import ROUTES
from tests.service.models.asking import X
from tests.support.answers import sum_series
from tests.support.connections.certificates import Authority
from tests.support.models import graphs
from tests.support.processes import REPOSITORY, Served, free_port

ROW = [[[0] * 8] * 8]
FEW_ROWS = {"SLUICE_MAX_ROWS": "8"}
"""The reference models are loaded in a sixth of the time."""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(workers=2, environment=FEW_ROWS) as server:
        yield server


@pytest.mark.long
def test_metrics_are_summed_over_two_workers(served: Served):
    """Whichever of two workers is asked, it counts the requests of both, exactly."""

    def count() -> float:
        series = 'sluice_requests_total{model="digits-classifier",route="/classify",status="200",version="1"}'
        return sum_series(served.get("/metrics").text, series)

    def ask(_: int) -> int:
        return served.post("/classify", {"inputs": [ROW]}).status_code

    before = count()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(60))) == {200}
    while count() < before + 60:  # a request is counted after its answer
        pass
    assert {count() for _ in range(12)} == {before + 60}
    text = served.get("/metrics").text
    assert "sluice_workers 2.0" in text
    assert 'sluice_model_ready{model="digits-classifier",version="1"} 2.0' in text


def run(program: str, *arguments: str, content: str = "", environment: dict[str, str] | None = None) -> str:
    """What a Python program prints. Importing BentoML emits warnings, which are errors here, so not here."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        input=content,
        env={**os.environ, **(environment or {})},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CLIENT = """
import bentoml, json, sys
requests = json.load(sys.stdin)
with bentoml.SyncHTTPClient(sys.argv[1]) as client:
    print(json.dumps([getattr(client, task)(**body) for task, body in requests]))
"""


@pytest.mark.long
def test_bentoml_client_calls_all_tasks(served: Served):
    """BentoML's own client finds the tasks in the service's schema and gets for each example what HTTP answers."""
    examples = [(task, body) for task, examples in EXAMPLES.items() for _, body in examples.values()]
    requests = [(task, body) for task, body in examples if not body.get("stream")]  # a call has one answer
    answers = json.loads(run(CLIENT, served.url, content=json.dumps(requests)))
    assert {f"/{task}" for task, _ in requests} == set(ROUTES)
    assert answers == [served.post(f"/{task}", body).json() for task, body in requests]


IN_PROCESS = """
import asyncio, json, sys
from service.app import InferenceService, bentoml

async def main():
    received, started = asyncio.Queue(), asyncio.Event()

    async def send(message):
        if message["type"] == "lifespan.startup.complete":
            started.set()

    application = InferenceService.to_asgi()
    received.put_nowait({"type": "lifespan.startup"})
    life = asyncio.create_task(application({"type": "lifespan", "state": {}}, received.get, send))
    await started.wait()
    for task, body in json.load(sys.stdin):
        try:
            answer = await getattr(InferenceService(), task)(**body)
        except bentoml.exceptions.BentoMLException as error:
            answer = [error.error_code, str(error)]
        print(json.dumps(answer))
    received.put_nowait({"type": "lifespan.shutdown"})
    await life

asyncio.run(main())
"""


@pytest.mark.long
def test_calls_in_process_are_those_of_http(served: Served):
    """A method of the service, called within its process, answers as its route does; errors carry their status."""
    digit = EXAMPLES["classify"]["digit"][1]
    gan = EXAMPLES["generate"]["labels"][1]
    requests = [
        ("classify", digit),
        ("generate", gan),
        ("generate", {**gan, "labels": ["ten"]}),
        ("generate", {**gan, "stream": True}),
    ]
    environment = {"SLUICE_MODELS": "digits-classifier,digits-gan", "SLUICE_LAZY": "true", **FEW_ROWS}
    lines = run(IN_PROCESS, content=json.dumps(requests), environment=environment).splitlines()
    *answers, wrong, streamed = map(json.loads, lines)
    assert answers == [served.post(f"/{task}", body).json() for task, body in requests[:2]]
    assert wrong[0] == 400
    assert "labels[0]: expected one of" in wrong[1]
    assert streamed == [400, "stream: a call has one answer: use HTTP for a stream"]


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [("*/*", False), ("application/json", False), ("", False), ("text/html,application/xml;q=0.9,*/*;q=0.8", True)],
)
def test_root_is_a_page_for_browsers_and_a_sign_of_life_for_programs(served: Served, accept: str, is_page: bool):
    """A caller that does not ask for HTML gets KServe's liveness from the root; browsers get BentoML's page."""
    response = served.get("", headers={"accept": accept})
    assert response.status_code == 200
    assert ("html" in response.headers["content-type"]) is is_page
    assert is_page or response.json() == {"status": "alive"}


def test_documentation_page_and_openapi_are_there(served: Served):
    """BentoML's page is handed on, and finds our OpenAPI document where it looks for one."""
    assert "html" in served.get("/docs").headers["content-type"]
    assert "/generate" in served.get("/docs.json").json()["paths"]


@pytest.mark.long
def test_tls_covers_http_and_grpc(tmp_path: Path):
    """With a certificate, a key and an authority of clients both ports want a handshake and a certificate of it."""
    graphs.write_plain(tmp_path / "store", "double", graphs.double())
    authority = Authority(tmp_path)
    (certificate, key), client = authority.issue("server"), authority.issue("client")
    grpc_port = free_port()
    tls = {"TLS_CERTIFICATE": str(certificate), "TLS_KEY": str(key), "TLS_CLIENT_CA": str(authority.certificate)}
    environment = {f"SLUICE_{name}": value for name, value in {**tls, "GRPC_PORT": str(grpc_port)}.items()}
    with Served("--store", str(tmp_path / "store"), workers=1, environment=environment) as server:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        path = f"127.0.0.1:{server.port}/v2/models/double/infer"
        with pytest.raises(httpx.TransportError):
            httpx.post(f"http://{path}", json={"inputs": [X]})
        with pytest.raises(httpx.TransportError):
            httpx.post(f"https://{path}", json={"inputs": [X]}, verify=context)
        context.load_cert_chain(*client)
        answer = httpx.post(f"https://{path}", json={"inputs": [X]}, verify=context)
        assert answer.json()["outputs"][0]["data"] == [2.0, 4.0, 6.0]
        files = {"root_certificates": str(authority.certificate)}
        files |= {"certificate_chain": str(client[0]), "private_key": str(client[1])}
        with triton.InferenceServerClient(f"127.0.0.1:{grpc_port}", ssl=True, **files) as over_grpc:
            assert over_grpc.is_model_ready("double")


def test_workers_end_when_their_supervisor_is_killed(served: Served):
    """After SIGKILL of the supervisor no worker is left to hold the port. This is the last test of the server."""
    workers = psutil.Process(served.process.pid).children(recursive=True)
    served.process.kill()
    try:
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive
    finally:
        for worker in workers:
            if worker.is_running():
                worker.kill()


OPEN_WORKER = """
import json, os, sys, service.app
for variables in json.load(sys.stdin):
    os.environ |= variables
    try:
        service.app._open_worker()
    except service.app.SettingsError as error:
        print(error)
    for name in variables:
        del os.environ[name]
"""


@pytest.mark.long
def test_worker_of_bentoml_serve_refuses_wrong_settings(tmp_path: Path):
    """It looks for the store, and does not answer in plain text although a certificate is set."""
    store, pem = str(tmp_path / "none"), str(tmp_path / "a.pem")
    wrong = [{"SLUICE_STORE": store}, {"SLUICE_TLS_CERTIFICATE": pem, "SLUICE_TLS_KEY": pem}]
    of_store, of_tls = run(OPEN_WORKER, content=json.dumps(wrong)).splitlines()
    assert of_store.startswith(f"SLUICE_STORE={store} (--store): expected a folder of models")
    assert "`bentoml serve` answers HTTP in plain text without --ssl-certfile" in of_tls
