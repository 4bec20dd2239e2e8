"""How an English word is spoken, as ARPAbet phonemes, by the GRU of g2p-en (Apache-2.0).

pip install --no-deps g2p-en==2.1.0
sluice export examples/phonemes.py:spec --store models
sluice serve --store models
curl localhost:3000/predict_sequence -d '{"inputs": ["elephant"]}'
"""

import string
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn

from export import ExportSpec, GraphSpec
from model_store.tasks import Carry, Loop, Tokens, Writing

LETTERS = ("<pad>", "<unk>", "</s>", *string.ascii_lowercase)
VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
PHONEMES = (
    *("<pad>", "<unk>", "<s>", "</s>"),
    *sorted([*(f"{vowel}{stress}" for vowel in VOWELS.split() for stress in "012"), "UW", *CONSONANTS.split()]),
)
BEGIN, END = 2, 3
WORDS = ("elephant", "hello", "computer", "banana", "window", "pencil", "language", "machine")
SIZE = 256


class Encoder(nn.Module):
    """ids and mask int64 [batch, length] -> state [batch, 256], that after the last letter."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(weights["enc_emb"])
        self.gru = nn.GRU(self.embedding.embedding_dim, SIZE, batch_first=True)
        _load(self.gru, weights, "enc", "_l0")

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states, _ = self.gru(self.embedding(ids))
        last = (mask.sum(1) - 1).clamp(min=0)
        return states.gather(1, last[:, None, None].expand(-1, 1, SIZE))[:, 0]


class Decoder(nn.Module):
    """token int64 [batch] and state [batch, 256] -> logits of the next phoneme, and the next state."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(weights["dec_emb"])
        self.cell = nn.GRUCell(self.embedding.embedding_dim, SIZE)
        _load(self.cell, weights, "dec", "")
        self.head = nn.Linear(SIZE, len(PHONEMES))
        self.head.weight.data, self.head.bias.data = weights["fc_w"], weights["fc_b"]

    def forward(self, token: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = self.cell(self.embedding(token), state)
        return self.head(state), state


def _load(cell: nn.Module, weights: dict[str, torch.Tensor], part: str, suffix: str) -> None:
    for ours, theirs in (("weight_ih", "w_ih"), ("weight_hh", "w_hh"), ("bias_ih", "b_ih"), ("bias_hh", "b_hh")):
        getattr(cell, ours + suffix).data = weights[f"{part}_{theirs}"]


def spec() -> ExportSpec:
    """The model: letters are tokens, and each phoneme is a symbol."""
    with np.load(folder() / "checkpoint20.npz") as arrays:
        weights = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    encoder, decoder = Encoder(weights).eval(), Decoder(weights).eval()
    letters = make_tokenizer()
    ids = torch.zeros(len(WORDS), 16, dtype=torch.int64)
    for row, word in zip(ids, WORDS, strict=True):
        encoded = letters.encode(word).ids
        row[: len(encoded)] = torch.tensor(encoded)
    source = {"ids": ids, "mask": (ids != 0).long()}
    with torch.no_grad():
        _, state = decoder(torch.full((len(WORDS),), BEGIN), encoder(**source))
    step = {"token": torch.arange(4, 4 + len(WORDS)), "state": state}
    return ExportSpec(
        name="phonemes",
        task="predict_sequence",
        module=decoder,
        inputs=step,
        outputs=("logits", "next_state"),
        samples=step,
        ranges={"token": (0, len(PHONEMES) - 1)},
        finite=("state",),
        graphs={
            "encode": GraphSpec(
                module=encoder,
                inputs=source,
                outputs=("state",),
                dynamic={name: {0: "batch", 1: "length"} for name in source},
                samples=source,
                ranges={"ids": (0, len(LETTERS) - 1), "mask": (0, 1)},
            )
        },
        tokens=Tokens(graph="encode", ids="ids", mask="mask", lengths=(8, 16, 32)),
        loop=Loop(start="encode", carries=(Carry(input="state", output="next_state", start="state"),), max_steps=40),
        writing=Writing(
            file=None,
            symbols=PHONEMES,
            separator=" ",
            token="token",  # noqa: S106  # the name of a tensor
            scores="logits",
            begin=(BEGIN,),
            ends=(END,),
        ),
        further_files={"tokenizer.json": letters.to_str().encode()},
        description="How an English word is spoken, as ARPAbet phonemes",
        licence="Apache-2.0",
    )


def make_tokenizer() -> Tokenizer:
    """Each letter is a token, and a word ends with ``</s>``."""
    tokenizer = Tokenizer(models.WordLevel({letter: at for at, letter in enumerate(LETTERS)}, "<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    end = LETTERS.index("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    return tokenizer


def folder() -> Path:
    """Where the package is installed."""
    found = find_spec("g2p_en")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("g2p_en is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0])
