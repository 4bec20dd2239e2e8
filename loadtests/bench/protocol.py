"""Requests and answers of the peers that speak the Open Inference Protocol v2."""

import numpy as np

from loadtests.bench.models.model import INPUT, OUTPUT, BenchModel
from loadtests.bench.peer import BINARY
from loadtests.http_client import Answer, Request
from loadtests.wire import WrongAnswer, decode, encode_binary, encode_json


def make_v2_request(model: BenchModel, encoding: str, rows: np.ndarray) -> Request:
    headers, body = (encode_binary if encoding == BINARY else encode_json)({INPUT: rows})
    return Request(f"/v2/models/{model.name}/infer", "POST", headers, body)


def read_v2_scores(answer: Answer) -> np.ndarray:
    """The scores in an answer. Raises WrongAnswer if the model's output is missing."""
    outputs = decode(answer.headers, answer.body)
    if OUTPUT not in outputs:
        raise WrongAnswer(f"expected the output {OUTPUT!r}, got {sorted(outputs)}")
    return outputs[OUTPUT]
