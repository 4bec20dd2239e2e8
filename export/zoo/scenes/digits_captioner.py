"""digits-captioner: says in a sentence which handwritten digits are where in a photograph.

First the encoder learns to read the digits of pictures that are full of them, then the decoder learns to write.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.original import limit_threads
from export.spec import Arrays, ExportSpec, GraphSpec, Predict, Progress
from export.zoo.data import captions, scenes
from export.zoo.scenes.caption_networks import (
    CACHE,
    CELLS,
    CHANNELS,
    HEADS,
    LAYERS,
    MAX_STEPS,
    MEMORY,
    SIZE,
    Captioner,
    Encoder,
)
from export.zoo.scenes.training import fit
from model_store.manifest import Quality
from model_store.tasks import Carry, Image, Loop, Writing

NAME = "digits-captioner"
LEAST_EXACT_MATCH = 0.95
READING_SCENES, WRITING_SCENES = 6000, 3000
READING_STEPS, WRITING_STEPS = 1200, 400
READING_ROWS, WRITING_ROWS = 32, 64
READING_RATE, WRITING_RATE = 6e-3, 3e-3
LARGEST_GRADIENT = 5.0
NEGATIVE_SHARE = 0.3
VALIDATION_ROWS = 500
SAMPLE_ROWS = 32
TEST_ROWS = 500
GOLDEN_ROWS = 1  # a picture is large for so small a model
_NOTHING = 10  # of a cell
_MEMORY = ("memory_keys", "memory_values")
_STEP_OUTPUTS = ("scores", "next_keys", "next_values")
_VALIDATION_SEED, _TEST_SEED = 1, 2  # of the data: every version is measured on the same scenes


def train(seed: int, progress: Progress) -> ExportSpec:
    """Train and describe the captioner; the same seed gives the same weights."""
    progress("loading the digits and photographs")
    data = captions.load_sources()
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Captioner()
        _fit(model, data.train, np.random.default_rng(seed), progress)
        _validate(model, data.validation, progress)
    return _describe(model, data, seed)


def _fit(model: Captioner, source: scenes.Source, generator: np.random.Generator, progress: Progress) -> None:
    """First the encoder learns to read digits, then the decoder learns to write what was read.

    Scenes are seen many times, each time in other colours: to draw one takes longer than to learn from it.
    """
    progress("drawing scenes")
    full = captions.draw_scenes(source, [captions.REGIONS] * READING_SCENES, generator)
    captioned = captions.draw_captioned(source, WRITING_SCENES, generator)
    _fit_encoder(model.encoder, full, progress)
    _fit_decoder(model, captioned, progress)


def _fit_encoder(encoder: Encoder, drawn: Sequence[scenes.Scene], progress: Progress) -> None:
    images, labels = _stack(drawn), _aim(drawn)
    read = nn.Linear(SIZE, _NOTHING + 1)

    def draw_loss() -> torch.Tensor:
        rows = torch.randint(len(images), (READING_ROWS,))
        cells = encoder.look(_recolour(images[rows]))
        return functional.cross_entropy(read(cells).flatten(0, 1), labels[rows].flatten())

    fit(
        nn.ModuleList([encoder.layers, read]),
        draw_loss,
        steps=READING_STEPS,
        learning_rate=READING_RATE,
        largest_gradient=LARGEST_GRADIENT,
        progress=progress,
    )


def _fit_decoder(model: Captioner, drawn: Sequence[scenes.Scene], progress: Progress) -> None:
    images = _stack(drawn)
    token, target = map(torch.from_numpy, captions.encode(drawn))
    with torch.no_grad():
        cells = torch.cat([model.encoder.look(part.float()) for part in torch.split(images, WRITING_ROWS)])

    def draw_loss() -> torch.Tensor:
        rows = torch.randint(len(cells), (WRITING_ROWS,))
        scores = model.decoder.follow(token[rows], *model.encoder.remember(cells[rows]))
        return functional.nll_loss(scores.flatten(0, 1), target[rows].flatten(), ignore_index=captions.BEGIN)

    fit(
        nn.ModuleList([model.encoder.remember, model.decoder]),
        draw_loss,
        steps=WRITING_STEPS,
        learning_rate=WRITING_RATE,
        largest_gradient=LARGEST_GRADIENT,
        progress=progress,
    )


def _stack(drawn: Sequence[scenes.Scene]) -> torch.Tensor:
    """uint8 [rows, 3, side, side]."""
    return torch.from_numpy(np.stack([scene.image for scene in drawn])).permute(0, 3, 1, 2)


def _recolour(images: torch.Tensor) -> torch.Tensor:
    """Other colours: the channels exchanged, and some pictures as negatives."""
    negative = torch.rand(len(images), 1, 1, 1) < NEGATIVE_SHARE
    pixels = images[:, torch.randperm(3)].float()
    return torch.where(negative, scenes.LARGEST_PIXEL - pixels, pixels)


def _aim(drawn: Sequence[scenes.Scene]) -> torch.Tensor:
    """The label of the digit in each ninth, [rows, cells]; ``_NOTHING`` where there is none."""
    wanted = torch.full((len(drawn), CELLS), _NOTHING)
    for row, scene in enumerate(drawn):
        for region, label in captions.list_digits(scene):
            wanted[row, region] = label
    return wanted


def _validate(model: Captioner, source: scenes.Source, progress: Progress) -> None:
    drawn = captions.draw_captioned(source, VALIDATION_ROWS, np.random.default_rng(_VALIDATION_SEED))

    def predict(inputs: Arrays, graph: str = "main") -> dict[str, np.ndarray]:
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        part, names = (model.decoder, _STEP_OUTPUTS) if graph == "main" else (model.encoder, _MEMORY)
        with torch.no_grad():
            return {name: tensor.numpy() for name, tensor in zip(names, part(**tensors), strict=True)}

    progress(f"validation: exact match {_measure_exact_match(predict, drawn):.3f}")


def _describe(model: Captioner, data: scenes.Sources, seed: int) -> ExportSpec:
    drawn = captions.draw_captioned(data.validation, SAMPLE_ROWS, np.random.default_rng(_VALIDATION_SEED))
    images = torch.from_numpy(scenes.stack_images(drawn))
    samples = _sample_steps(model, images, drawn)
    return ExportSpec(
        name=NAME,
        task="predict_sequence",
        description="Says in a sentence which handwritten digits are where in a photograph.",
        module=model.decoder,
        inputs={name: tensor[:3] for name, tensor in samples.items()},
        outputs=_STEP_OUTPUTS,
        finite=("keys", "values", *_MEMORY),
        ranges={"token": (0, len(captions.SYMBOLS) - 1), "position": (0, MAX_STEPS - 1)},
        samples=samples,
        golden_rows=GOLDEN_ROWS,
        random_inputs=lambda sizes, seed: _draw_step(sizes["batch"], seed),
        graphs={
            "encode": GraphSpec(
                module=model.encoder,
                inputs={"image": images[:3]},
                outputs=_MEMORY,
                finite=("image",),
                samples={"image": images},
                seed=seed,
            )
        },
        image=Image(input="image", graph="encode", channels=3, height=captions.SIDE, width=captions.SIDE, resize="fit"),
        loop=Loop(
            start="encode",
            carries=(
                Carry(input="keys", output="next_keys"),
                Carry(input="values", output="next_values"),
                *(Carry(input=name, start=name) for name in _MEMORY),
            ),
            max_steps=MAX_STEPS,
        ),
        writing=Writing(
            file=None,
            symbols=captions.SYMBOLS,
            token="token",  # noqa: S106  # the name of a tensor
            position="position",
            scores="scores",
            begin=(captions.BEGIN,),
            ends=(captions.END,),
        ),
        quality=lambda predict: measure_quality(predict, data.test),
        data=f"{scenes.SOURCE}, out of focus: {data.count_digits()}",
        seed=seed,
        parameters={
            "reading_scenes": READING_SCENES,
            "writing_scenes": WRITING_SCENES,
            "reading_steps": READING_STEPS,
            "writing_steps": WRITING_STEPS,
            "reading_rows": READING_ROWS,
            "writing_rows": WRITING_ROWS,
            "reading_rate": READING_RATE,
            "writing_rate": WRITING_RATE,
            "largest_gradient": LARGEST_GRADIENT,
            "optimiser": "AdamW",
            "schedule": "OneCycle",
            "channels": ", ".join(map(str, CHANNELS)),
            "size": SIZE,
            "heads": HEADS,
            "layers": LAYERS,
        },
        licence=scenes.LICENCE,
    )


def _sample_steps(model: Captioner, images: torch.Tensor, drawn: Sequence[scenes.Scene]) -> dict[str, torch.Tensor]:
    """The decoder's inputs part-way through the sentences, each row at another step."""
    token, _ = map(torch.from_numpy, captions.encode(drawn))
    rows = torch.arange(len(drawn))
    position = rows % token.shape[1]
    with limit_threads(), torch.no_grad():
        memory = dict(zip(_MEMORY, model.encoder(images), strict=True))
        keys = values = torch.zeros(len(drawn), *CACHE)
        for step in range(token.shape[1] - 1):
            _, next_keys, next_values = model.decoder(
                token[:, step], torch.full_like(rows, step), keys, values, **memory
            )
            goes_on = (step < position)[:, None, None, None, None]
            keys, values = torch.where(goes_on, next_keys, keys), torch.where(goes_on, next_values, values)
    return {"token": token[rows, position], "position": position, "keys": keys, "values": values, **memory}


def _draw_step(rows: int, seed: int) -> dict[str, torch.Tensor]:
    """A random symbol at a random step, after and before random keys and values."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "token": torch.randint(len(captions.SYMBOLS), (rows,), generator=generator),
        "position": torch.randint(MAX_STEPS, (rows,), generator=generator),
        **{name: torch.randn(rows, *CACHE, generator=generator) for name in ("keys", "values")},
        **{name: torch.randn(rows, *MEMORY, generator=generator) for name in _MEMORY},
    }


def measure_quality(predict: Predict, source: scenes.Source) -> Quality:
    """The share of ``TEST_ROWS`` scenes of a fixed seed whose sentence has no error."""
    drawn = captions.draw_captioned(source, TEST_ROWS, np.random.default_rng(_TEST_SEED))
    return Quality(
        data=scenes.HELD_OUT,
        rows=TEST_ROWS,
        metrics={"exact_match": _measure_exact_match(predict, drawn)},
        bar={"exact_match": LEAST_EXACT_MATCH},
    )


def _measure_exact_match(predict: Predict, drawn: Sequence[scenes.Scene]) -> float:
    written = write(predict, scenes.stack_images(drawn))
    wanted = [captions.read(captions.write(captions.list_digits(scene))) for scene in drawn]
    return float(np.mean([got == want for got, want in zip(written, wanted, strict=True)]))


def write(predict: Predict, images: np.ndarray) -> list[str]:
    """The sentences of ``images`` float32 [rows, 3, 96, 96]: the most probable symbol at each step."""
    memory = predict({"image": images}, graph="encode")
    keys = values = np.zeros((len(images), *CACHE), np.float32)
    token = np.full(len(images), captions.BEGIN, np.int64)
    written = np.empty((len(images), 0), np.int64)
    while written.shape[1] < MAX_STEPS and not (written == captions.END).any(axis=1).all():
        position = np.full_like(token, written.shape[1])
        answer = predict({"token": token, "position": position, "keys": keys, "values": values, **memory})
        token = answer["scores"].argmax(axis=1)
        keys, values = answer["next_keys"], answer["next_values"]
        written = np.column_stack([written, token])
    ends = np.where((written == captions.END).any(axis=1), (written == captions.END).argmax(axis=1), MAX_STEPS)
    return [captions.read(row[:end]) for row, end in zip(written.tolist(), ends.tolist(), strict=True)]
