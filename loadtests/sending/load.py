"""What the users of one run send, by protocol."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.sending.body import Body
from loadtests.sending.examples import make_bodies, make_streams, read_body
from loadtests.sending.inference_message import encode_message
from loadtests.sending.rows import make_inputs
from loadtests.signature import DYNAMIC, NoModel, Signature, check_live, find_task, read_signature
from loadtests.wire import encode_binary, encode_json

TENSORS = ("json", "binary", "grpc", "live")
"""Protocols that carry the tensors of the model."""

BODIES, FEW_BODIES = 32, 4
"""How many different bodies are sent in turn: enough to defeat caches, few enough to make at once."""
_MANY_NUMBERS = 1 << 16
"""Fewer bodies are made if each has more numbers than this."""

SEED = 20


@dataclass(frozen=True)
class Load:
    """Requests to the paths of a model. ``rows`` is None where a body of the user's own has an unknown number.

    ``bodies`` has those of each protocol.
    """

    model: str
    task: str
    rows: int | None
    signature: Signature | None
    query: str
    bodies: dict[str, tuple[Body, ...]]

    @property
    def route(self) -> str:
        return f"/{self.task}{self.query}"

    @property
    def infer_path(self) -> str:
        return f"/v2/models/{self.model}/infer"

    @property
    def live_path(self) -> str:
        return f"/v2/models/{self.model}/stream"

    def path(self, protocol: str) -> str:
        if protocol == "live":
            return self.live_path
        return self.infer_path if protocol in TENSORS else self.route


def make_load(address: str, model: str, protocols: Iterable[str], rows: int, body: Path | None = None) -> Load:
    """Make the requests of all ``protocols``. ``body`` is a file that is sent in place of made requests.

    Raises NoModel for a model that such requests cannot be made for, Unreachable.
    """
    chosen = set(protocols)
    task = find_task(address, model) if chosen & {"task", "stream"} else "tensors"
    if task == "tensors" and chosen & {"task", "stream"}:
        raise NoModel(f"model {model!r} has no task route: ask it with --protocol json, binary or grpc")
    if "live" in chosen:
        check_live(address, model)
    if body is not None:
        query, content = read_body(body, model)
        query = query if chosen & {"task", "stream"} else ""
        return Load(model, task, None, None, query, dict.fromkeys(chosen, (content,)))
    has_signature = task != "pipeline"
    signature = read_signature(address, model) if has_signature else Signature(model, (), ())
    made: dict[str, tuple[Body, ...]] = {}
    if "task" in chosen:
        made["task"] = make_bodies(address, task, signature, rows, _count_bodies(signature, rows), SEED)
    if "stream" in chosen:
        made["stream"] = make_streams(address, task, signature, rows, BODIES)
    for protocol in chosen & set(TENSORS):
        made[protocol] = tuple(_make_tensors(protocol, signature, rows))
    return Load(model, task, rows, signature, "", made)


def _count_bodies(signature: Signature, rows: int) -> int:
    numbers = sum(math.prod(size for size in t.row_shape if size != DYNAMIC) for t in signature.inputs)
    return BODIES if rows * numbers < _MANY_NUMBERS else FEW_BODIES


def _make_tensors(protocol: str, signature: Signature, rows: int) -> Iterable[Body]:
    if not signature.inputs:
        raise NoModel(f"model {signature.model!r} is a pipeline, which takes no tensors: use --protocol task")
    rng = np.random.default_rng(SEED)
    for _ in range(_count_bodies(signature, rows)):
        inputs = make_inputs(signature, rows, rng)
        if protocol == "grpc":
            yield Body(encode_message(signature.model, inputs), {})
        else:
            headers, content = (encode_binary if protocol == "binary" else encode_json)(inputs)
            yield Body(content, headers)
