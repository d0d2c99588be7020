"""The policies of Dreamer: Gaussians over bounded actions, of a world model's features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mpc_robot.errors import require, require_choices
from mpc_robot.nn.latents import Gaussian
from mpc_robot.nn.layers import MLP


@dataclass(frozen=True)
class ActorConfig:
    """Shape of a policy; values of Dreamer v3 (arXiv:2301.04104) in brackets.

    Attributes:
        hidden: width of each hidden layer [3 layers; v1, v2: 4 of 400].
        squash: how a Gaussian is kept within bounds: ``clip`` cuts it off, with means in bounds
            and deviations from 0.1 to 1 [clip]; ``tanh`` squashes one that is wide at first (v1,
            arXiv:1912.01603) [v2: a truncated normal].
        exploration: standard deviation of the noise added to real actions, as a share of half
            their range [0; v1: 0.3].
    """

    hidden: tuple[int, ...] = (128, 128)
    squash: Literal["clip", "tanh"] = "clip"
    exploration: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require_choices(self)
        sound = len(self.hidden) > 0 and min(self.hidden) > 0
        require(sound, "hidden", "positive widths of one layer or more", self.hidden)
        sound = 0.0 <= self.exploration < math.inf
        require(sound, "exploration", "finite, at least 0", self.exploration)


class Actor(nn.Module):
    """Features ``[..., F]`` to a Gaussian of raw actions ``[..., A]``, which are then bounded."""

    low: Tensor
    high: Tensor

    def __init__(
        self,
        features: int,
        bounds: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
        config: ActorConfig,
        rng: torch.Generator,
    ) -> None:
        """One that sees nothing yet.

        Args:
            features: F.
            bounds: least and greatest action ``[A]``.
            config: its shape.
            rng: draws the initial weights.
        """
        super().__init__()
        self.config = config
        for name, bound in zip(("low", "high"), bounds, strict=True):
            given = torch.as_tensor(bound, dtype=torch.float32)
            self.register_buffer(name, given, persistent=False)
        self.network = MLP((features, *config.hidden, 2 * len(self.low)), rng, zero=True)

    def forward(self, features: Tensor) -> Gaussian:
        """The distribution of raw actions."""
        mean, spread = self.network(features).chunk(2, dim=-1)
        if self.config.squash == "tanh":
            wide = math.log(math.expm1(5.0))  # so that actions are nearly uniform at first
            return Gaussian(5.0 * torch.tanh(mean / 5.0), functional.softplus(spread + wide) + 1e-4)
        return Gaussian(torch.tanh(mean), 0.1 + 0.9 * torch.sigmoid(spread + 2.0))

    def sample(self, features: Tensor, rng: torch.Generator) -> Tensor:
        """Raw actions ``[..., A]`` by reparametrisation."""
        drawn: Gaussian = self(features)
        return drawn.sample(self._noise(drawn.mean.shape, rng))

    def bounded(self, raw: Tensor) -> Tensor:
        """The actions that raw ones stand for; gradients pass where they are cut off."""
        if self.config.squash == "tanh":
            within = raw.tanh()
        else:
            within = raw + (raw.clamp(-1.0, 1.0) - raw).detach()
        return torch.lerp(self.low, self.high, 0.5 * (within + 1.0))

    def explore(self, features: Tensor, rng: torch.Generator) -> Tensor:
        """Actions to do in reality while learning."""
        action = self.bounded(self.sample(features, rng))
        spread = 0.5 * self.config.exploration * (self.high - self.low)
        return (action + spread * self._noise(action.shape, rng)).clamp(self.low, self.high)

    def mode(self, features: Tensor) -> Tensor:
        """The bounded mean: how it acts when it does not explore."""
        return self.bounded(self(features).mode())

    def _noise(self, shape: torch.Size, rng: torch.Generator) -> Tensor:
        """Standard normal numbers, drawn on the CPU wherever the policy is."""
        return torch.randn(shape, generator=rng).to(self.low.device)
