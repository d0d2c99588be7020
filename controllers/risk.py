"""What a plan is worth whose outcome is uncertain: one number for the returns of its particles.

Each is a function of whole trajectories' returns ``[N, P] -> [N]``, never of single steps': the
worst of the trajectories [10, 0] and [0, 10] is worth 10, though each step's worst is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mpc_robot.errors import require

Risk = Callable[[Tensor], Tensor]
"""Worth of N candidates from the returns of their P particles: ``[N, P] -> [N]``."""


def mean(returns: Tensor) -> Tensor:
    """The expected return."""
    return returns.mean(dim=1)


def worst(returns: Tensor) -> Tensor:
    """The least return of any particle; NaN if one is."""
    return returns.amin(dim=1)


@dataclass(frozen=True)
class CVaR:
    """Conditional value at risk: the mean of the worst share of the particles' returns.

    Attributes:
        alpha: that share, in (0, 1]; rounded up to whole particles. 1 is the mean.
    """

    alpha: float = 0.25

    def __post_init__(self) -> None:
        """Raises: ValueError: if the share is not in (0, 1]."""
        require(0 < self.alpha <= 1, "alpha", "in (0, 1]", self.alpha)

    def __call__(self, returns: Tensor) -> Tensor:
        """Mean of the ``ceil(alpha P)`` least returns; NaN if any return is."""
        num = math.ceil(self.alpha * returns.shape[1])
        least = returns.topk(num, dim=1, largest=False).values.mean(dim=1)
        return least.where(returns.isfinite().all(dim=1), math.nan)
