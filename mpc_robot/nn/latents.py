"""Random latents of world models: diagonal Gaussians, and categoricals with straight-through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from mpc_robot.errors import require


class Latent(Protocol):
    """A distribution of latents ``[..., S]``."""

    def sample(self, noise: Tensor) -> Tensor:
        """Latents ``[..., S]`` through which gradients flow, by noise of the kind of its config."""
        ...

    def mode(self) -> Tensor:
        """The likeliest latents ``[..., S]``."""
        ...

    def detach(self) -> Latent:
        """The same distribution, through which no gradient flows."""
        ...

    def kl(self, other: Any) -> Tensor:
        """Divergence ``KL(self || other)``, nats, summed over latents ``[...]``."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussians.

    Attributes:
        mean: ``[..., S]``.
        std: ``[..., S]``.
    """

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """By reparametrisation, with standard normal noise ``[..., S]``."""
        return self.mean + self.std * noise

    def mode(self) -> Tensor:
        """The mean."""
        return self.mean

    def detach(self) -> Gaussian:
        """Without gradients."""
        return Gaussian(self.mean.detach(), self.std.detach())

    def kl(self, other: Gaussian) -> Tensor:
        """In closed form."""
        ratio = self.std / other.std
        distance = (self.mean - other.mean) / other.std
        return (0.5 * (ratio**2 + distance**2 - 1.0) - ratio.log()).sum(dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density ``[...]`` of ``value [..., S]``, nats."""
        distance = (value - self.mean) / self.std
        return -(0.5 * (distance**2 + math.log(2.0 * math.pi)) + self.std.log()).sum(dim=-1)

    def entropy(self) -> Tensor:
        """Differential entropy ``[...]``, nats."""
        return (0.5 * math.log(2.0 * math.pi * math.e) + self.std.log()).sum(dim=-1)


@dataclass(frozen=True)
class Categorical:
    """Independent categorical variables, sampled as one-hot vectors.

    Attributes:
        log_probs: ``[..., V, C]``.
    """

    log_probs: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """One-hot ``[..., V * C]`` by Gumbel noise ``[..., V, C]``.

        Gradients are those of the probabilities (straight-through, arXiv:2010.02193, algorithm 1).
        """
        probs = self.log_probs.exp()
        drawn = _one_hot(self.log_probs.detach() + noise)
        return (drawn + (probs - probs.detach())).flatten(-2)

    def mode(self) -> Tensor:
        """One-hot vectors of the likeliest classes."""
        return _one_hot(self.log_probs).flatten(-2)

    def detach(self) -> Categorical:
        """Without gradients."""
        return Categorical(self.log_probs.detach())

    def kl(self, other: Categorical) -> Tensor:
        """By summing over classes."""
        return (self.log_probs.exp() * (self.log_probs - other.log_probs)).sum(dim=(-2, -1))


def _one_hot(scores: Tensor) -> Tensor:
    """1 where the greatest of each row is, else 0."""
    return torch.zeros_like(scores).scatter_(-1, scores.argmax(dim=-1, keepdim=True), 1.0)


@dataclass(frozen=True)
class GaussianConfig:
    """Gaussian latents (Dreamer v1, arXiv:1912.01603; PlaNet, arXiv:1811.04551).

    Attributes:
        size: latents, S [30].
        min_std: least standard deviation [0.1].
    """

    size: int = 30
    min_std: float = 0.1

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require(self.size >= 1, "size", "at least 1", self.size)
        require(0.0 < self.min_std < torch.inf, "min_std", "positive", self.min_std)

    @property
    def outputs(self) -> int:
        """Numbers that a network must give for a distribution."""
        return 2 * self.size

    def distribution(self, raw: Tensor) -> Gaussian:
        """The distribution that ``raw [..., outputs]`` stands for."""
        mean, spread = raw.chunk(2, dim=-1)
        return Gaussian(mean, functional.softplus(spread) + self.min_std)

    def noise(self, rows: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """Standard normal numbers ``[*rows, S]``."""
        return torch.randn(*rows, self.size, generator=rng)


@dataclass(frozen=True)
class CategoricalConfig:
    """Categorical latents (Dreamer v2, arXiv:2010.02193; v3, arXiv:2301.04104).

    Attributes:
        variables: V [32].
        classes: of each variable, C [32].
        unimix: share of a uniform distribution in every distribution [v3: 0.01; v2: 0].
    """

    variables: int = 32
    classes: int = 32
    unimix: float = 0.01

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require(self.variables >= 1, "variables", "at least 1", self.variables)
        require(self.classes >= 2, "classes", "at least 2", self.classes)
        require(0.0 <= self.unimix < 1.0, "unimix", "in [0, 1)", self.unimix)

    @property
    def size(self) -> int:
        """Latents, S = V C."""
        return self.variables * self.classes

    @property
    def outputs(self) -> int:
        """Numbers that a network must give for a distribution."""
        return self.size

    def distribution(self, raw: Tensor) -> Categorical:
        """The distribution that ``raw [..., outputs]`` stands for."""
        log_probs = raw.unflatten(-1, (self.variables, self.classes)).log_softmax(dim=-1)
        if self.unimix > 0.0:
            even = self.unimix / self.classes
            log_probs = torch.log((1.0 - self.unimix) * log_probs.exp() + even)
        return Categorical(log_probs)

    def noise(self, rows: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """Standard Gumbel numbers ``[*rows, V, C]``."""
        uniform = torch.rand(*rows, self.variables, self.classes, generator=rng)
        return -torch.log(-torch.log(uniform.clamp(min=1e-20)))


LatentConfig = GaussianConfig | CategoricalConfig
