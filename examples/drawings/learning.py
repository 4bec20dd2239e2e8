"""Turns texts into tokens, trains a network to write them, and measures how near it comes to the wanted texts."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from networks import Writer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from torch.nn import functional

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PAD, BEGIN, END, UNKNOWN = range(4)
SUPPRESSED = (PAD, BEGIN, UNKNOWN)
"""Tokens that are never written."""
MOST_WORDS = 50_000
"""In a tokenizer."""
MOST_TOKENS = 40
"""In a text, with its end."""
LARGEST_GRADIENT = 1.0
SMOOTHING = 0.1
_LONGEST_PIECE = 6
"""Letters of the longest pieces that chrF compares."""
_POOL = 32
"""How many batches are sorted together by the lengths of their texts."""
_REPORTED_STEPS = 100
Predict = Callable[..., Mapping[str, np.ndarray]]


def make_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Words and punctuation marks are tokens."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIAL[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.WordLevelTrainer(vocab_size=MOST_WORDS, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str], *, ends: bool) -> torch.Tensor:
    """int64 [texts, tokens], padded with ``PAD``. ``ends``: each text ends with ``END``."""
    rows = [[*each.ids, *([END] if ends else [])][:MOST_TOKENS] for each in tokenizer.encode_batch(list(texts))]
    encoded = torch.full((len(rows), MOST_TOKENS), PAD)
    for row, ids in zip(encoded, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return cut(encoded)


def cut(ids: torch.Tensor) -> torch.Tensor:
    """Leave out the columns that are padding in all rows."""
    return ids[:, : int((ids != PAD).sum(1).max())]


def draw_batches(lengths: torch.Tensor, rows: int) -> Iterator[torch.Tensor]:
    """Batches of the numbers of texts, without end. The texts of a batch are about equally long."""
    while True:
        for pool in torch.randperm(len(lengths)).split(_POOL * rows):
            batches = pool[lengths[pool].argsort()].split(rows)
            yield from (batches[place] for place in torch.randperm(len(batches)).tolist())


def measure_loss(
    writer: Writer,
    targets: torch.Tensor,
    state: torch.Tensor,
    memory: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """The mean loss over the tokens of ``targets`` [batch, tokens]. Each is predicted from the right tokens before."""
    tokens = targets.roll(1, dims=1)
    tokens[:, 0] = BEGIN
    found, _ = writer.follow(tokens, state, memory, mask)
    real = targets != PAD
    return functional.cross_entropy(writer.score(found[real]), targets[real], label_smoothing=SMOOTHING)


def fit(network: nn.Module, draw_loss: Callable[[], torch.Tensor], steps: int, rate: float) -> None:
    """Train the network in place, and leave it ready for use."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    network.train()
    total = 0.0
    for step in range(1, steps + 1):
        loss = draw_loss()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % _REPORTED_STEPS == 0:
            print(f"step {step} of {steps}: loss {total / _REPORTED_STEPS:.3f}", file=sys.stderr, flush=True)
            total = 0.0
    network.eval()


def write(predict: Predict, tokenizer: Tokenizer, begun: Mapping[str, np.ndarray]) -> list[str]:
    """Texts of the likeliest token at each step. ``begun`` is what the graph ``encode`` gave: state, memory, a mask."""
    carried = dict(begun)
    token = np.full(len(carried["state"]), BEGIN)
    written = np.empty((len(token), 0), np.int64)
    while written.shape[1] < MOST_TOKENS and not (written == END).any(axis=1).all():
        answer = predict({**carried, "token": token})
        logits, carried["state"] = answer["logits"].copy(), answer["next_state"]
        logits[:, SUPPRESSED] = -np.inf
        token = logits.argmax(axis=1)
        written = np.column_stack([written, token])
    rows = written.tolist()
    return [tokenizer.decode(row[: row.index(END)] if END in row else row) for row in rows]


def count_equal(got: Sequence[str], wanted: Sequence[str]) -> float:
    """The share of texts without any fault."""
    return float(np.mean([one == other for one, other in zip(got, wanted, strict=True)]))


def compare_words(got: Sequence[str], wanted: Sequence[str]) -> float:
    """The mean over texts of F1 of the words that both have, in any order."""
    shares = []
    for one, other in zip(got, wanted, strict=True):
        words, right = (Counter(text.lower().rstrip(".!").split()) for text in (one, other))
        shares.append(2 * (words & right).total() / (words.total() + right.total()))
    return float(np.mean(shares))


def compare_letters(got: Sequence[str], wanted: Sequence[str]) -> float:
    """chrF2 (Popovic, chrF: character n-gram F-score for automatic MT evaluation, 2015), from 0 to 1."""
    scores = []
    for size in range(1, _LONGEST_PIECE + 1):
        both = ours = theirs = 0
        for one, other in zip(got, wanted, strict=True):
            pieces, right = (_list_pieces(text.replace(" ", ""), size) for text in (one, other))
            both, ours, theirs = both + (pieces & right).total(), ours + pieces.total(), theirs + right.total()
        precision, recall = both / max(ours, 1), both / max(theirs, 1)
        scores.append(5 * precision * recall / max(4 * precision + recall, 1e-9))
    return float(np.mean(scores))


def _list_pieces(text: str, size: int) -> Counter[str]:
    return Counter(text[at : at + size] for at in range(len(text) - size + 1))
