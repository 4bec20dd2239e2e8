"""A network that writes, one token at a time, and one that reads a text. Both are small and learn within minutes."""

import torch
from torch import nn
from torch.nn import functional

NOWHERE = -1e9  # an attention score that gives a weight of exactly 0


class Writer(nn.Module):
    """One step: token int64 [batch], state [batch, size], memory [batch, length, size] and mask [batch, length], which
    is 1 where the memory counts -> (logits of the next token [batch, tokens], next state).

    It attends to the memory (Luong et al., Effective Approaches to Attention-based Neural Machine Translation, 2015).
    """

    def __init__(self, tokens: int, size: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, size)
        nn.init.normal_(self.embedding.weight, std=size**-0.5)
        self.gru = nn.GRU(size, size, batch_first=True)
        self.query = nn.Linear(size, size, bias=False)
        self.mix = nn.Linear(2 * size, size)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, token: torch.Tensor, state: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        found, state = self.follow(token[:, None], state, memory, mask)
        return self.score(found[:, 0]), state

    def follow(
        self, tokens: torch.Tensor, state: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A step for each of ``tokens`` [batch, steps] -> (vectors of the next tokens [batch, steps, size], state)."""
        states, last = self.gru(self.drop(self.embedding(tokens)), state[None])
        scores = self.query(states) @ memory.transpose(1, 2) * memory.shape[2] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(mask[:, None] == 0, NOWHERE)
        context = functional.softmax(scores, dim=2) @ memory
        # The memory is added too, so that a word can lead straight to another one.
        return self.drop(torch.tanh(self.mix(torch.cat([states, context], dim=2))) + context), last[0]

    def score(self, found: torch.Tensor) -> torch.Tensor:
        return found @ self.embedding.weight.T


class Reader(nn.Module):
    """ids and mask int64 [batch, length] -> (memory [batch, length, size], state [batch, size])."""

    def __init__(self, tokens: int, size: int, heads: int, layers: int, longest: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, size)
        nn.init.normal_(self.embedding.weight, std=size**-0.5)
        self.places = nn.Parameter(torch.randn(longest, size) * size**-0.5)
        self.layers = nn.ModuleList(Layer(size, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(size)
        self.start = nn.Linear(size, size)
        self.drop = nn.Dropout(dropout)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        words = self.drop(self.embedding(ids) + self.places[: ids.shape[1]])
        for layer in self.layers:
            words = layer(words, mask[:, None, None] == 0)
        counts = mask.to(words.dtype)
        memory = self.norm(words) * counts[:, :, None]
        mean = memory.sum(1) / counts.sum(1, keepdim=True).clamp(min=1)
        return memory, torch.tanh(self.start(mean))


class Layer(nn.Module):
    """Attention to all words that are not ``hidden`` [batch, 1, 1, length], and two linear maps; each is added."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(2))
        self.project = nn.Linear(size, 3 * size)
        self.mix = nn.Linear(size, size)
        self.think = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))
        self.drop = nn.Dropout(dropout)

    def forward(self, words: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        projected = self.project(self.norms[0](words)).unflatten(2, (3, self.heads, -1))
        queries, keys, values = projected.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (queries @ keys.transpose(2, 3) * keys.shape[3] ** -0.5).masked_fill(hidden, NOWHERE)
        found = (functional.softmax(scores, dim=3) @ values).transpose(1, 2).flatten(2)
        words = words + self.drop(self.mix(found))
        thought: torch.Tensor = self.think(self.norms[1](words))
        return words + self.drop(thought)
