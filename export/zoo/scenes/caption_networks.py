"""The networks of digits-captioner: one that looks at a picture, and one that writes.

A convolutional network looks at the picture once. A transformer (Vaswani et al., Attention Is All You Need, 2017)
writes the sentence, a word at a time, with the keys and values of earlier words in a cache of fixed length.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from export.zoo.data import captions, scenes
from export.zoo.scenes.blocks import Residual, make_block

MAX_STEPS = captions.LONGEST - 1
CHANNELS = (32, 48)
SIZE = 48
HEADS = 4
LAYERS = 2
CELLS = captions.REGIONS
"""A cell for each part of the picture that has a name."""
CACHE = (LAYERS, HEADS, MAX_STEPS, SIZE // HEADS)
MEMORY = (LAYERS, HEADS, CELLS, SIZE // HEADS)
"""The shapes of the keys, and of the values, of a row."""
_NOWHERE = -1e9  # an attention score that gives a weight of exactly 0


class Encoder(nn.Module):
    """image [batch, 3, 96, 96] of 0..255 -> (memory_keys, memory_values), each [batch, layers, heads, cells, size].

    They are what each layer of the decoder attends to.
    """

    def __init__(self) -> None:
        super().__init__()
        middle, wide = CHANNELS
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(2),
            *make_block(12, middle, 2),
            Residual(middle),
            *make_block(middle, wide, 2),
            Residual(wide),
            *make_block(wide, wide, 2),
            Residual(wide),
            *make_block(wide, SIZE, 2),
        )
        self.remember = Memory()

    def look(self, image: torch.Tensor) -> torch.Tensor:
        """What is in each cell, [batch, cells, size]."""
        cells: torch.Tensor = self.layers(image / scenes.LARGEST_PIXEL - 0.5)
        return cells.flatten(2).transpose(1, 2)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self.remember(self.look(image))
        return keys, values


class Memory(nn.Module):
    """The keys and values of cells [batch, cells, size], which know where they are."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(CELLS, SIZE))
        self.norm = nn.LayerNorm(SIZE)
        self.project = nn.Linear(SIZE, 2 * LAYERS * SIZE)

    def forward(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        projected = self.project(self.norm(cells) + self.places)
        split = projected.unflatten(2, (2, LAYERS, HEADS, SIZE // HEADS)).permute(2, 0, 3, 4, 1, 5)
        return split[0], split[1]


class Layer(nn.Module):
    """Attention to earlier words, attention to the picture, and two linear maps; each is added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(SIZE) for _ in range(3))
        self.project = nn.Linear(SIZE, 3 * SIZE)
        self.query = nn.Linear(SIZE, SIZE)
        self.mixes = nn.ModuleList(nn.Linear(SIZE, SIZE) for _ in range(2))
        self.think = nn.Sequential(nn.Linear(SIZE, 2 * SIZE), nn.GELU(), nn.Linear(2 * SIZE, SIZE))

    def ask(self, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values of words [batch, words, size], each [batch, heads, words, size of a head]."""
        projected: torch.Tensor = self.project(self.norms[0](words)).unflatten(2, (3, HEADS, SIZE // HEADS))
        queries, keys, values = projected.permute(2, 0, 3, 1, 4).unbind(0)
        return queries, keys, values

    def follow(
        self,
        words: torch.Tensor,
        earlier: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        hidden: torch.Tensor,
        picture: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """``earlier`` are queries, and keys and values of the cache; ``hidden`` is where that holds no earlier word."""
        words = words + self.mixes[0](_attend(*earlier, hidden))
        queries = self.query(self.norms[1](words)).unflatten(2, (HEADS, SIZE // HEADS)).transpose(1, 2)
        words = words + self.mixes[1](_attend(queries, *picture))
        thought: torch.Tensor = self.think(self.norms[2](words))
        return words + thought


def _attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, hidden: torch.Tensor | None = None
) -> torch.Tensor:
    """[batch, heads, words, size of a head] -> [batch, words, size]."""
    scores = queries @ keys.transpose(2, 3) * (SIZE // HEADS) ** -0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden, _NOWHERE)
    return (functional.softmax(scores, dim=3) @ values).transpose(1, 2).flatten(2)


class Decoder(nn.Module):
    """One step: token and position int64 [batch], keys and values [batch, layers, heads, steps, size of a head] of the
    words before, and memory_keys and memory_values as the encoder gives them -> (scores, next_keys, next_values).

    The scores [batch, symbols] are the logarithms of the probabilities of the next symbol.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(captions.SYMBOLS), SIZE)
        self.positions = nn.Embedding(MAX_STEPS, SIZE)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(SIZE)
        self.head = nn.Linear(SIZE, len(captions.SYMBOLS))

    def forward(
        self,
        token: torch.Tensor,
        position: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        memory_keys: torch.Tensor,
        memory_values: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        words = (self.embedding(token) + self.positions(position))[:, None]
        places = torch.arange(MAX_STEPS)
        here = (places == position[:, None])[:, None, :, None]
        hidden = (places > position[:, None])[:, None, None, :]
        next_keys, next_values = [], []
        for number, layer in enumerate(self._layers()):
            queries, key, value = layer.ask(words)
            next_keys.append(torch.where(here, key, keys[:, number]))
            next_values.append(torch.where(here, value, values[:, number]))
            words = layer.follow(
                words,
                (queries, next_keys[-1], next_values[-1]),
                hidden,
                (memory_keys[:, number], memory_values[:, number]),
            )
        return self._score(words)[:, 0], torch.stack(next_keys, dim=1), torch.stack(next_values, dim=1)

    def follow(self, tokens: torch.Tensor, memory_keys: torch.Tensor, memory_values: torch.Tensor) -> torch.Tensor:
        """All steps at once: tokens [batch, steps] -> scores [batch, steps, symbols]."""
        places = torch.arange(tokens.shape[1])
        words = self.embedding(tokens) + self.positions(places)
        hidden = places > places[:, None]
        for number, layer in enumerate(self._layers()):
            words = layer.follow(words, layer.ask(words), hidden, (memory_keys[:, number], memory_values[:, number]))
        return self._score(words)

    def _layers(self) -> Iterator[Layer]:
        return cast(Iterator[Layer], iter(self.layers))

    def _score(self, words: torch.Tensor) -> torch.Tensor:
        return functional.log_softmax(self.head(self.norm(words)), dim=2)


class Captioner(nn.Module):
    """The two networks."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
