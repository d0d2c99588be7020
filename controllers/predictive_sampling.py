"""Predictive sampling, the baseline of MuJoCo MPC (arXiv:2212.00541)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from mpc_robot.controllers.base import Plan, Score
from mpc_robot.controllers.parameterization import ActionSpline
from mpc_robot.controllers.sampling import best, evaluate, later_plan, rest_plan
from mpc_robot.errors import require


@dataclass(frozen=True)
class PredictiveSamplingConfig:
    """Settings of :class:`PredictiveSampling`; defaults are those of MuJoCo MPC (arXiv:2212.00541).

    Attributes:
        num_samples: candidates, one of which is the nominal plan itself (MuJoCo MPC: 10).
        noise_std: standard deviation of the noise on the other knots, relative to half the action
            range (MuJoCo MPC: 0.1).
    """

    num_samples: int = 10
    noise_std: float = 0.1

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require(self.num_samples >= 2, "num_samples", "at least 2", self.num_samples)
        require(0 < self.noise_std < math.inf, "noise_std", "positive", self.noise_std)


class PredictiveSampling:
    """Perturb the nominal spline, take the best candidate; the nominal plan is one of them."""

    def __init__(
        self, spline: ActionSpline, config: PredictiveSamplingConfig | None = None
    ) -> None:
        """Search over ``spline``, of few knots in the paper."""
        self.spline = spline
        self.config = config or PredictiveSamplingConfig()
        self._noise_std = spline.half_range * self.config.noise_std

    def initial(self) -> Plan:
        """Half way between the bounds."""
        return rest_plan(self.spline, self._noise_std)

    def shift(self, plan: Plan) -> Plan:
        """The nominal plan one step later."""
        return later_plan(self.spline, plan, self._noise_std)

    def optimize(self, score: Score, plan: Plan, rng: torch.Generator) -> Plan:
        """One round of noise; the nominal plan stays if nothing beats it."""
        noise = torch.randn(self.config.num_samples - 1, *plan.knots.shape, generator=rng)
        perturbed = self.spline.clamp(plan.knots + plan.std * noise)
        knots = torch.cat([plan.knots[None], perturbed])
        winner, values = best(knots, evaluate(score, self.spline, knots), 1)
        if len(winner) == 0:
            return replace(plan, value=-math.inf)
        actions = self.spline.decode(winner[0])
        return replace(plan, actions=actions, knots=winner[0], value=float(values[0]))
