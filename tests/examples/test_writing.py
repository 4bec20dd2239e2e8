"""The examples of models that write, from the packages to the right texts over HTTP alone."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.examples.packages import export_example, install
from tests.support.servers import FAST, Serving, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
HOUSE = "translate English to German: The house is wonderful."
WORDS = {
    "elephant": "EH1 L AH0 F AH0 N T",
    "computer": "K AH0 M P Y UW1 T ER0",
    "window": "W IH1 N D OW0",
    "machine": "M AH0 SH IY1 N",
    "world": "W ER1 L D",
    "xylophone": "Z AY1 L AH0 F OW2 N",
    "question": "K W EH1 S CH AH0 N",
    "garden": "G AA1 R D AH0 N",
    "School": "S K UW1 L",
}
"""As CMU's dictionary has them."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with the models of both examples."""
    folder = tmp_path_factory.mktemp("store")
    packages = install(tmp_path_factory.mktemp("packages"), "traceforge-title-model==0.2.0", "g2p-en==2.1.0")
    for name in ("title", "phonemes"):
        export_example(name, folder, packages)
    with Serving(settings_for(folder), FAST) as serving, serving.client() as client:
        yield client


def write(client: httpx.Client, model: str, rows: list[str], **more: Any) -> list[str]:
    answer = client.post("/predict_sequence", json={"model": model, "inputs": rows, **more}, timeout=60)
    assert answer.status_code == 200, answer.text
    return [prediction["text"] for prediction in answer.json()["predictions"]]


def test_sentence_is_translated(client: httpx.Client) -> None:
    """The documented sentence comes out right, also beside others, though rows would change each other."""
    others = ["translate English to German: I am here.", "summarize: the tests of the loop failed and were repaired"]
    assert write(client, "title", [HOUSE]) == ["Das Haus ist wunderbar."]
    assert write(client, "title", [others[0], HOUSE, others[1]])[1] == "Das Haus ist wunderbar."
    assert write(client, "title", [HOUSE], stop=[" wunder"]) == ["Das Haus ist"]
    cost = client.get("/v2/models/title").json()["writing"]
    assert "time grows with the square of the length; each row takes its steps alone" in cost


def test_words_are_spoken_as_the_dictionary_says(client: httpx.Client) -> None:
    """Nine of nine, greedily and by beams."""
    assert write(client, "phonemes", list(WORDS)) == list(WORDS.values())
    assert write(client, "phonemes", list(WORDS), beams=3) == list(WORDS.values())
