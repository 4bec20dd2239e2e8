"""An encoder of texts with random weights: four layers of attention, as wide as a small sentence embedder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from loadtests.bench.models.model import OUTPUT, SEED, BenchModel, Graph, open_session

TEXTS = "texts"
"""The encoding of the requests: JSON with a text."""
IDS, MASK = "input_ids", "attention_mask"
LAYERS, WIDTH, HEADS, INNER = 4, 256, 4, 1024
WORDS = 1000
LEAST_TOKENS, MOST_TOKENS = 8, 128
_HIDDEN = -1e4
"""Added to the attention scores of padding."""


@dataclass(frozen=True)
class TextEncoder(BenchModel):
    """Its rows are the ids of words, [1, words]. Its scores are the vector of the text: the mean, of length 1."""

    @property
    def output_shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {OUTPUT: (WIDTH,)}

    def build(self) -> bytes:
        from onnx import TensorProto, helper

        shape = ["batch", "length"]
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in (IDS, MASK)]
        outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [*shape, WIDTH])]
        return self.build_between(inputs, outputs)

    def make_rows(self, rows: int) -> np.ndarray:
        return make_text(32, SEED)[None].repeat(rows, 0)

    def score(self, rows: np.ndarray) -> np.ndarray:
        hidden = open_session(self.build()).run(None, {IDS: rows, MASK: np.ones_like(rows)})[0].mean(1)
        vectors: np.ndarray = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
        return vectors


def make_text(tokens: int, seed: int) -> np.ndarray:
    """The ids of so many random words."""
    return np.random.default_rng([seed, tokens]).integers(1, WORDS, tokens)


def write_text(ids: np.ndarray) -> str:
    return " ".join(f"w{number}" for number in ids.tolist())


def write_tokenizer() -> str:
    """A ``tokenizer.json`` of words between spaces: each is one token."""
    vocabulary = {f"w{number}": number for number in range(WORDS)}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
        }
    )


def _grow(graph: Graph) -> None:
    x = graph.add("Gather", graph.add_weight(WORDS, WIDTH), IDS)
    held = graph.add("Unsqueeze", graph.add("Cast", MASK, to=1), graph.add_constant(np.array([1, 2])))
    bias = graph.add(
        "Mul", graph.add("Sub", graph.add_constant(np.float32(1)), held), graph.add_constant(np.float32(_HIDDEN))
    )
    for layer in range(LAYERS):
        x = _normalise(graph, graph.add("Add", x, _attend(graph, x, bias)))
        inner = graph.add("Relu", graph.add("MatMul", x, _weight(graph, WIDTH, INNER)))
        outer = graph.add("MatMul", inner, _weight(graph, INNER, WIDTH))
        x = _normalise(graph, graph.add("Add", x, outer), OUTPUT if layer == LAYERS - 1 else "")


def _attend(graph: Graph, x: str, bias: str) -> str:
    split = graph.add_constant(np.array([0, 0, HEADS, WIDTH // HEADS]))
    heads = [graph.add("Reshape", graph.add("MatMul", x, _weight(graph, WIDTH, WIDTH)), split) for _ in range(3)]
    query, value = (graph.add("Transpose", heads[number], perm=[0, 2, 1, 3]) for number in (0, 2))
    scores = graph.add("MatMul", query, graph.add("Transpose", heads[1], perm=[0, 2, 3, 1]))
    scaled = graph.add("Mul", scores, graph.add_constant(np.float32((WIDTH // HEADS) ** -0.5)))
    shares = graph.add("Softmax", graph.add("Add", scaled, bias), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", shares, value), perm=[0, 2, 1, 3])
    joined = graph.add("Reshape", mixed, graph.add_constant(np.array([0, 0, WIDTH])))
    return graph.add("MatMul", joined, _weight(graph, WIDTH, WIDTH))


def _weight(graph: Graph, size_in: int, size_out: int) -> str:
    values = graph.rng.standard_normal((size_in, size_out), dtype=np.float32)
    return graph.add_constant(values * np.float32(size_in**-0.5))


def _normalise(graph: Graph, x: str, output: str = "") -> str:
    ones, zeros = (graph.add_constant(np.full(WIDTH, value, np.float32)) for value in (1, 0))
    return graph.add("LayerNormalization", x, ones, zeros, output=output, axis=-1)


ENCODER = TextEncoder("text-encoder", (WIDTH,), 64, _grow)
