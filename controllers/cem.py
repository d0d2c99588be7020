"""Cross-entropy method, as in PETS (arXiv:1805.12114)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mpc_robot.controllers.base import Plan, Score
from mpc_robot.controllers.parameterization import ActionSpline
from mpc_robot.controllers.sampling import best, evaluate, later_plan, rest_plan
from mpc_robot.errors import require


@dataclass(frozen=True)
class CEMConfig:
    """Settings of :class:`CEM`; defaults are those of PETS on cart-pole (arXiv:1805.12114).

    Attributes:
        num_samples: candidates per iteration (PETS: 400 cart-pole, 500 half-cheetah).
        num_elites: candidates that the distribution is refitted to (PETS: 40, 50).
        iterations: refits per plan (PETS: 5).
        alpha: share of the old mean and variance that a refit keeps, in [0, 1) (PETS: 0.1).
        initial_std: standard deviation that every search starts with, relative to half the action
            range (PETS: a variance of range^2 / 16, which is 0.5).
        min_std: floor of the standard deviation, relative to half the action range (PETS stops at
            a variance of 0.001 instead, which is 0.03).
    """

    num_samples: int = 400
    num_elites: int = 40
    iterations: int = 5
    alpha: float = 0.1
    initial_std: float = 0.5
    min_std: float = 0.03

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        n = self.num_samples
        require(1 <= self.num_elites <= n, "num_elites", f"1 to {n}", self.num_elites)
        require(self.iterations >= 1, "iterations", "at least 1", self.iterations)
        require(0 <= self.alpha < 1, "alpha", "in [0, 1)", self.alpha)
        require(0 < self.initial_std < math.inf, "initial_std", "positive", self.initial_std)
        require(0 <= self.min_std < math.inf, "min_std", "not negative", self.min_std)


class CEM:
    """Draw from a truncated Gaussian, refit it to the elites, repeat; the plan is the mean."""

    def __init__(self, spline: ActionSpline, config: CEMConfig | None = None) -> None:
        """Search over ``spline``; the default config is the paper's."""
        self.spline = spline
        self.config = config or CEMConfig()
        self._initial_std = spline.half_range * self.config.initial_std
        self._min_std = spline.half_range * self.config.min_std

    def initial(self) -> Plan:
        """Half way between the bounds."""
        return rest_plan(self.spline, self._initial_std)

    def shift(self, plan: Plan) -> Plan:
        """The mean one step later; the variance starts anew, as in PETS."""
        return later_plan(self.spline, plan, self._initial_std)

    def optimize(self, score: Score, plan: Plan, rng: torch.Generator) -> Plan:
        """Refit ``iterations`` times; an iteration without a finite score changes nothing."""
        cfg, mean, var, value = self.config, plan.knots, plan.std.square(), -math.inf
        for _ in range(cfg.iterations):
            knots = self._sample(mean, var.sqrt(), rng)
            elites, values = best(knots, evaluate(score, self.spline, knots), cfg.num_elites)
            if len(elites) == 0:
                continue
            value = max(value, float(values[0]))
            fit = elites.mean(0)
            mean = torch.lerp(fit, mean, cfg.alpha)
            var = torch.lerp((elites - fit).square().mean(0), var, cfg.alpha)
        if value == -math.inf:
            return replace(plan, value=value)
        return replace(
            plan,
            actions=self.spline.decode(mean),
            knots=mean,
            std=torch.maximum(var.sqrt(), self._min_std),
            value=value,
        )

    def _sample(self, mean: Tensor, std: Tensor, rng: torch.Generator) -> Tensor:
        """Candidates ``[N, K, A]`` within two standard deviations, narrower beside a bound."""
        to_bound = torch.minimum(mean - self.spline.low, self.spline.high - mean)
        std = torch.maximum(torch.minimum(std, to_bound / 2), self._min_std)
        noise = truncated_normal((self.config.num_samples, *mean.shape), rng)
        return self.spline.clamp(mean + std * noise)


def truncated_normal(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Standard normal noise conditioned on [-2, 2], by inversion."""
    inside = math.erf(math.sqrt(2.0))
    uniform = torch.empty(shape).uniform_(-inside, inside, generator=rng)
    return math.sqrt(2.0) * torch.erfinv(uniform)
