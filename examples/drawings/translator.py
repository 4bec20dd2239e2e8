"""English to German for short descriptions: trained on the texts of Tux Paint's drawings, and on a dictionary.

    apt-get install tuxpaint-stamps-default trans-de-en
    sluice export examples/drawings/translator.py:spec --store models
    sluice serve --store models
    curl localhost:3000/predict_sequence -d '{"inputs": ["A yellow flower."]}'

It learns for some minutes. Every eighth description is held out, and the card says how many of these come out right: a
sixth, for many have words that the others and the dictionary's common words do not. Nouns that it knows get the right
article, and most adjectives the right end.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from learning import (
    BEGIN,
    END,
    MOST_TOKENS,
    PAD,
    SPECIAL,
    SUPPRESSED,
    Predict,
    compare_letters,
    count_equal,
    cut,
    draw_batches,
    encode,
    fit,
    make_tokenizer,
    measure_loss,
    write,
)
from networks import Reader, Writer
from stamps import is_held_out, read_dictionary, read_pairs
from tokenizers import Tokenizer
from torch import nn

from export import ExportSpec, GraphSpec
from export.original import limit_threads
from model_store.manifest import Quality
from model_store.tasks import Carry, Loop, Tokens, Writing

COMMON_WORDS, PHRASES, DESCRIBED = 2500, 2000, 5000
SIZE, HEADS, LAYERS, DROPOUT = 192, 4, 1, 0.1
STEPS, ROWS, RATE = 1400, 128, 1e-3
SHARE_OF_DESCRIPTIONS = 0.25
"""The part of the batches that are descriptions. The others are from the dictionary."""
NOISE = 0.3
"""How much of its own first vector a German word keeps, so that words with one English vector differ."""
SAMPLES = 8
ENGLISH, GERMAN = "english.json", "german.json"
Pairs = list[tuple[str, str]]


class Translator(NamedTuple):
    """The networks, and the words of both languages."""

    reader: Reader
    writer: Writer
    english: Tokenizer
    german: Tokenizer


def spec() -> ExportSpec:
    """The model, which learns first."""
    model = learn()
    texts, _ = zip(*held_out()[:SAMPLES], strict=True)
    ids = encode(model.english, texts, ends=False)
    source = {"ids": ids, "mask": (ids != PAD).long()}
    with torch.no_grad():
        memory, state = model.reader(**source)
    step = {"token": torch.full((SAMPLES,), BEGIN), "state": state, "memory": memory, "mask": source["mask"]}
    dynamic = {0: "batch", 1: "length"}
    lengths = tuple({"length": length} for length in (8, 3))
    return ExportSpec(
        name="descriptions-in-german",
        task="predict_sequence",
        module=model.writer,
        inputs=step,
        outputs=("logits", "next_state"),
        dynamic={"token": {0: "batch"}, "state": {0: "batch"}, "memory": dynamic, "mask": dynamic},
        samples=step,
        ranges={"token": (0, model.german.get_vocab_size() - 1), "mask": (0, 1)},
        finite=("state", "memory"),
        lengths=lengths,
        graphs={
            "encode": GraphSpec(
                module=model.reader,
                inputs=source,
                outputs=("memory", "state"),
                dynamic=dict.fromkeys(source, dynamic),
                samples=source,
                ranges={"ids": (0, model.english.get_vocab_size() - 1), "mask": (0, 1)},
                lengths=lengths,
            )
        },
        tokens=Tokens(file=ENGLISH, graph="encode", ids="ids", mask="mask", lengths=(8, 16, 24, MOST_TOKENS), pad=PAD),
        loop=Loop(
            start="encode",
            carries=(
                Carry(input="state", output="next_state", start="state"),
                Carry(input="memory", start="memory"),
                Carry(input="mask", start="mask"),
            ),
            max_steps=MOST_TOKENS,
        ),
        writing=Writing(
            file=GERMAN,
            token="token",  # noqa: S106  # the name of a tensor
            scores="logits",
            begin=(BEGIN,),
            ends=(END,),
            suppressed=SUPPRESSED,
        ),
        further_files={
            ENGLISH: model.english.to_str().encode(),
            GERMAN: model.german.to_str().encode(),
        },
        quality=lambda predict: measure(predict, model),
        description="Short descriptions, English to German",
        data="the texts of tuxpaint-stamps-default, and the dictionary trans-de-en",
        licence="GPL-2.0-or-later",
    )


@cache
def learn() -> Translator:
    """The networks and their words; the same in each run."""
    described = [pair for pair in read_pairs() if not is_held_out(pair[0])]
    tests = {english for english, _ in held_out()}
    words = [pair for pair in read_dictionary(COMMON_WORDS, PHRASES, DESCRIBED) if pair[0] not in tests]
    english = make_tokenizer([text for text, _ in (*described, *words)])
    german = make_tokenizer([text for _, text in (*described, *words)])
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        writer = Writer(german.get_vocab_size(), SIZE, DROPOUT)
        reader = Reader(english.get_vocab_size(), SIZE, HEADS, LAYERS, MOST_TOKENS, DROPOUT)
        parts = [_Part(english, german, pairs) for pairs in (described, words)]
        begin_alike(reader.embedding.weight.data, writer.embedding.weight.data, parts)

        def draw_loss() -> torch.Tensor:
            ids, targets = parts[int(torch.rand(()) >= SHARE_OF_DESCRIPTIONS)].draw()
            mask = (ids != PAD).long()
            memory, state = reader(ids, mask)
            return measure_loss(writer, targets, state, memory, mask)

        fit(nn.ModuleList([reader, writer]), draw_loss, STEPS, RATE)
    return Translator(reader, writer, english, german)


def begin_alike(english: torch.Tensor, german: torch.Tensor, parts: Sequence["_Part"]) -> None:
    """Give each German word nearly the vector of the English one that is most often beside it in pairs.

    So the networks need not learn which German word stands for which English one, only how German sentences are built.
    """
    together, ours, theirs = Counter[tuple[int, int]](), Counter[int](), Counter[int]()
    for part in parts:
        for ids, targets in zip(part.ids.tolist(), part.targets.tolist(), strict=True):
            words, wanted = ({word for word in row if word >= len(SPECIAL)} for row in (ids, targets))
            together.update(itertools.product(words, wanted))
            ours.update(words)
            theirs.update(wanted)
    best: dict[int, tuple[float, int]] = {}
    for (word, wanted_word), count in together.items():
        share = 2 * count / (ours[word] + theirs[wanted_word])
        best[wanted_word] = max(best.get(wanted_word, (0.0, 0)), (share, word))
    for wanted_word, (_, word) in best.items():
        german[wanted_word] = english[word] + NOISE * german[wanted_word]


class _Part:
    """Pairs of texts as tokens, drawn in batches."""

    def __init__(self, english: Tokenizer, german: Tokenizer, pairs: Pairs) -> None:
        ours, theirs = zip(*pairs, strict=True)
        self.ids, self.targets = encode(english, ours, ends=False), encode(german, theirs, ends=True)
        self._batches = draw_batches((self.targets != PAD).sum(1), ROWS)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        rows = next(self._batches)
        return cut(self.ids[rows]), cut(self.targets[rows])


def held_out() -> Pairs:
    return [pair for pair in read_pairs() if is_held_out(pair[0])]


def measure(predict: Predict, model: Translator) -> Quality:
    """How near the German comes for descriptions that were held out."""
    pairs = held_out()
    english, german = zip(*pairs, strict=True)
    ids = encode(model.english, english, ends=False).numpy()
    source = {"ids": ids, "mask": (ids != PAD).astype(np.int64)}
    begun = predict(source, graph="encode")
    got = write(predict, model.german, {**begun, "mask": source["mask"]})
    return Quality(
        data="descriptions that were held out",
        rows=len(pairs),
        metrics={"exact_match": count_equal(got, german), "chrf": compare_letters(got, german)},
    )
