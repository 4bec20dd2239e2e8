"""Arabic without vowels to Arabic with them, by rawi v2 of text2tashkeel (Apache-2.0): a label for each letter.

    pip install --no-deps text2tashkeel==0.1.0
    python examples/tashkeel.py tashkeel
    sluice import tashkeel/tashkeel.onnx --store models
    sluice serve --store models
    python examples/tashkeel.py http://localhost:3000 'بسم الله الرحمن الرحيم'

The first call writes a tokenizer.json of letters and the labels, which are the marks, beside the graph. The last one
puts the marks of the answer behind their letters.
"""

import json
import shutil
import sys
import unicodedata
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NONE = "none"
"""The label of letters without a mark."""
TOML = """\
name = "tashkeel"
task = "classify"
description = "Arabic letters to their vowel marks"
licence = "Apache-2.0"
labels = "labels.json"
activation = "softmax"

[texts]
tokenizer = "tokenizer.json"
length = 512
"""


def write(folder: Path) -> None:
    """The graph, its tokenizer, its labels and the facts for the import."""
    found = find_spec("text2tashkeel")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("text2tashkeel is not installed: see the first lines of this file")
    models = Path(found.submodule_search_locations[0]) / "models"
    vocabulary = json.loads((models / "rawi_v2.vocab.json").read_text("utf-8"))
    marks = sorted(vocabulary["diac_to_idx"], key=vocabulary["diac_to_idx"].get)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(models / "rawi_v2.int8.onnx", folder / "tashkeel.onnx")
    (folder / "tokenizer.json").write_text(json.dumps(make_tokenizer(vocabulary["char_to_idx"])), "utf-8")
    (folder / "labels.json").write_text(json.dumps([mark or NONE for mark in marks]), "utf-8")
    (folder / "model.toml").write_text(TOML, "utf-8")


def make_tokenizer(letters: dict[str, int]) -> dict[str, Any]:
    """Each letter is a token, without the marks and symbols that are there already."""
    clean = [{"type": "NFD"}, {"type": "StripAccents"}]
    clean.append({"type": "Replace", "pattern": {"Regex": r"\p{So}"}, "content": ""})
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": clean},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": letters, "unk_token": "<UNK>"},
    }


def ask(url: str, text: str) -> str:
    """The text with its marks."""
    body = json.dumps({"model": "tashkeel", "inputs": [text]}).encode()
    request = urllib.request.Request(f"{url}/classify", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        [prediction] = json.load(answer)["predictions"]
    return "".join(add_marks(part["text"], part["label"]) for part in prediction["spans"])


def add_marks(text: str, mark: str) -> str:
    """Neighbours with one mark are one part, so each of its letters has it."""
    letters = (letter for letter in unicodedata.normalize("NFD", text) if unicodedata.category(letter) != "Mn")
    if mark != NONE:
        letters = (letter + mark if unicodedata.category(letter).startswith("L") else letter for letter in letters)
    return unicodedata.normalize("NFC", "".join(letters))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.stdout.write(f"{ask(*sys.argv[1:])}\n")
    elif len(sys.argv) == 2:
        write(Path(sys.argv[1]))
    else:
        raise SystemExit("usage: python examples/tashkeel.py FOLDER, or URL TEXT")
