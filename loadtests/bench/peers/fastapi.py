"""FastAPI without batching, as its documentation recommends: uvicorn with uvloop and httptools, one worker.

Blocking work is in a plain ``def`` for JSON, which FastAPI runs in its thread pool, and handed to the same pool for a
binary body, which only an ``async def`` can read. The answer is returned as a typed value, which pydantic writes.
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
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

app = FastAPI()
session = open_session()
name, shape = read_facts(session)


class Rows(BaseModel):
    rows: list[Any]


@app.get("/ready")
def ready() -> bool:
    return True


@app.post("/predict")
def predict(body: Rows) -> list[list[float]]:
    return session.run(None, {name: np.asarray(body.rows, np.float32)})[0].tolist()


@app.post("/predict_bytes")
async def predict_bytes(request: Request) -> Response:
    rows = np.frombuffer(await request.body(), "<f4").reshape(-1, *shape)
    scores = await run_in_threadpool(session.run, None, {name: rows})
    return Response(scores[0].tobytes(), media_type="application/octet-stream")
"""
)
PATHS = {JSON: "/predict", BINARY: "/predict_bytes"}


def _command(site: Site) -> list[str]:
    place = ("--host", "127.0.0.1", "--port", str(site.port), "--app-dir", str(site.source.parent))
    return [str(site.python), "-m", "uvicorn", f"{site.source.stem}:app", "--no-access-log", *place]


def _environment(site: Site) -> Mapping[str, str]:
    # The pool runs as many requests at once as come in; one thread for each leaves the cores to all of them.
    return describe_site(site, threads=1)


def _request(_: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    return plain_request(PATHS, encoding, rows)


PEER = Peer(
    name="fastapi",
    requirements=("fastapi", "uvicorn[standard]", "onnxruntime=={onnxruntime}", "numpy=={numpy}"),
    distributions=("fastapi", "uvicorn", "uvloop", "httptools", "pydantic", "onnxruntime", "numpy"),
    encodings=ENCODINGS,
    source=SOURCE,
    command=_command,
    environment=_environment,
    ready_path="/ready",
    request=_request,
    read_scores=read_plain_scores,
)
