"""Sluice, from the environment that runs the comparison, with its settings untouched; and with the hot door shut."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from loadtests.bench.peer import BINARY, ENCODINGS, Peer, Site
from loadtests.bench.protocol import make_v2_request, read_v2_scores

SOURCE_ROOT = Path(__file__).resolve().parents[3]
"""The folder that holds ``sluice.py``: on the path even when the comparison is started from elsewhere."""


def _command(site: Site) -> list[str]:
    store = ("--store", str(site.repository))
    return [str(site.python), "-m", "sluice", "serve", "--host", "127.0.0.1", "--port", str(site.port), *store]


def _environment(_: Site) -> Mapping[str, str]:
    # An empty setting is one that was not made: what the caller's shell says must not decide the comparison.
    unset = {name: "" for name in os.environ if name.startswith("SLUICE_")}
    return {**unset, "PYTHONPATH": os.pathsep.join(filter(None, [str(SOURCE_ROOT), os.environ.get("PYTHONPATH")]))}


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
)


def _environment_asgi(site: Site) -> Mapping[str, str]:
    return {**_environment(site), "SLUICE_HOT_DOOR": "false"}


ASGI_PEER = dataclasses.replace(PEER, name="sluice-asgi", encodings=(BINARY,), environment=_environment_asgi)
"""All requests by the ASGI door: what the hot door is worth."""
