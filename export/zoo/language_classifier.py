"""language-classifier: the language of a short text, and a vector that is alike for texts of one language.

Tokens are pieces of words by byte pair encoding (Sennrich et al., Neural Machine Translation of Rare Words with Subword
Units, ACL 2016). Convolutions read a few of them at a time; their mean and maximum over the text are the vector.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import Arrays, ExportSpec, Predict, Progress, Sizes
from export.zoo.data import languages
from export.zoo.quality.calibration import fit_temperature, measure_calibration_error
from export.zoo.quality.verification import compare_pairs, find_equal_error, measure_errors
from model_store.manifest import Quality
from model_store.tasks import Classes, Embedding, Tokens
from model_store.texts.rows import fill_rows, find_length
from model_store.texts.tokenizer import Tokenizer, open_tokenizer

NAME = "language-classifier"
LEAST_ACCURACY = 0.85
SYMBOLS = 1000
EMBEDDING = 32
CHANNELS = 96
VECTOR = 64
DROPOUT = 0.1
DROPPED_TOKENS = 0.2
"""The share of the tokens of each text that training leaves out, so that many pieces are learnt, not the surest few."""
WEIGHT_DECAY = 0.1
STEPS = 2000
BATCH_ROWS = 128
JOINED_ROWS = 15_000
HELD_OUT_JOINED_ROWS = 1_500
LEARNING_RATE = 6e-3
SAMPLES = 64
FACTS = Tokens(ids="ids", mask="mask", lengths=(8, 16, 32, 64), truncate=True)
_OUTPUTS = ("logits", "probabilities", "embedding")
_STEPS_PER_REPORT = 200
_BATCHES_A_DRAW = 8  # of rows of about one length
_DTYPES = dict.fromkeys(("ids", "mask"), np.dtype(np.int64))


class LanguageClassifier(nn.Module):
    """ids, mask int64 [batch, length] -> (logits [batch, 30], probabilities [batch, 30], embedding [batch, 64]).

    The mask is 1 at tokens and 0 at padding. The temperature is part of the logits.
    """

    temperature: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.symbols = nn.Embedding(SYMBOLS, EMBEDDING)
        self.first = nn.Conv1d(EMBEDDING, CHANNELS, 3, padding=1)
        self.second = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)
        self.pool = nn.Linear(2 * CHANNELS, VECTOR)
        self.head = nn.Linear(VECTOR, len(languages.CODES))
        self.dropout = nn.Dropout(DROPOUT)
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        real = mask.to(torch.float32)[:, None]
        places = self.dropout(self.symbols(ids)).transpose(1, 2) * real
        places = functional.relu(self.first(places)) * real
        places = functional.relu(self.second(places)) * real  # 0 at padding, and nowhere less
        mean = places.sum(2) / real.sum(2).clamp(min=1)
        embedding = self.pool(self.dropout(torch.cat([mean, places.amax(2)], dim=1)))
        logits = self.head(embedding) / self.temperature
        return logits, functional.softmax(logits, dim=1), embedding


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train, calibrate and describe the classifier; the same seed gives the same weights."""
    progress("reading the names of thirty languages")
    data = languages.load_languages()
    content = train_tokenizer(data.train.texts)
    tokenizer = open_tokenizer(FACTS, content, NAME)
    progress("joining terms")
    joined = languages.join_terms(data.train, JOINED_ROWS, seed)
    held_out = languages.join_terms(data.validation, HELD_OUT_JOINED_ROWS, seed)
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LanguageClassifier()
        _fit(model, tokenizer, (data.train, joined), progress)
        model.temperature.fill_(_find_temperature(model, tokenizer, data.validation))
        threshold = find_equal_error(compare_pairs(_run(model, tokenizer, held_out.texts)[1], held_out.labels))
    return _describe(model, data, content, round(threshold, 3), seed)


def train_tokenizer(texts: Sequence[str]) -> bytes:
    """A ``tokenizer.json`` of byte pairs: any text has tokens, and capital and small letters the same."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, trainers

    inner = tokenizers.Tokenizer(models.BPE())
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    inner.pre_tokenizer = pre_tokenizers.Sequence(split)
    inner.decoder = tokenizers.decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SYMBOLS,
        special_tokens=["[PAD]"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return str(inner.to_str()).encode()


def _fit(model: LanguageClassifier, tokenizer: Tokenizer, parts: Sequence[languages.Part], progress: Progress) -> None:
    encoded = [tokenizer.encode(text) for part in parts for text in part.texts]
    rows = fill_rows(FACTS, encoded, FACTS.lengths[-1], _DTYPES)
    ids, mask = torch.from_numpy(rows["ids"]), torch.from_numpy(rows["mask"])
    labels, counts = torch.from_numpy(np.concatenate([part.labels for part in parts])), mask.sum(1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
    model.train()
    total = 0.0
    for step, chosen in zip(range(1, STEPS + 1), _draw_batches(counts), strict=False):
        length = int(counts[chosen].max())
        left = mask[chosen, :length] * (torch.rand(BATCH_ROWS, length) > DROPPED_TOKENS)
        logits, _, _ = model(ids[chosen, :length], left)
        loss = functional.cross_entropy(logits, labels[chosen])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % _STEPS_PER_REPORT == 0:
            progress(f"training: step {step} of {STEPS}, loss {total / _STEPS_PER_REPORT:.3f}")
            total = 0.0
    model.eval()


def _draw_batches(counts: torch.Tensor) -> Iterator[torch.Tensor]:
    """Batches without end, each of rows with about as many tokens, so that little of it is padding."""
    while True:
        rows = torch.randint(len(counts), (_BATCHES_A_DRAW * BATCH_ROWS,))
        batches = rows[counts[rows].argsort(stable=True)].view(_BATCHES_A_DRAW, BATCH_ROWS)
        yield from batches[torch.randperm(_BATCHES_A_DRAW)]


def read_groups(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The places of the texts of each padded length, and their inputs, as the server makes them."""
    groups = defaultdict(list)
    encoded = [tokenizer.encode(text) for text in texts]
    for place, each in enumerate(encoded):
        groups[find_length(FACTS, len(each.ids))].append(place)
    for length, places in sorted(groups.items()):
        yield np.array(places), fill_rows(FACTS, [encoded[place] for place in places], length, _DTYPES)


def _run(model: LanguageClassifier, tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The logits and the vectors of the texts."""

    def predict(inputs: Arrays, graph: str = "main") -> dict[str, np.ndarray]:
        with torch.no_grad():
            found = model(*map(torch.from_numpy, inputs.values()))
        return {name: tensor.numpy() for name, tensor in zip(_OUTPUTS, found, strict=True)}

    return _predict_all(predict, tokenizer, texts, "logits")


def _find_temperature(model: LanguageClassifier, tokenizer: Tokenizer, part: languages.Part) -> float:
    return fit_temperature(_run(model, tokenizer, part.texts)[0], part.labels)


def _describe(
    model: LanguageClassifier, data: languages.Languages, content: bytes, threshold: float, seed: int
) -> ExportSpec:
    samples = _take_samples(content, data.validation.texts)
    count = {name: len(getattr(data, name).texts) for name in languages.PARTS}
    return ExportSpec(
        name=NAME,
        task="embed",  # and classify, whose default is the classifier of digits
        description="Tells in which of thirty languages a short text is: names, dates, amounts, or lists of them.",
        module=model,
        inputs={name: tensor[:3] for name, tensor in samples.items()},
        outputs=_OUTPUTS,
        dynamic={name: {0: "batch", 1: "length"} for name in samples},
        ranges={"ids": (0, SYMBOLS - 1), "mask": (0, 1)},
        samples=samples,
        random_inputs=draw_tokens,
        lengths=tuple({"length": length} for length in FACTS.lengths),
        bounds={"length": (1, FACTS.lengths[-1])},
        tokens=FACTS,
        further_files={FACTS.file: content},
        labels=languages.CODES,
        classes=Classes(probabilities="probabilities", logits="logits"),
        embedding=Embedding(output="embedding", threshold=threshold),
        quality=lambda predict: measure_quality(predict, data, content, threshold),
        data=f"{languages.SOURCE}: {count['train']} terms to train, {count['validation']} for the temperature and the "
        f"threshold, {count['test']} to test",
        seed=seed,
        parameters={
            "steps": STEPS,
            "batch_rows": BATCH_ROWS,
            "joined_rows": JOINED_ROWS,
            "optimiser": "AdamW",
            "schedule": "OneCycle",
            "learning_rate": LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "dropout": DROPOUT,
            "dropped_tokens": DROPPED_TOKENS,
            "symbols": SYMBOLS,
            "channels": CHANNELS,
            "temperature": float(model.temperature),
        },
        licence=languages.LICENCE,
    )


def _take_samples(content: bytes, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Texts of several numbers of tokens, padded to one length."""
    tokenizer = open_tokenizer(FACTS, content, NAME)
    step = len(texts) // SAMPLES
    encoded = [tokenizer.encode(text) for text in texts[::step][:SAMPLES]]
    length = find_length(FACTS, max(len(each.ids) for each in encoded))
    return {name: torch.from_numpy(rows) for name, rows in fill_rows(FACTS, encoded, length, _DTYPES).items()}


def draw_tokens(sizes: Sizes, seed: int) -> dict[str, torch.Tensor]:
    """Random tokens, padded at the end as texts are."""
    rows, length = sizes["batch"], sizes["length"]
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, SYMBOLS, (rows, length), generator=generator)
    counts = torch.randint(1, length + 1, (rows, 1), generator=generator)
    mask = (torch.arange(length) < counts).long()
    return {"ids": ids * mask, "mask": mask}


def measure_quality(predict: Predict, data: languages.Languages, content: bytes, threshold: float) -> Quality:
    """The share of held-out terms whose language is found: alone, and joined to short lists.

    ``accuracy_sentences`` is that of everyday sentences, of a kind that is not in training. The errors are those of
    pairs of joined terms at the threshold.
    """
    tokenizer = open_tokenizer(FACTS, content, NAME)
    joined = languages.join_terms(data.test, HELD_OUT_JOINED_ROWS, seed=0)
    parts = {"accuracy": data.test, "accuracy_joined": joined, "accuracy_sentences": data.sentences}
    found = {name: _predict_all(predict, tokenizer, part.texts) for name, part in parts.items()}
    right = {name: found[name][0].argmax(1) == part.labels for name, part in parts.items()}
    of_languages = [float(right["accuracy"][data.test.labels == label].mean()) for label in range(len(languages.CODES))]
    accepts, rejects = measure_errors(compare_pairs(found["accuracy_joined"][1], joined.labels), threshold)
    return Quality(
        data="terms of the CLDR in thirty languages, of keys never used to fit, choose or calibrate; every term is in "
        "one language only; six designs were compared on other terms",
        rows=len(data.test.texts),
        metrics={
            **{name: float(found_right.mean()) for name, found_right in right.items()},
            "least_language_accuracy": min(of_languages),
            "ece": measure_calibration_error(found["accuracy"][0], data.test.labels),
            "false_accepts": accepts,
            "false_rejects": rejects,
        },
        bar={"accuracy": LEAST_ACCURACY},
    )


def _predict_all(
    predict: Predict, tokenizer: Tokenizer, texts: Sequence[str], output: str = "probabilities"
) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities, or another output for each language, and the vectors of the texts."""
    found = np.empty((len(texts), len(languages.CODES)), np.float32)
    vectors = np.empty((len(texts), VECTOR), np.float32)
    for places, inputs in read_groups(tokenizer, texts):
        answer = predict(inputs)
        found[places], vectors[places] = answer[output], answer["embedding"]
    return found, vectors
