"""Pictures of lines of text to texts, by PP-OCRv6's reader (Apache-2.0).

pip install --no-deps rapidocr==3.10.0
sluice export examples/line_text.py:spec --store models
sluice serve --store models
curl localhost:3000/predict_sequence --data-binary @line.png

examples/page_reader.toml joins it with the detector of page_text.py into a pipeline.
"""

from importlib.util import find_spec
from pathlib import Path

import onnx

from export import OnnxSpec
from model_store.tasks import Image, Reading
from model_store.texts.symbols import join_symbols

IMAGE = Image(
    input="x",
    channels=3,
    order="BGR",
    height=48,
    narrowest=320,
    longest=2400,
    multiple=32,
    resize="fit",
    padding=127,
    padded="end",
    interpolation="bilinear",
    antialias=False,
    scale=1 / 127.5,
    offset=-1.0,
)
OUTPUT = "fetch_name_0"


def spec() -> OnnxSpec:
    """The model. Its symbols are in the metadata of the file; a blank comes before them, and a space after them."""
    file = folder() / "models" / "PP-OCRv6_rec_small.onnx"
    metadata = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    symbols = ("", *metadata["character"].removesuffix("\n").split("\n"), " ")
    return OnnxSpec(
        name="line-text",
        task="predict_sequence",
        file=file,
        image=IMAGE,
        reading=Reading(output=OUTPUT, file="symbols.txt"),
        further_files={"symbols.txt": join_symbols(symbols)},
        description="Pictures of lines to texts",
        licence="Apache-2.0",
    )


def folder() -> Path:
    """Where the package is installed."""
    found = find_spec("rapidocr")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("rapidocr is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0])
