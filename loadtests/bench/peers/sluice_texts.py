"""Sluice for texts, and the same service with batches of 32 texts that are padded to the longest text there is.

The longest of 32 texts of 8 to 128 tokens has 124 on average, so the second one pads 3 % too much; its batches are full
whenever 32 texts wait.
"""

import base64
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from loadtests.bench.models.model import OUTPUT, BenchModel
from loadtests.bench.models.text_encoder import MOST_TOKENS, TEXTS, write_text, write_tokenizer
from loadtests.bench.peer import Peer, Site
from loadtests.bench.peers.sluice import PEER, serve_store, store_of
from loadtests.bench.server import run_to_end
from loadtests.http_client import Answer, Request
from loadtests.wire import WrongAnswer

IMPORT_LIMIT_S = 300
FIXED_ROWS = 32
FIXED = "sluice-padded"


def write_import(site: Site, tokenizer: Path) -> list[str]:
    """The command that publishes the site's model with a tokenizer."""
    words = ["--name", site.model.name, "--task", "embed", "--output", OUTPUT, "--pooling", "mean"]
    words += ["--tokenizer", str(tokenizer), "--max-length", str(MOST_TOKENS), "--max-rows", str(site.model.max_rows)]
    return [str(site.python), "-m", "sluice", "import", str(site.model_file), *words, "--store", str(store_of(site))]


def _prepare(site: Site) -> None:
    """Import the model, unless it is there. Raises ServerFailed."""
    if store_of(site).exists():
        return
    tokenizer = site.repository.parent / "tokenizer.json"
    tokenizer.write_text(write_tokenizer())
    run_to_end(write_import(site, tokenizer), PEER.environment(site), IMPORT_LIMIT_S)


def _prepare_fixed(site: Site) -> None:
    """The same version with one padded length, and batches of 32."""
    _prepare(site)
    path = store_of(site) / site.model.name / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["tokens"]["lengths"] = [MOST_TOKENS]
    manifest["batching"]["max_rows"] = FIXED_ROWS
    path.chmod(0o644)
    path.write_text(json.dumps(manifest))


def make_request(model: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    """A text of these words."""
    assert encoding == TEXTS  # noqa: S101 - the only one of these peers
    body = json.dumps({"model": model.name, "inputs": [write_text(row) for row in rows], "encoding": "base64"})
    return Request("/embed", "POST", {"Content-Type": "application/json"}, body.encode())


def _read_scores(answer: Answer) -> np.ndarray:
    try:
        texts = [one["embedding"] for one in json.loads(answer.body)["predictions"]]
        return np.stack([np.frombuffer(base64.b64decode(text), "<f4") for text in texts])
    except (ValueError, KeyError, TypeError):
        raise WrongAnswer("expected a JSON object with predictions, each with a vector") from None


def _make(name: str, prepare: Callable[[Site], None]) -> Peer:
    return dataclasses.replace(
        PEER,
        name=name,
        encodings=(TEXTS,),
        prepare=prepare,
        command=serve_store,
        request=make_request,
        read_scores=_read_scores,
    )


TEXTS_PEER = _make("sluice", _prepare)
FIXED_PEER = _make(FIXED, _prepare_fixed)
