"""Layers whose initial weights are drawn from a generator that is passed in."""

from __future__ import annotations

import itertools
import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

Layer = TypeVar("Layer", bound=nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
_TRUNCATED_STD = 0.8796256610342398
"""Standard deviation of a standard normal truncated at two of them."""


def initialised(layer: Layer, fan_in: int, rng: torch.Generator) -> Layer:
    """Truncated normal weights of variance ``1 / fan_in``, biases 0 (arXiv:2301.04104)."""
    std = 1.0 / math.sqrt(fan_in) / _TRUNCATED_STD
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std, generator=rng)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def linear(inputs: int, outputs: int, rng: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """``[..., inputs] -> [..., outputs]``."""
    layer: nn.Linear = skip_init(nn.Linear, inputs, outputs, bias=bias)
    return initialised(layer, inputs, rng)


class NormedSiLU(nn.Module):
    """Layer norm over the last axis, then SiLU."""

    def __init__(self, width: int) -> None:
        """``width``: entries of the last axis."""
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]`` as before."""
        return functional.silu(self.norm(x))


class MLP(nn.Sequential):
    """``[..., sizes[0]] -> [..., sizes[-1]]``: linear layers, with layer norm and SiLU between."""

    def __init__(self, sizes: tuple[int, ...], rng: torch.Generator, *, zero: bool = False) -> None:
        """``zero``: the last layer's weights start at 0, and so does all that it says."""
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(sizes[:-1]):
            layers += [linear(fan_in, fan_out, rng), NormedSiLU(fan_out)]
        last = linear(sizes[-2], sizes[-1], rng)
        if zero:
            nn.init.zeros_(last.weight)
        super().__init__(*layers, last)


class NormedGRU(nn.Module):
    """A gated recurrent unit with layer norm before its gates (arXiv:2010.02193).

    Its state is made of equal blocks, each of which sees the whole input but only itself of the
    state (arXiv:2301.04104); with one block it is an ordinary one.
    """

    def __init__(self, inputs: int, units: int, blocks: int, rng: torch.Generator) -> None:
        """``units``: entries of the state, a multiple of ``blocks``."""
        super().__init__()
        self.blocks, each = blocks, units // blocks
        self.input = linear(inputs, 3 * units, rng, bias=False)
        own = [linear(each, 3 * each, rng, bias=False).weight.T for _ in range(blocks)]
        self.own = nn.Parameter(torch.stack([w.detach().clone() for w in own]))
        self.norm = nn.LayerNorm(3 * units, eps=1e-3)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """The next state ``[B, units]`` after an input ``[B, inputs]``."""
        own = torch.bmm(state.unflatten(-1, (self.blocks, -1)).transpose(0, 1), self.own)
        both = self.input(x) + own.unflatten(-1, (3, -1)).permute(1, 2, 0, 3).flatten(1)
        reset, candidate, update = self.norm(both).chunk(3, dim=-1)
        candidate = torch.tanh(reset.sigmoid() * candidate)
        return torch.lerp(state, candidate, torch.sigmoid(update - 1.0))
