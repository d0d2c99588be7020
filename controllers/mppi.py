"""MPPI: model predictive path integral control, information-theoretic (arXiv:1707.02342)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mpc_robot.controllers.base import Plan, Score
from mpc_robot.controllers.parameterization import ActionSpline
from mpc_robot.controllers.sampling import evaluate, later_plan, rest_plan
from mpc_robot.errors import require


@dataclass(frozen=True)
class MPPIConfig:
    """Settings of :class:`MPPI`; the method and its symbols are those of arXiv:1707.02342.

    Attributes:
        num_samples: K, candidates per iteration (paper: 1200 for AutoRally).
        iterations: updates per plan (paper: 1).
        temperature: lambda, in units of return. Higher weighs the candidates more evenly; it is to
            be set to the scale of the differences in return that matter (paper: by task).
        noise_std: standard deviation of the noise, one for all or one per action dimension,
            relative to half the action range; Sigma is the diagonal of its squares (paper: by
            task).
        std_rate: share by which the variance moves to the weighted variance of the candidates
            after each iteration, in [0, 1), so that it acts from the second on (paper: 0). The
            Sigma of the control cost stays, or the cost of acting would grow as noise shrinks.
    """

    num_samples: int = 1200
    iterations: int = 1
    temperature: float = 1.0
    noise_std: float | tuple[float, ...] = 0.5
    std_rate: float = 0.0

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        stds = self.noise_std if isinstance(self.noise_std, tuple) else (self.noise_std,)
        require(self.num_samples >= 1, "num_samples", "at least 1", self.num_samples)
        require(self.iterations >= 1, "iterations", "at least 1", self.iterations)
        require(0 < self.temperature < math.inf, "temperature", "positive", self.temperature)
        require(all(0 < s < math.inf for s in stds), "noise_std", "positive", self.noise_std)
        require(0 <= self.std_rate < 1, "std_rate", "in [0, 1)", self.std_rate)


class MPPI:
    """Perturb the plan, weigh the perturbations by exp(return / lambda), move to their mean."""

    def __init__(self, spline: ActionSpline, config: MPPIConfig | None = None) -> None:
        """Search over ``spline``.

        Raises:
            ValueError: if ``noise_std`` has neither one entry nor one per action dimension.
        """
        self.spline = spline
        self.config = config or MPPIConfig()
        std = torch.tensor(self.config.noise_std, dtype=torch.float32)
        fits = std.ndim == 0 or len(std) == spline.action_dim
        require(fits, "noise_std", f"1 or {spline.action_dim} entries", self.config.noise_std)
        self._noise_std = std * spline.half_range

    def initial(self) -> Plan:
        """Half way between the bounds."""
        return rest_plan(self.spline, self._noise_std)

    def shift(self, plan: Plan) -> Plan:
        """The plan one step later, with the configured noise."""
        return later_plan(self.spline, plan, self._noise_std)

    def optimize(self, score: Score, plan: Plan, rng: torch.Generator) -> Plan:
        """Move to the weighted mean of the candidates; without a finite score nothing moves."""
        cfg, mean, std, value = self.config, plan.knots, plan.std, -math.inf
        for _ in range(cfg.iterations):
            noise = std * torch.randn(cfg.num_samples, *mean.shape, generator=rng)
            knots = self.spline.clamp(mean + noise)
            scores = evaluate(score, self.spline, knots)
            if scores.max() == -math.inf:
                continue
            value = max(value, float(scores.max()))
            noise = knots - mean
            weights = path_integral_weights(scores, mean, noise, self._noise_std, cfg.temperature)
            step = torch.tensordot(weights, noise, dims=1)
            variance = torch.tensordot(weights, (noise - step).square(), dims=1)
            mean = self.spline.clamp(mean + step)
            std = torch.lerp(std.square(), variance, cfg.std_rate).sqrt()
        if value == -math.inf:
            return replace(plan, value=value)
        return replace(plan, actions=self.spline.decode(mean), knots=mean, std=std, value=value)


def path_integral_weights(
    scores: Tensor, mean: Tensor, noise: Tensor, std: Tensor, temperature: float
) -> Tensor:
    """Weights ``[N]`` of the candidates ``mean + noise[N, K, A]``, summing to one.

    w_n ~ exp(-(S_n + lambda sum_t u_t^T Sigma^-1 eps_n,t) / lambda) with the cost S = -score and
    Sigma = diag(std^2) (arXiv:1707.02342, algorithm 2, for a base distribution about zero action).
    """
    control_cost = torch.tensordot(noise, mean / std.square(), dims=2)
    return torch.softmax((scores - scores.max()) / temperature - control_cost, dim=0)
