"""How far apart returns lie, so that a policy's gradient does not depend on their unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ReturnScale(nn.Module):
    """The range of most returns, as a moving average (arXiv:2301.04104v2, eq. 7).

    ``S = max(1, P95 - P5)``: returns are scaled down but never up, so that noise of returns that
    are all alike stays small.
    """

    ends: Tensor
    shares: Tensor

    def __init__(self, low: float = 0.05, high: float = 0.95, rate: float = 0.01) -> None:
        """Of the range between the percentiles ``low`` and ``high``, that follows at ``rate``."""
        super().__init__()
        self.rate = rate
        self.register_buffer("ends", torch.zeros(2))
        self.register_buffer("shares", torch.tensor([low, high]), persistent=False)

    @torch.no_grad()
    def follow(self, returns: Tensor) -> Tensor:
        """The scale ``[]`` after returns of any shape."""
        ends = returns.flatten().quantile(self.shares)
        if ends.isfinite().all():
            self.ends.lerp_(ends, self.rate)
        scale: Tensor = (self.ends[1] - self.ends[0]).clamp(min=1.0)
        return scale
