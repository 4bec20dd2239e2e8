"""The inputs and outputs of a model, read from its metadata by the Open Inference Protocol."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from loadtests.http_client import Request, exchange

DYNAMIC = -1
"""The size of an axis that a request may choose."""
_NO_ACCESS = (401, 403)
_KEY_ADVICE = "set LOADTEST_KEY to a key with the scope infer"


class NoModel(Exception):
    """The server has no such model, is not ready, or does not describe it; the text says what to do."""


@dataclass(frozen=True)
class Tensor:
    """Name, protocol datatype (such as ``FP32``) and shape of one input or output, the batch axis first."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.shape[1:]


@dataclass(frozen=True)
class Signature:
    model: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_signature(address: str, model: str) -> Signature:
    """The signature of ``model``, read from its server. Raises NoModel or Unreachable."""
    path = f"/v2/models/{quote(model, safe='')}"
    answer = exchange(address, Request(path))
    if answer.status != 200:
        advice = _KEY_ADVICE if answer.status in _NO_ACCESS else "name a model that is ready with --model"
        raise NoModel(f"{address}{path} answered {answer.status} instead of 200: {_excerpt(answer.body)}; {advice}")
    return parse_signature(model, answer.body)


def parse_signature(model: str, body: bytes) -> Signature:
    """Read model metadata. Raises NoModel for a missing field, no inputs, or a tensor without a batch axis."""
    try:
        document = json.loads(body)
        inputs = tuple(_read_tensor(entry) for entry in document["inputs"])
        outputs = tuple(_read_tensor(entry) for entry in document["outputs"])
    except (ValueError, KeyError, TypeError) as failure:
        raise NoModel(
            f"the metadata of model {model!r} is not the protocol's ({type(failure).__name__}: {failure}): "
            f"expected inputs and outputs with name, datatype and shape, got {_excerpt(body)}"
        ) from failure
    if not inputs or any(not tensor.shape for tensor in inputs):
        raise NoModel(f"model {model!r} has no input with a batch axis; this load test cannot make rows for it")
    return Signature(model, inputs, outputs)


def find_model(address: str, task: str | None = None) -> str:
    """The first ready model (of ``task``, if given) that the server's ``/models`` lists.

    Raises NoModel, Unreachable.
    """
    answer = exchange(address, Request("/models"))
    if answer.status in _NO_ACCESS:
        raise NoModel(f"{address}/models answered {answer.status}: {_excerpt(answer.body)}; {_KEY_ADVICE}")
    cards = _read_cards(answer.body) if answer.status == 200 else []
    for card in cards:
        if card.get("ready") is True and task in (None, card.get("task")):
            return str(card["name"])
    wanted = f"model for the task {task!r}" if task else "model"
    raise NoModel(
        f"{address}/models (status {answer.status}) lists no ready {wanted}: "
        "wait until the server is ready, or name a model with --model"
    )


def find_task(address: str, model: str) -> str:
    """The task of a model by the server's ``/models``; ``tensors`` if nothing says so. Raises Unreachable."""
    answer = exchange(address, Request("/models"))
    cards = _read_cards(answer.body) if answer.status == 200 else []
    return next((str(card.get("task", "tensors")) for card in cards if card.get("name") == model), "tensors")


def check_live(address: str, model: str) -> None:
    """Raises NoModel unless a WebSocket of the model takes requests with tensors, Unreachable."""
    path = f"/v2/models/{quote(model, safe='')}/stream"
    answer = exchange(address, Request(path))
    try:
        takes = json.loads(answer.body).get("takes") if answer.status == 200 else None
    except (ValueError, AttributeError):
        takes = None
    if takes != "requests":
        raise NoModel(
            f"{address}{path} answered {answer.status}: {_excerpt(answer.body)}; --protocol live needs a model whose "
            "live stream takes requests"
        )


def _read_tensor(entry: dict[str, Any]) -> Tensor:
    return Tensor(str(entry["name"]), str(entry["datatype"]), tuple(int(size) for size in entry["shape"]))


def _read_cards(body: bytes) -> list[dict[str, Any]]:
    try:
        document = json.loads(body)
    except ValueError:
        return []
    cards = document.get("models") if isinstance(document, dict) else document
    return [card for card in cards if isinstance(card, dict) and "name" in card] if isinstance(cards, list) else []


def _excerpt(body: bytes, length: int = 160) -> str:
    return body[:length].decode("utf-8", "replace") or "an empty body"
