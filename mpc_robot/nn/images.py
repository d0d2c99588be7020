"""Frames to features and back: convolutions that halve or quarter the picture at each layer."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mpc_robot.errors import require
from mpc_robot.nn.layers import NormedSiLU, initialised, linear

KERNEL = 4
LEAST_STD = 15.0
"""Standard deviation of a place that varied less, shades: what is seen there later is no shock."""


class FrameNormalizer(nn.Module):
    """Scale each place of frames to zero mean and unit variance.

    What is thin and moves is seldom anywhere: a pole is worth a few units of the squared error of
    raw frames, whose background alone is worth thousands. Centred shades until fitted.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, frame_shape: tuple[int, int, int]) -> None:
        """``frame_shape``: H, W, C."""
        super().__init__()
        self.register_buffer("mean", torch.full(frame_shape, 127.5))
        self.register_buffer("std", torch.full(frame_shape, 255.0))

    def fit(self, frame: Tensor) -> None:
        """Take the statistics of uint8 frames ``[..., H, W, C]``."""
        std, mean = torch.std_mean(frame.flatten(0, -4).float(), dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=LEAST_STD))

    def forward(self, frame: Tensor) -> Tensor:
        """Scaled uint8 frames ``[..., H, W, C]``."""
        return frame.to(torch.float32, copy=True).sub_(self.mean).div_(self.std)

    def shades(self, scaled: Tensor) -> Tensor:
        """Shades from 0 to 1 ``[..., H, W, C]`` of frames of this scale."""
        return torch.addcmul(self.mean, scaled, self.std).div_(255.0).clamp_(0.0, 1.0)


class ChannelNorm(nn.Module):
    """Layer norm over channels and SiLU, ``[N, C, H, W]`` as before; fast for channels last."""

    def __init__(self, channels: int) -> None:
        """``channels``: C."""
        super().__init__()
        self.normed = NormedSiLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised over the channels of each pixel."""
        normed: Tensor = self.normed(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


def smallest(frame_shape: tuple[int, int, int], strides: tuple[int, ...]) -> tuple[int, int]:
    """Height and width after all layers.

    Raises:
        ValueError: if the strides are not 2 or 4, or do not divide the frame.
    """
    total, size = math.prod(strides), frame_shape[:2]
    require(bool(strides) and set(strides) <= {2, 4}, "strides", "each 2 or 4", strides)
    divides = all(side % total == 0 for side in size)
    require(divides, "strides", f"a product that divides {size}", strides)
    return size[0] // total, size[1] // total


class FrameEncoder(nn.Module):
    """Scaled frames ``[..., H, W, C]`` to features ``[..., F]``."""

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        rng: torch.Generator,
    ) -> None:
        """A convolution per entry of ``channels`` and ``strides``, the first on the frame."""
        super().__init__()
        height, width = smallest(frame_shape, strides)
        layers: list[nn.Module] = []
        pairs = itertools.pairwise((frame_shape[2], *channels))
        for (fan_in, fan_out), stride in zip(pairs, strides, strict=True):
            layers += [_convolution(nn.Conv2d, fan_in, fan_out, stride, rng), ChannelNorm(fan_out)]
        self.layers = _channels_last(nn.Sequential(*layers))
        self.dim = height * width * channels[-1]

    def forward(self, frame: Tensor) -> Tensor:
        """The features of each frame."""
        rows = frame.flatten(0, -4)
        x = self.layers(rows.permute(0, 3, 1, 2))
        features: Tensor = x.permute(0, 2, 3, 1).reshape(*frame.shape[:-3], self.dim)
        return features


class FrameDecoder(nn.Module):
    """Features ``[..., F]`` to scaled frames ``[..., H, W, C]``; says 0, the mean, at first."""

    def __init__(
        self,
        features: int,
        frame_shape: tuple[int, int, int],
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        rng: torch.Generator,
    ) -> None:
        """The layers of the encoder with the same ``channels`` and ``strides``, backwards."""
        super().__init__()
        self.smallest = (channels[-1], *smallest(frame_shape, strides))
        self.input = linear(features, math.prod(self.smallest), rng)
        layers: list[nn.Module] = [ChannelNorm(channels[-1])]
        pairs = itertools.pairwise((*channels[::-1], frame_shape[2]))
        for (fan_in, fan_out), stride in zip(pairs, strides[::-1], strict=True):
            layer = _convolution(nn.ConvTranspose2d, fan_in, fan_out, stride, rng)
            layers += [layer, ChannelNorm(fan_out)]
        self.layers = _channels_last(nn.Sequential(*layers[:-1]))
        nn.init.zeros_(self.layers[-1].get_parameter("weight"))

    def forward(self, features: Tensor) -> Tensor:
        """The frame that each row of features stands for."""
        channels, height, width = self.smallest
        rows = self.input(features.flatten(0, -2)).unflatten(-1, (height, width, channels))
        x: Tensor = self.layers(rows.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x.reshape(*features.shape[:-1], *x.shape[1:])


def _channels_last(layers: nn.Sequential) -> nn.Sequential:
    """With weights in the order of frames, by which convolutions on a CPU are fastest."""
    for weight in layers.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return layers


def _convolution(
    kind: type[nn.Conv2d] | type[nn.ConvTranspose2d],
    fan_in: int,
    fan_out: int,
    stride: int,
    rng: torch.Generator,
) -> nn.Conv2d | nn.ConvTranspose2d:
    """One that divides, or multiplies, height and width by ``stride``."""
    padding = (KERNEL - stride) // 2
    layer: nn.Conv2d | nn.ConvTranspose2d = skip_init(
        kind, fan_in, fan_out, KERNEL, stride=stride, padding=padding
    )
    touched = KERNEL**2 if kind is nn.Conv2d else (KERNEL // stride) ** 2
    return initialised(layer, fan_in * touched, rng)
