"""A stochastic policy over bounded actions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mpc_robot.nn.ensemble_mlp import EnsembleMLP

LOG_STD = (-5.0, 2.0)
"""Bounds of the logarithm of the standard deviation."""


class SquashedGaussian(nn.Module):
    """A diagonal Gaussian squashed by tanh (SAC, arXiv:1801.01290, appendix C), then scaled.

    Log-probabilities are those of the squashed action in ``[-1, 1]``, before it is scaled to the
    bounds: so an entropy of ``-A`` means the same for every robot.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        features: int,
        bounds: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
        hidden: tuple[int, ...],
        rng: torch.Generator,
        activation: Callable[[Tensor], Tensor] = functional.silu,
    ) -> None:
        """Initial weights are drawn from ``rng``.

        Args:
            features: F, entries of what it sees.
            bounds: least and greatest action ``[A]``.
            hidden: width of each hidden layer.
            rng: draws the initial weights.
            activation: between layers.
        """
        super().__init__()
        low, high = (torch.as_tensor(bound, dtype=torch.float32) for bound in bounds)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)
        sizes = [features, *hidden, 2 * len(low)]
        self.network = EnsembleMLP(1, sizes, rng, activation=activation)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before squashing, both ``[B, A]``, of ``seen [B, F]``."""
        raw = self.network(seen[None])[0]
        mean, spread = raw.chunk(2, dim=-1)
        least, most = LOG_STD
        return mean, 0.5 * (least + most) + 0.5 * (most - least) * spread.tanh()

    def sample(self, seen: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """An action ``[B, A]`` by reparametrisation, and its log-probability ``[B]``."""
        mean, log_std = self(seen)
        noise = torch.randn(mean.shape, generator=rng)
        raw = mean + log_std.exp() * noise
        log_normal = -0.5 * noise**2 - 0.5 * math.log(2.0 * math.pi) - log_std
        log_slope = 2.0 * (math.log(2.0) - raw - functional.softplus(-2.0 * raw))
        return self._scaled(raw.tanh()), (log_normal - log_slope).sum(dim=-1)

    def mode(self, seen: Tensor) -> Tensor:
        """The squashed mean ``[B, A]``: how it acts when it does not explore."""
        return self._scaled(self(seen)[0].tanh())

    def _scaled(self, squashed: Tensor) -> Tensor:
        """From ``[-1, 1]`` to the bounds."""
        return torch.lerp(self.low, self.high, 0.5 * (squashed + 1.0))
