"""Networks that say one number of each row of features, and how wrong they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mpc_robot.nn.layers import MLP
from mpc_robot.nn.symlog import TwoHot


class TwoHotHead(nn.Module):
    """Numbers of any size, as probabilities of bins (arXiv:2301.04104); says 0 at first."""

    def __init__(self, features: int, hidden: tuple[int, ...], rng: torch.Generator) -> None:
        """``hidden``: width of each hidden layer."""
        super().__init__()
        self.bins = TwoHot()
        self.network = MLP((features, *hidden, len(self.bins.values)), rng, zero=True)

    def forward(self, features: Tensor) -> Tensor:
        """The number ``[...]`` for features ``[..., F]``."""
        return self.bins.mean(self.network(features))

    def loss(self, features: Tensor, *targets: Tensor) -> Tensor:
        """Cross entropy ``[...]``, nats, summed over targets ``[...]``."""
        logits = self.network(features)
        return torch.stack([self.bins.loss(logits, target) for target in targets]).sum(dim=0)


class GaussianHead(nn.Module):
    """The mean of a Gaussian of unit variance (arXiv:1912.01603); says 0 at first."""

    def __init__(self, features: int, hidden: tuple[int, ...], rng: torch.Generator) -> None:
        """``hidden``: width of each hidden layer."""
        super().__init__()
        self.network = MLP((features, *hidden, 1), rng, zero=True)

    def forward(self, features: Tensor) -> Tensor:
        """The mean ``[...]`` for features ``[..., F]``."""
        mean: Tensor = self.network(features)[..., 0]
        return mean

    def loss(self, features: Tensor, *targets: Tensor) -> Tensor:
        """Negative log-likelihood ``[...]`` but for its constant, nats, summed over targets."""
        mean = self.forward(features)
        return torch.stack([0.5 * (mean - target) ** 2 for target in targets]).sum(dim=0)


class ContinueHead(nn.Module):
    """The probability that an episode goes on; says 0.5 at first."""

    def __init__(self, features: int, hidden: tuple[int, ...], rng: torch.Generator) -> None:
        """``hidden``: width of each hidden layer."""
        super().__init__()
        self.network = MLP((features, *hidden, 1), rng, zero=True)

    def forward(self, features: Tensor) -> Tensor:
        """The probability ``[...]`` for features ``[..., F]``."""
        return torch.sigmoid(self.network(features)[..., 0])

    def loss(self, features: Tensor, goes_on: Tensor) -> Tensor:
        """Cross entropy ``[...]``, nats."""
        logits: Tensor = self.network(features)[..., 0]
        return functional.binary_cross_entropy_with_logits(logits, goes_on, reduction="none")
