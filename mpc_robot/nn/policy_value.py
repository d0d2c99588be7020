"""One net for policy and value of a game's positions (AlphaZero, arXiv:1712.01815)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from mpc_robot.errors import require, require_choices
from mpc_robot.nn.layers import initialised, linear

HEAD_CHANNELS = 4
"""Channels that a head boils a board down to (arXiv:1712.01815: 2 for the policy, 1 for the value).
"""


@dataclass(frozen=True)
class PolicyValueConfig:
    """Sizes of the net; those of arXiv:1712.01815 in brackets.

    Without batch normalisation: residual blocks begin as the identity instead.

    Attributes:
        blocks: residual blocks of two layers each [19].
        channels: of each convolution, or width of each layer where a position is no board [256].
        value_units: hidden units of the value head [256].
        precision: of the blocks' arithmetic; ``bfloat16`` is several times as fast where the
            processor knows it, and slow where not.
    """

    blocks: int = 4
    channels: int = 64
    value_units: int = 64
    precision: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require_choices(self)
        require(self.blocks >= 0, "blocks", "at least 0", self.blocks)
        for name in ("channels", "value_units"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))


class Residual(nn.Module):
    """``relu(x + f(x))`` with two layers in f, which says 0 at first."""

    def __init__(self, width: int, board: bool, rng: torch.Generator) -> None:
        """Layers of so many channels, on a ``board``, or units."""
        super().__init__()
        self.first, self.second = _layer(width, width, board, rng), _layer(width, width, board, rng)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, width, ...]`` as before."""
        return functional.relu(x + self.second(functional.relu(self.first(x))))


class PolicyValueNet(nn.Module):
    """Views ``[B, *shape]`` to logits ``[B, A]`` and values ``[B]`` in [-1, 1]; at first all 0."""

    def __init__(
        self,
        shape: tuple[int, ...],
        num_actions: int,
        config: PolicyValueConfig,
        rng: torch.Generator,
    ) -> None:
        """``shape``: of a view, planes of a board ``[C, H, W]`` or a vector ``[D]``."""
        super().__init__()
        board, width = len(shape) == 3, config.channels
        self.precision = getattr(torch, config.precision)
        first = _layer(shape[0], width, board, rng)
        blocks = [Residual(width, board, rng) for _ in range(config.blocks)]
        self.trunk = nn.Sequential(first, nn.ReLU(), *blocks)
        self.policy_in, features = _head(width, shape, rng)
        self.policy = _silent(features, num_actions, rng)
        self.value_in, features = _head(width, shape, rng)
        self.value_hidden = linear(features, config.value_units, rng)
        self.value = _silent(config.value_units, 1, rng)

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of all actions, legal or not, and values for the player to move."""
        reduced = self.precision != torch.float32
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
            x = self.trunk(views)
        x = x.float()
        logits = self.policy(functional.relu(self.policy_in(x).flatten(1)))
        value = functional.relu(self.value_in(x).flatten(1))
        value = self.value(functional.relu(self.value_hidden(value)))
        return logits, torch.tanh(value[:, 0])


def _layer(fan_in: int, fan_out: int, board: bool, rng: torch.Generator) -> nn.Conv2d | nn.Linear:
    """A convolution over neighbouring points of a board, or a linear layer; He's variance."""
    if not board:
        layer: nn.Conv2d | nn.Linear = linear(fan_in, fan_out, rng)
    else:
        conv: nn.Conv2d = skip_init(nn.Conv2d, fan_in, fan_out, 3, padding=1)
        layer = initialised(conv, 9 * fan_in, rng)
        channels_last = layer.weight.data.contiguous(memory_format=torch.channels_last)
        layer.weight.data = channels_last  # by which convolutions on a CPU are fastest
    layer.weight.data *= math.sqrt(2.0)
    return layer


def _head(width: int, shape: tuple[int, ...], rng: torch.Generator) -> tuple[nn.Module, int]:
    """What a head first does with a board, and how many features come of it."""
    if len(shape) < 3:
        return nn.Identity(), width
    conv: nn.Conv2d = skip_init(nn.Conv2d, width, HEAD_CHANNELS, 1)
    return initialised(conv, width, rng), HEAD_CHANNELS * shape[1] * shape[2]


def _silent(features: int, outputs: int, rng: torch.Generator) -> nn.Linear:
    """A last layer that says 0 at first."""
    layer = linear(features, outputs, rng)
    nn.init.zeros_(layer.weight)
    return layer
