"""Sluice from this environment with default settings, and again without the fast path."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from loadtests.bench.models.model import BenchModel
from loadtests.bench.models.picture import PNG, encode_png
from loadtests.bench.peer import BINARY, ENCODINGS, Peer, Site
from loadtests.bench.protocol import make_v2_request, read_v2_scores
from loadtests.http_client import Answer, Request
from loadtests.wire import WrongAnswer

SOURCE_ROOT = Path(__file__).resolve().parents[3]
"""The folder that holds ``sluice.py``: on the path even when the comparison is started from elsewhere."""
STORE = SOURCE_ROOT / "model_store" / "models"
"""The reference models."""


def serve(site: Site, *more: str) -> list[str]:
    return [str(site.python), "-m", "sluice", "serve", "--host", "127.0.0.1", "--port", str(site.port), *more]


def store_of(site: Site) -> Path:
    """The folder for a store that is made for one comparison."""
    return site.repository.parent / "store"


def serve_store(site: Site) -> list[str]:
    return serve(site, "--store", str(store_of(site)))


def _command(site: Site) -> list[str]:
    return serve(site, "--store", str(site.repository))


def _environment(_: Site, root: Path = SOURCE_ROOT) -> Mapping[str, str]:
    # An empty variable counts as unset, so the caller's shell does not affect the comparison.
    unset = {name: "" for name in os.environ if name.startswith("SLUICE_")}
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return {**unset, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # safe: not the code of the current folder


def read_facts(root: Path = SOURCE_ROOT) -> dict[str, str]:
    """Whether the compared server's request path is compiled."""
    compiled = any((root / "service" / "engine").rglob("dispatcher.*.so"))
    return {"request path": "compiled" if compiled else "interpreted"}


PEER = Peer(
    name="sluice",
    requirements=None,
    distributions=("sluice-serving", "bentoml", "onnxruntime", "numpy", "uvicorn"),
    encodings=ENCODINGS,
    source="",
    command=_command,
    environment=_environment,
    ready_path="/readyz",
    request=make_v2_request,
    read_scores=read_v2_scores,
    facts=read_facts,
)


def _environment_asgi(site: Site) -> Mapping[str, str]:
    return {**_environment(site), "SLUICE_FAST_PATH": "false"}


ASGI_PEER = dataclasses.replace(PEER, name="sluice-asgi", encodings=(BINARY,), environment=_environment_asgi)
"""All requests go by the ASGI path, to show the gain of the fast path."""


def make_before_peer(root: Path) -> Peer:
    """Another checkout of Sluice, compiled or not, run by the Python of its ``.venv`` or by this one.

    Raises ValueError if ``root`` is no checkout.
    """
    root = root.resolve()
    if not (root / "sluice.py").is_file() or not (root / "service").is_dir():
        raise ValueError(f"expected a checkout of Sluice, with sluice.py and service/, got {root}")
    python = root / ".venv" / "bin" / "python"

    def command(site: Site) -> list[str]:
        return _command(dataclasses.replace(site, python=python) if python.exists() else site)

    def environment(site: Site) -> Mapping[str, str]:
        return _environment(site, root)

    return dataclasses.replace(
        PEER,
        name="before",
        distributions=(),
        command=command,
        environment=environment,
        facts=lambda: {"checkout": root.name, **read_facts(root)},
    )


def _command_tasks(site: Site) -> list[str]:
    return serve(site, "--store", str(STORE))


def _request_picture(model: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    assert encoding == PNG  # noqa: S101 - the only one in TASKS_PEER.encodings
    return Request(f"/classify?model={model.name}", "POST", {"Content-Type": "image/png"}, encode_png(rows))


def _read_prediction(answer: Answer) -> np.ndarray:
    try:
        (prediction,) = json.loads(answer.body)["predictions"]
        return np.array([[prediction["index"], prediction["probability"]]], np.float32)
    except (ValueError, KeyError, TypeError):
        raise WrongAnswer("expected a JSON object with one prediction, of an index and a probability") from None


TASKS_PEER = dataclasses.replace(
    PEER, encodings=(PNG,), command=_command_tasks, request=_request_picture, read_scores=_read_prediction
)
"""Serves all reference models, for the task routes."""
