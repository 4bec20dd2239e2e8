"""Kinds: mel spectrograms, short-time and other Fourier transforms."""

import math

import torch
from torch import nn

from tests.support.kinds.case import Kinds, normal

KINDS = Kinds()
_SAMPLES = {0: "batch", 1: "samples"}
_SOUNDS = ({"batch": 1, "samples": 64}, {"batch": 5, "samples": 333}, {"batch": 2, "samples": 150})


def mel_filters(bins: int, mels: int) -> torch.Tensor:
    """[bins, mels] triangles of equal width."""
    centres = torch.linspace(0, bins - 1, mels + 2)
    at = torch.arange(bins).float()[:, None]
    up, down = (at - centres[:-2]) / (centres[1] - centres[0]), (centres[2:] - at) / (centres[1] - centres[0])
    return torch.minimum(up, down).clamp(min=0)


def _short(centre: bool):
    return lambda: {"centre": centre, "window": nn.Buffer(torch.hann_window(32))}


_WAVE = {"wave": normal(3, 160)}
_FREE = {"dynamic": {"wave": _SAMPLES}, "sizes": _SOUNDS}


@KINDS.add(_WAVE, _short(True), name="fourier-short-centre")
@KINDS.add(_WAVE, _short(False), name="fourier-short-free", **_FREE)
@KINDS.add(_WAVE, _short(False))
def fourier_short(self, wave):
    """The magnitudes of a short-time transform."""
    return torch.stft(wave, 32, 16, window=self.window, center=self.centre, return_complex=True).abs()


def _mel():
    return {"window": nn.Buffer(torch.hann_window(32)), "filters": nn.Buffer(mel_filters(17, 6))}


@KINDS.add(_WAVE, _mel, name="fourier-mel-free", **_FREE)
@KINDS.add(_WAVE, _mel)
def fourier_mel(self, wave):
    """Logarithms of mel energies."""
    spectrum = torch.stft(wave, 32, 16, window=self.window, return_complex=True)
    power = spectrum.real**2 + spectrum.imag**2
    return torch.log10((power.transpose(1, 2) @ self.filters).clamp(min=1e-5))


def _sines():
    angles = 2 * math.pi * torch.arange(32)[:, None] * torch.arange(17) / 32
    return {"basis": nn.Buffer(torch.cat([angles.cos(), angles.sin()], 1) * torch.hann_window(32)[:, None])}


def _waves():
    angles = 2 * math.pi * torch.arange(17)[:, None] * torch.arange(32) / 32
    waves = torch.cat([angles.cos(), -angles.sin()]) * torch.hann_window(32).sqrt()
    twice = torch.tensor([1.0, *[2.0] * 15, 1.0] * 2)[:, None]
    return {"kernel": nn.Buffer(waves[:, None]), "inverse": nn.Buffer((waves * twice / 32)[:, None])}


@KINDS.add(_WAVE, _waves, **_FREE)
def fourier_denoised(self, wave):
    """Sounds without their quiet frequencies: a transform and its inverse as convolutions."""
    spectrum = nn.functional.conv1d(nn.functional.pad(wave, (16, 32))[:, None], self.kernel, stride=16)
    gain = torch.sigmoid(spectrum[:, :17].square() + spectrum[:, 17:].square() - 3)
    clean = nn.functional.conv_transpose1d(spectrum * torch.cat([gain, gain], 1), self.inverse, stride=16)
    return clean[:, 0, 16 : 16 + wave.shape[1]]


@KINDS.add(_WAVE, _sines, **_FREE)
def fourier_framed(self, wave):
    """The same by frames and a matrix of sines: no operator of Fourier transforms."""
    parts = wave.unfold(1, 32, 16) @ self.basis
    return (parts[..., :17] ** 2 + parts[..., 17:] ** 2).clamp(min=1e-6).sqrt()


@KINDS.add(
    {"wave": normal(3, 64)},
    lambda: {"cosines": nn.Buffer(torch.cos(math.pi / 33 * (torch.arange(33)[:, None] + 0.5) * torch.arange(5)))},
)
def fourier_cepstrum(self, wave):
    """Cosines of the logarithms of a fixed number of samples."""
    return torch.log(torch.fft.rfft(wave).abs().clamp(min=1e-4)) @ self.cosines


@KINDS.add({"x": normal(3, 7, 8)})
def fourier_mixed(self, x):
    """Tokens are mixed by the real part of a transform over both axes."""
    return torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real


@KINDS.add({"wave": normal(3, 40)}, lambda: {"kernel": nn.Parameter(torch.randn(40) / 6)})
def fourier_long(self, wave):
    """A convolution as long as the input, by way of the spectrum."""
    size = 2 * wave.shape[1]
    spectrum = torch.fft.rfft(wave, n=size) * torch.fft.rfft(self.kernel, n=size)
    return torch.fft.irfft(spectrum, n=size)[:, : wave.shape[1]]


@KINDS.add({"wave": normal(3, 160)}, lambda: {"window": nn.Buffer(torch.hann_window(32))})
def fourier_filtered(self, wave):
    """High frequencies are taken out, and the sound comes back."""
    spectrum = torch.stft(wave, 32, 16, window=self.window, return_complex=True)
    kept = spectrum * (torch.arange(17) < 8)[:, None]
    return torch.istft(kept, 32, 16, window=self.window, length=wave.shape[1])
