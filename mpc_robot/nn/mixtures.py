"""Mixtures of Gaussians, as a mixture density network says them (Bishop 1994)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """Independent numbers, each drawn from a mixture of K Gaussians of its own.

    Attributes:
        logits: of the Gaussians' weights ``[..., Z, K]``.
        mean: ``[..., Z, K]``.
        log_std: ``[..., Z, K]``.
    """

    logits: Tensor
    mean: Tensor
    log_std: Tensor

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-likelihood of ``value [..., Z]``, nats, summed over the Z numbers ``[...]``."""
        distance = (value[..., None] - self.mean) * torch.exp(-self.log_std)
        each = -0.5 * distance**2 - self.log_std - 0.5 * math.log(2.0 * math.pi)
        return torch.logsumexp(self.logits.log_softmax(dim=-1) + each, dim=-1).sum(dim=-1)

    def sample(self, uniform: Tensor, normal: Tensor, temperature: float = 1.0) -> Tensor:
        """Numbers ``[..., Z]`` by noise of the same shape, uniform in [0, 1) and standard normal.

        ``temperature`` divides the logits and multiplies the variances (arXiv:1803.10122,
        section 4): towards 0 only the likeliest mean is left, above 1 all is less certain.
        """
        weights = (self.logits / temperature).softmax(dim=-1)
        passed = weights.cumsum(dim=-1)[..., :-1] <= uniform[..., None]
        chosen = passed.sum(dim=-1, keepdim=True)
        mean, log_std = (part.gather(-1, chosen)[..., 0] for part in (self.mean, self.log_std))
        return mean + math.sqrt(temperature) * torch.exp(log_std) * normal
