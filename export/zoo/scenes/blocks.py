"""Blocks of convolutions."""

import torch
from torch import nn


class Residual(nn.Module):
    """Two convolutions added to the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.layers = nn.Sequential(first, nn.BatchNorm2d(channels), nn.ReLU(), second, nn.BatchNorm2d(channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.relu(features + self.layers(features))


def make_block(channels_in: int, channels_out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """A convolution, its normalisation and a rectifier. A stride of 2 halves height and width."""
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)  # BatchNorm has the bias
    return convolution, nn.BatchNorm2d(channels_out), nn.ReLU()
