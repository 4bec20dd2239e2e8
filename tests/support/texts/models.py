"""A tiny tokenizer of words, and tiny models of texts: each word counts by itself."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from model_store import GoldenSamples, Store
from model_store.graph import RowVerdict
from model_store.manifest import Golden
from model_store.tasks import Tokens
from tests.support.driving import Driver, make
from tests.support.models.text import make_model

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "ann", "lives", "in", "new", "york", "rome", "ask", ":", "Ω")
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
_LABEL_OF = {"ann": 1, "new": 3, "york": 4, "rome": 3}
INPUTS = "int64[batch,length] ids, int64[batch,length] mask"
TOKENS = Tokens(ids="ids", mask="mask", lengths=(4, 8, 16))


def make_tokenizer(makes_pairs: bool = True) -> bytes:
    """The tokens are WORDS, with [CLS] and [SEP] around a text."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1" if makes_pairs else "[CLS] $A [SEP] $B:1"
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=128)  # as files of real models fix it, and it must be overridden
    tokenizer.enable_truncation(5)
    return tokenizer.to_str().encode()


def embedder() -> bytes:
    """vector = the mean of the words' own vectors, [batch, 4]."""
    return make_model(
        f"{INPUTS} => float[batch,4] vector",
        """
        words = Gather(table, ids)
        held = Cast<to = 1>(mask)
        column = Unsqueeze(held, [-1])
        kept = Mul(words, column)
        total = ReduceSum<keepdims = 0>(kept, [1])
        count = ReduceSum<keepdims = 0>(column, [1])
        vector = Div(total, count)
        """,
        table=np.random.default_rng(0).standard_normal((len(WORDS), 4)).astype(np.float32),
    )


def classifier() -> bytes:
    """p = whether a text speaks of Rome, [batch, 2]."""
    table = np.zeros((len(WORDS), 2), np.float32)
    table[WORDS.index("rome"), 1] = 8
    table[WORDS.index("york"), 0] = 8
    return make_model(
        f"{INPUTS} => float[batch,2] p",
        """
        words = Gather(table, ids)
        held = Cast<to = 1>(mask)
        column = Unsqueeze(held, [-1])
        kept = Mul(words, column)
        total = ReduceSum<keepdims = 0>(kept, [1])
        p = Softmax<axis = -1>(total)
        """,
        table=table,
    )


def tagger() -> bytes:
    """tags = the scores of LABELS for each word, [batch, length, 5]."""
    table = np.zeros((len(WORDS), len(LABELS)), np.float32)
    for i, word in enumerate(WORDS):
        table[i, _LABEL_OF.get(word, 0)] = 4
    return make_model("int64[batch,length] ids => float[batch,length,5] tags", "tags = Gather(table, ids)", table=table)


def publish(root: Path, name: str, driver: Driver, content: bytes) -> None:
    """Publish a model with golden samples of eight tokens."""
    graph = driver.manifest.graphs["main"].model_copy(update={"rows": RowVerdict(verdict="proved")})
    ids = np.arange(24).reshape(3, 8) % len(WORDS)
    inputs = {tensor.name: ids if tensor.name == "ids" else np.ones_like(ids) for tensor in graph.inputs}
    golden = GoldenSamples(inputs, driver.infer("main", inputs))
    facts = {"golden": Golden(rows=3, atol=1e-5, rtol=1e-5), "graphs": {"main": graph}, "name": name}
    files = {"main.onnx": content, "golden.npz": golden.to_bytes(), "tokenizer.json": make_tokenizer()}
    Store(root).publish(driver.manifest.model_copy(update=facts), files)


def make_embedder(makes_pairs: bool = True, **facts: object) -> Driver:
    """A model of ``embedder``; ``facts`` replace those of its tokens."""
    return make(
        {"main": embedder()},
        task="embed",
        embedding={"output": "vector", "dimensions": (2,)},
        tokens=TOKENS.model_copy(update=facts),
        files={"tokenizer.json": make_tokenizer(makes_pairs)},
    )


def make_classifier() -> Driver:
    return make(
        {"main": classifier()},
        task="classify",
        labels=("york", "rome"),
        classes={"probabilities": "p"},
        tokens=TOKENS,
        files={"tokenizer.json": make_tokenizer()},
    )


def make_tagger(tokens: Mapping[str, object] = MappingProxyType({}), **facts: object) -> Driver:
    """A model of ``tagger``; ``facts`` are more of its tags."""
    return make(
        {"main": tagger()},
        task="classify",
        labels=LABELS,
        tags={"output": "tags", "scheme": "iob", **facts},
        tokens=Tokens.model_validate({"ids": "ids", "lengths": (4, 8, 16), **tokens}),
        files={"tokenizer.json": make_tokenizer()},
    )
