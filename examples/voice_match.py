"""Who speaks? Vectors of voices by Resemblyzer's GE2E encoder (Apache-2.0).

pip install --no-deps resemblyzer==0.1.4
sluice export examples/voice_match.py:spec --store models
sluice serve --store models
curl localhost:3000/embed -F inputs=@one.wav -F compare=@other.mp3 -F compare=@third.flac

The mel spectrogram is a convolution and a matrix, so it is part of the graph. The vector of a recording is the mean of
those of its windows.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export import ExportSpec
from model_store.tasks import Embedding, Sound

RATE = 16_000
FRAME, HOP = 400, 160
"""Samples of a frame, and from one to the next."""
FRAMES, MELS = 160, 40
WINDOW = (FRAMES - 1) * HOP + FRAME
SIZE, LAYERS = 256, 3


def spec() -> ExportSpec:
    """The model, with made-up sounds as samples."""
    sounds = make_up(12)
    return ExportSpec(
        name="voice_match",
        task="embed",
        module=VoiceEncoder(folder() / "pretrained.pt").eval(),
        inputs={"sound": sounds[:2]},
        outputs=("voice",),
        sound=Sound(input="sound", rate=RATE, window=WINDOW, overlap=WINDOW // 2, level_dbfs=-30.0),
        embedding=Embedding(output="voice"),
        samples={"sound": sounds},
        dynamic={"sound": {0: "batch"}},
        description="Vectors of voices, by Resemblyzer",
        licence="Apache-2.0",
    )


class VoiceEncoder(nn.Module):
    """Sounds [batch, samples] to vectors [batch, 256] of length 1. Voices of one person have a small angle."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, SIZE, LAYERS, batch_first=True)
        self.linear = nn.Linear(SIZE, SIZE)
        state = torch.load(file, map_location="cpu", weights_only=True)["model_state"]
        self.load_state_dict({name: state[name] for name in self.state_dict()})
        window = torch.hann_window(FRAME, dtype=torch.float64)
        angles = 2 * torch.pi / FRAME * torch.outer(torch.arange(FRAME // 2 + 1), torch.arange(FRAME)).double()
        self.register_buffer("waves", (torch.cat([angles.cos(), angles.sin()]) * window)[:, None].float())
        self.register_buffer("mels", torch.tensor(mel_filters().astype(np.float32)))

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        spectrum = functional.conv1d(sound[:, None], self.waves, stride=HOP)
        power = spectrum.square().reshape(len(sound), 2, FRAME // 2 + 1, FRAMES).sum(1)
        states, _ = self.lstm((self.mels @ power).transpose(1, 2))
        vector = self.linear(states[:, -1]).relu()
        return functional.normalize(vector, dim=1)


def mel_filters() -> np.ndarray:
    """Weights [mels, frequencies] of triangles of area 1 on Slaney's scale: linear to 1000 Hz, then logarithmic."""
    step, knee, growth = 200 / 3, 1000.0, np.log(6.4) / 27
    top = knee / step + np.log(RATE / 2 / knee) / growth
    places = np.linspace(0, top, MELS + 2)
    edges = np.where(places < knee / step, places * step, knee * np.exp(growth * (places - knee / step)))
    hz = np.linspace(0, RATE / 2, FRAME // 2 + 1)
    rising = (hz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hz) / np.diff(edges)[1:, None]
    triangles: np.ndarray = np.minimum(rising, falling).clip(0)
    return triangles * 2 / (edges[2:] - edges[:-2])[:, None]


def make_up(count: int) -> torch.Tensor:
    """Sounds [count, samples] between -1 and 1: overtones of several pitches, in noise."""
    random = np.random.default_rng(0)
    times = np.arange(WINDOW) / RATE
    hz = random.uniform(100, 300, (count, 1))
    tones = sum(
        np.sin(2 * np.pi * hz * overtone * times) * random.uniform(0, 1, (count, 1)) for overtone in range(1, 9)
    )
    sounds = 0.05 * tones + 0.005 * random.standard_normal((count, WINDOW))
    return torch.tensor(sounds.astype(np.float32))


def folder() -> Path:
    """Where the package is installed."""
    found = find_spec("resemblyzer")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("resemblyzer is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0])
