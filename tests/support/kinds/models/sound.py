"""Kinds: mel spectrograms, short-time and other Fourier transforms."""

import math

import torch
from torch import nn

from tests.support.kinds.case import Kind, normal

_SAMPLES = {0: "batch", 1: "samples"}
_SOUNDS = ({"batch": 1, "samples": 64}, {"batch": 5, "samples": 333}, {"batch": 2, "samples": 150})


def mel_filters(bins: int, mels: int) -> torch.Tensor:
    """[bins, mels] triangles of equal width."""
    centres = torch.linspace(0, bins - 1, mels + 2)
    at = torch.arange(bins).float()[:, None]
    up, down = (at - centres[:-2]) / (centres[1] - centres[0]), (centres[2:] - at) / (centres[1] - centres[0])
    return torch.minimum(up, down).clamp(min=0)


class Short(nn.Module):
    """The magnitudes of a short-time transform."""

    def __init__(self, centre: bool) -> None:
        super().__init__()
        self.centre = centre
        self.register_buffer("window", torch.hann_window(32))

    def forward(self, wave):
        spectrum = torch.stft(wave, 32, 16, window=self.window, center=self.centre, return_complex=True)
        return spectrum.abs()


class Mel(nn.Module):
    """Logarithms of mel energies."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(32))
        self.register_buffer("filters", mel_filters(17, 6))

    def forward(self, wave):
        spectrum = torch.stft(wave, 32, 16, window=self.window, return_complex=True)
        power = spectrum.real**2 + spectrum.imag**2
        return torch.log10((power.transpose(1, 2) @ self.filters).clamp(min=1e-5))


class Framed(nn.Module):
    """The same by frames and a matrix of sines: no operator of Fourier transforms."""

    def __init__(self) -> None:
        super().__init__()
        angles = 2 * math.pi * torch.arange(32)[:, None] * torch.arange(17) / 32
        self.register_buffer("basis", torch.cat([angles.cos(), angles.sin()], 1) * torch.hann_window(32)[:, None])

    def forward(self, wave):
        parts = wave.unfold(1, 32, 16) @ self.basis
        return (parts[..., :17] ** 2 + parts[..., 17:] ** 2).clamp(min=1e-6).sqrt()


class Cepstrum(nn.Module):
    """Cosines of the logarithms of a fixed number of samples."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("cosines", torch.cos(math.pi / 33 * (torch.arange(33)[:, None] + 0.5) * torch.arange(5)))

    def forward(self, wave):
        return torch.log(torch.fft.rfft(wave).abs().clamp(min=1e-4)) @ self.cosines


class Mixed(nn.Module):
    """Tokens are mixed by the real part of a transform over both axes."""

    def forward(self, x):
        return torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real


class Long(nn.Module):
    """A convolution as long as the input, by way of the spectrum."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(40) / 6)

    def forward(self, wave):
        size = 2 * wave.shape[1]
        spectrum = torch.fft.rfft(wave, n=size) * torch.fft.rfft(self.kernel, n=size)
        return torch.fft.irfft(spectrum, n=size)[:, : wave.shape[1]]


class Filtered(nn.Module):
    """High frequencies are taken out, and the sound comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(32))

    def forward(self, wave):
        spectrum = torch.stft(wave, 32, 16, window=self.window, return_complex=True)
        kept = spectrum * (torch.arange(17) < 8)[:, None]
        return torch.istft(kept, 32, 16, window=self.window, length=wave.shape[1])


KINDS = (
    Kind(name="fourier-short", module=lambda: Short(False), inputs={"wave": normal(3, 160)}),
    Kind(
        name="fourier-short-free",
        module=lambda: Short(False),
        inputs={"wave": normal(3, 160)},
        dynamic={"wave": _SAMPLES},
        sizes=_SOUNDS,
    ),
    Kind(name="fourier-short-centre", module=lambda: Short(True), inputs={"wave": normal(3, 160)}),
    Kind(name="fourier-mel", module=Mel, inputs={"wave": normal(3, 160)}),
    Kind(
        name="fourier-mel-free",
        module=Mel,
        inputs={"wave": normal(3, 160)},
        dynamic={"wave": _SAMPLES},
        sizes=_SOUNDS,
    ),
    Kind(
        name="fourier-framed",
        module=Framed,
        inputs={"wave": normal(3, 160)},
        dynamic={"wave": _SAMPLES},
        sizes=_SOUNDS,
    ),
    Kind(name="fourier-cepstrum", module=Cepstrum, inputs={"wave": normal(3, 64)}),
    Kind(name="fourier-mixed", module=Mixed, inputs={"x": normal(3, 7, 8)}),
    Kind(name="fourier-long", module=Long, inputs={"wave": normal(3, 40)}),
    Kind(name="fourier-filtered", module=Filtered, inputs={"wave": normal(3, 160)}),
)
