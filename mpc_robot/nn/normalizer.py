"""Scale data to zero mean and unit variance with statistics that are part of the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalizer(nn.Module):
    """Per-entry affine scaling ``(x - mean) / std``; the identity until fitted."""

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        """``dim``: entries of the vectors it scales."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, data: Tensor, unvarying: float = 1.0) -> None:
        """Take the statistics of ``data[n, dim]``.

        An entry that never varies has the standard deviation ``unvarying``: it is only centred.
        Statistics that are not finite are not taken.
        """
        std, mean = torch.std_mean(data.double(), dim=0, correction=0)
        constant = std <= 1e-8 * (1.0 + mean.abs())
        if std.isfinite().all():
            self.mean.copy_(mean)
            self.std.copy_(torch.where(constant, unvarying, std))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled ``x[..., dim]``."""
        return (x - self.mean) / self.std

    def inverse(self, scaled: Tensor) -> Tensor:
        """What was scaled to ``scaled[..., dim]``."""
        return scaled * self.std + self.mean
