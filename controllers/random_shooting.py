"""Random shooting: the best of uniformly random action sequences (arXiv:1708.02596)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from mpc_robot.controllers.base import Plan, Score
from mpc_robot.controllers.parameterization import ActionSpline
from mpc_robot.controllers.sampling import best, evaluate, later_plan, rest_plan
from mpc_robot.errors import require


@dataclass(frozen=True)
class RandomShootingConfig:
    """Settings of :class:`RandomShooting`; the default is that of arXiv:1708.02596.

    Attributes:
        num_samples: candidates (paper: 1000 half-cheetah, 5000 swimmer).
    """

    num_samples: int = 1000

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require(self.num_samples >= 1, "num_samples", "at least 1", self.num_samples)


class RandomShooting:
    """Draw knots uniformly within bounds, take the best; nothing is learned from earlier plans."""

    def __init__(self, spline: ActionSpline, config: RandomShootingConfig | None = None) -> None:
        """Search over ``spline``; the default config is the paper's."""
        self.spline = spline
        self.config = config or RandomShootingConfig()
        self._std = 2 * spline.half_range / math.sqrt(12.0)

    def initial(self) -> Plan:
        """Half way between the bounds."""
        return rest_plan(self.spline, self._std)

    def shift(self, plan: Plan) -> Plan:
        """The plan one step later: what remains if no candidate of the next search is finite."""
        return later_plan(self.spline, plan, self._std)

    def optimize(self, score: Score, plan: Plan, rng: torch.Generator) -> Plan:
        """The best of ``num_samples`` random candidates; ``plan`` if none has a finite score."""
        uniform = torch.rand(self.config.num_samples, *plan.knots.shape, generator=rng)
        knots = self.spline.clamp(self.spline.low + 2 * self.spline.half_range * uniform)
        winner, values = best(knots, evaluate(score, self.spline, knots), 1)
        if len(winner) == 0:
            return replace(plan, value=-math.inf)
        actions = self.spline.decode(winner[0])
        return replace(plan, actions=actions, knots=winner[0], value=float(values[0]))
