"""date-translator: full written dates from English into German, one character at a time.

An encoder reads the text in both directions. A decoder writes and attends to the encoder's output (Luong et al.,
Effective Approaches to Attention-based Neural Machine Translation, 2015, without input feeding, so that in training the
decoder processes a whole text at once).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import Arrays, ExportSpec, GraphSpec, Predict, Progress, Sizes
from export.zoo.data import dates
from model_store.manifest import Quality
from model_store.tasks import Carry, Loop, Text

NAME = "date-translator"
LEAST_EXACT_MATCH = 0.99
LENGTHS = (24, 32)
MAX_STEPS = 40
BEGIN, END = 0, 1
EMBEDDING = 32
HIDDEN = 80
STEPS = 400
BATCH_ROWS = 64
LEARNING_RATE = 1e-2
LARGEST_GRADIENT = 1.0
SAMPLES = 64
GOLDEN_ROWS = 4  # a memory is large for so small a model
_STEPS_PER_REPORT = 50
_NOWHERE = -1e9  # an attention score that gives a weight of exactly 0


class Encoder(nn.Module):
    """source int64 [batch, length], padded with 0 -> (memory [batch, length, 80], mask [batch, length], state
    [batch, 80]).

    The mask is 1 at characters and 0 at padding, where the memory is 0; the state is what the decoder starts from.
    """

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, EMBEDDING)
        self.forwards = nn.GRU(EMBEDDING, HIDDEN // 2, batch_first=True)
        self.backwards = nn.GRU(EMBEDDING, HIDDEN // 2, batch_first=True)
        self.start = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        real = source != 0
        last = (real.sum(1) - 1).clamp(min=0)
        # Each text is reversed within its own length, because a state that came through padding would depend on it.
        turned = (last[:, None] - torch.arange(source.shape[1])).clamp(min=0)
        before, _ = self.forwards(self.embedding(source))
        after, _ = self.backwards(self.embedding(source.gather(1, turned)))
        mask = real.to(before.dtype)
        memory = torch.cat([before, _pick(after, turned)], dim=2) * mask[:, :, None]
        ends = torch.cat([_pick(before, last[:, None]), _pick(after, last[:, None])], dim=2)[:, 0]
        return memory, mask, torch.tanh(self.start(ends))


def _pick(sequence: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The values of ``sequence`` [batch, length, size] at ``places`` [batch, n] -> [batch, n, size]."""
    return sequence.gather(1, places[:, :, None].expand(-1, -1, sequence.shape[2]))


class Decoder(nn.Module):
    """One step: token int64 [batch], and state, memory and mask as the encoder gives them -> (scores, next_state).

    The scores [batch, symbols] are the logarithms of the probabilities of the next symbol.
    """

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, EMBEDDING)
        self.gru = nn.GRU(EMBEDDING, HIDDEN, batch_first=True)
        self.query = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.mix = nn.Linear(2 * HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN, symbols)

    def forward(
        self, token: torch.Tensor, state: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scores, state = self.follow(token[:, None], state, memory, mask)
        return scores[:, 0], state

    def follow(
        self, tokens: torch.Tensor, state: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run as many steps as ``tokens`` [batch, steps] has: scores [batch, steps, symbols]."""
        states, last = self.gru(self.embedding(tokens), state[None])
        attention = self.query(states) @ memory.transpose(1, 2) * HIDDEN**-0.5  # unscaled, some seeds learn no digits
        weights = functional.softmax(attention.masked_fill(mask[:, None] == 0, _NOWHERE), dim=2)
        mixed = torch.tanh(self.mix(torch.cat([states, weights @ memory], dim=2)))
        return functional.log_softmax(self.head(mixed), dim=2), last[0]


@dataclass(frozen=True)
class Translator:
    """The two networks, with the ``characters`` of English and ``symbols`` of German that their numbers stand for."""

    encoder: Encoder
    decoder: Decoder
    characters: tuple[str, ...]
    symbols: tuple[str, ...]


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train and describe the translator; the same seed gives the same weights."""
    progress("writing the dates")
    data = dates.load_dates()
    characters = ("", *dates.list_characters(data.train.english))
    symbols = ("", "", *dates.list_characters(data.train.german))  # begin and end are no characters
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Translator(Encoder(len(characters)), Decoder(len(symbols)), characters, symbols)
        _fit(model, data, progress)
    return _describe(model, data, seed)


def _fit(model: Translator, data: dates.Dates, progress: Progress) -> None:
    source, token, target = _encode_pairs(model, data.train)
    held_out = _encode_pairs(model, data.validation)
    weights = [*model.encoder.parameters(), *model.decoder.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
    for step in range(1, STEPS + 1):
        rows = torch.randint(len(source), (BATCH_ROWS,))
        loss = _measure_loss(model, source[rows], token[rows], target[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        if step % _STEPS_PER_REPORT == 0:
            with torch.no_grad():
                error = _measure_loss(model, *held_out).item()
            progress(f"training: step {step} of {STEPS}, validation loss {error:.5f}")


def _encode_pairs(model: Translator, part: dates.Part) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The source, the symbol before each symbol of the target, and the target; int64 [rows, width], padded with 0."""
    source = dates.encode(part.english, model.characters, LENGTHS[-1])
    target = _encode_target(part.german, model.symbols)
    token = np.roll(target, 1, axis=1)
    token[:, 0] = BEGIN
    return torch.from_numpy(source), torch.from_numpy(token), torch.from_numpy(target)


def _encode_target(texts: Sequence[str], symbols: Sequence[str]) -> np.ndarray:
    lengths = np.array([len(text) for text in texts])
    target = dates.encode(texts, symbols, lengths.max() + 1)
    target[np.arange(len(texts)), lengths] = END
    return target


def _measure_loss(model: Translator, source: torch.Tensor, token: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean negative log probability of the symbols, each after the correct ones before it."""
    memory, mask, state = model.encoder(source)
    scores, _ = model.decoder.follow(token, state, memory, mask)
    return functional.nll_loss(scores.flatten(0, 1), target.flatten(), ignore_index=BEGIN)


def _describe(model: Translator, data: dates.Dates, seed: int) -> ExportSpec:
    samples = _sample_steps(model, data.validation)
    encode = _describe_encoder(model, data.validation, seed)
    return ExportSpec(
        name=NAME,
        task="predict_sequence",
        description="Translates full dates of the years 1000 to 9999 into German, such as Saturday, December 31, 2022.",
        module=model.decoder,
        inputs={name: tensor[:3] for name, tensor in samples.items()},
        outputs=("scores", "next_state"),
        dynamic={
            "token": {0: "batch"},
            "state": {0: "batch"},
            "memory": {0: "batch", 1: "length"},
            "mask": {0: "batch", 1: "length"},
        },
        finite=("state", "memory", "mask"),
        ranges={"token": (0, len(model.symbols) - 1)},
        samples=samples,
        golden_rows=GOLDEN_ROWS,
        random_inputs=lambda sizes, seed: _draw_step(model, sizes, seed),
        lengths=encode.lengths,
        graphs={"encode": encode},
        loop=Loop(
            start="encode",
            carries=(
                Carry(input="state", output="next_state", start="state"),
                Carry(input="memory", start="memory"),
                Carry(input="mask", start="mask"),
            ),
            max_steps=MAX_STEPS,
        ),
        text=Text(
            source="source",
            characters=model.characters,
            lengths=LENGTHS,
            token="token",  # noqa: S106  # the name of a tensor
            scores="scores",
            symbols=model.symbols,
            begin=BEGIN,
            end=END,
        ),
        quality=lambda predict: measure_quality(predict, data, model.characters, model.symbols),
        data=f"{dates.SOURCE}: {len(data.train.english)} train, {len(data.validation.english)} validate, "
        f"{len(data.test.english)} test",
        seed=seed,
        parameters={
            "steps": STEPS,
            "batch_rows": BATCH_ROWS,
            "optimiser": "AdamW",
            "schedule": "OneCycle",
            "learning_rate": LEARNING_RATE,
            "largest_gradient": LARGEST_GRADIENT,
            "embedding": EMBEDDING,
            "hidden": HIDDEN,
        },
        licence=dates.LICENCE,
    )


def _describe_encoder(model: Translator, validation: dates.Part, seed: int) -> GraphSpec:
    source = torch.from_numpy(dates.encode(validation.english[:SAMPLES], model.characters, LENGTHS[-1]))
    return GraphSpec(
        module=model.encoder,
        inputs={"source": source[:3]},
        outputs=("memory", "mask", "state"),
        dynamic={"source": {0: "batch", 1: "length"}},
        samples={"source": source},
        ranges={"source": (0, len(model.characters) - 1)},
        random_inputs=lambda sizes, seed: {"source": _draw_source(model, sizes, seed)},
        lengths=(*({"length": length} for length in LENGTHS), {"length": 7}),
        seed=seed,
    )


def _sample_steps(model: Translator, part: dates.Part) -> dict[str, torch.Tensor]:
    """The decoder's inputs part-way through some texts, each row at another step."""
    source, token, _ = (tensor[:SAMPLES] for tensor in _encode_pairs(model, part))
    rows = torch.arange(SAMPLES)
    step_of = rows % token.shape[1]
    states = []
    with limit_threads(), torch.no_grad():
        memory, mask, state = model.encoder(source)
        for step in range(token.shape[1]):
            states.append(state)
            _, state = model.decoder(token[:, step], state, memory, mask)
    return {"token": token[rows, step_of], "state": torch.stack(states)[step_of, rows], "memory": memory, "mask": mask}


def _draw_source(model: Translator, sizes: Sizes, seed: int) -> torch.Tensor:
    """Random characters, padded on the right as texts are."""
    rows, length = sizes["batch"], sizes["length"]
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(1, len(model.characters), (rows, length), generator=generator)
    lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
    return torch.where(torch.arange(length) < lengths, source, 0)


def _draw_step(model: Translator, sizes: Sizes, seed: int) -> dict[str, torch.Tensor]:
    """The first step after random characters, with a random symbol."""
    with limit_threads(), torch.no_grad():
        memory, mask, state = model.encoder(_draw_source(model, sizes, seed))
    generator = torch.Generator().manual_seed(seed)
    token = torch.randint(len(model.symbols), (sizes["batch"],), generator=generator)
    return {"token": token, "state": state, "memory": memory, "mask": mask}


def measure_quality(predict: Predict, data: dates.Dates, characters: Sequence[str], symbols: Sequence[str]) -> Quality:
    """The share of dates that are translated without error, in the test part and for years with fewer digits."""
    metrics = {}
    for name, part in (("exact_match", data.test), ("exact_match_early_years", data.early)):
        written = translate(predict, dates.encode(part.english, characters, LENGTHS[-1]), symbols)
        metrics[name] = float(np.mean([got == wanted for got, wanted in zip(written, part.german, strict=True)]))
    return Quality(
        data="full dates of the CLDR, test part (never used to fit or choose)",
        rows=len(data.test.english),
        metrics=metrics,
        bar={"exact_match": LEAST_EXACT_MATCH},
    )


def translate(predict: Predict, source: np.ndarray, symbols: Sequence[str]) -> list[str]:
    """The most probable symbol at each step, until every row of ``source`` int64 [rows, length] has ended."""
    carried: Arrays = predict({"source": source}, graph="encode")
    token = np.full(len(source), BEGIN, np.int64)
    written = np.empty((len(source), 0), np.int64)
    while written.shape[1] < MAX_STEPS and not (written == END).any(axis=1).all():
        answer = predict({**carried, "token": token})
        token = answer["scores"].argmax(axis=1)
        carried = {**carried, "state": answer["next_state"]}
        written = np.column_stack([written, token])
    ends = np.where((written == END).any(axis=1), (written == END).argmax(axis=1), MAX_STEPS)
    return ["".join(symbols[symbol] for symbol in row[:end]) for row, end in zip(written, ends, strict=True)]
