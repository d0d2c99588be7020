"""Gradient ascent on the plan, through a model that can be differentiated.

Adam (arXiv:1412.6980) on several plans side by side, each its own start: what back-propagation
through a learned model's rollouts needs in order not to end in the nearest local optimum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mpc_robot.controllers.base import Plan, Score
from mpc_robot.controllers.parameterization import ActionSpline
from mpc_robot.controllers.sampling import evaluate, later_plan, rest_plan
from mpc_robot.errors import require

FIRST_DECAY, SECOND_DECAY, TINY = 0.9, 0.999, 1e-8
"""Of Adam's moments, and what keeps its quotient finite (arXiv:1412.6980)."""


@dataclass(frozen=True)
class GradientConfig:
    """Settings of :class:`GradientAscent`.

    Attributes:
        num_samples: plans that climb side by side: what the last search ended with, and others
            drawn around it.
        iterations: steps of Adam per plan.
        learning_rate: first step of Adam, relative to half the action range; it falls linearly to
            0 (Adam: 0.001, for networks).
        max_gradient: a plan's gradient is scaled down to this norm, in return per half action
            range, so that one cliff does not rule Adam's moments.
        initial_std: spread of the starts, relative to half the action range.
    """

    num_samples: int = 8
    iterations: int = 20
    learning_rate: float = 0.2
    max_gradient: float = 10.0
    initial_std: float = 0.5

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require(self.num_samples >= 1, "num_samples", "at least 1", self.num_samples)
        require(self.iterations >= 1, "iterations", "at least 1", self.iterations)
        for name in ("learning_rate", "max_gradient", "initial_std"):
            require(0 < getattr(self, name) < math.inf, name, "positive", getattr(self, name))


class GradientAscent:
    """Climb the score by its gradient from several starts; the plan is the best candidate seen."""

    def __init__(self, spline: ActionSpline, config: GradientConfig | None = None) -> None:
        """Search over ``spline``."""
        self.spline = spline
        self.config = config or GradientConfig()
        self._initial_std = spline.half_range * self.config.initial_std

    def initial(self) -> Plan:
        """Half way between the bounds."""
        return rest_plan(self.spline, self._initial_std)

    def shift(self, plan: Plan) -> Plan:
        """The plan one step later, its last action held."""
        return later_plan(self.spline, plan, self._initial_std)

    @torch.enable_grad()
    def optimize(self, score: Score, plan: Plan, rng: torch.Generator) -> Plan:
        """Climb; a candidate whose score or gradient is not finite stays where it is.

        Raises:
            TypeError: if the score cannot be differentiated, as that of a simulator.
        """
        cfg, scale = self.config, self.spline.half_range
        noise = torch.randn(cfg.num_samples, *plan.knots.shape, generator=rng)
        noise[0] = 0.0
        knots = self.spline.clamp(plan.knots + plan.std * noise)
        first, second = torch.zeros_like(knots), torch.zeros_like(knots)
        winner, value = plan.knots, -math.inf
        for i in range(cfg.iterations + 1):
            scores = evaluate(score, self.spline, knots.requires_grad_())
            top = int(scores.argmax())
            if scores[top] > value:
                winner, value = knots[top].detach(), scores[top].item()
            if i == cfg.iterations or value == -math.inf:
                break
            gradient = self._gradient(scores, knots)
            first = torch.lerp(gradient, first, FIRST_DECAY)
            second = torch.lerp(gradient**2, second, SECOND_DECAY)
            mean = first / (1 - FIRST_DECAY ** (i + 1))
            size = (second / (1 - SECOND_DECAY ** (i + 1))).sqrt() + TINY
            rate = cfg.learning_rate * (1 - i / cfg.iterations)
            knots = self.spline.clamp(knots.detach() + rate * scale * mean / size)
        if value == -math.inf:
            return replace(plan, value=value)
        return replace(plan, actions=self.spline.decode(winner), knots=winner, value=value)

    def _gradient(self, scores: Tensor, knots: Tensor) -> Tensor:
        """Gradient of each plan's score by shares of half the range ``[N, K, A]``, clipped.

        0 for plans where it is not finite.
        """
        if not scores.requires_grad:
            raise TypeError(
                "score: expected one that can be differentiated by the actions, such as that of a "
                "learned ensemble, got one without gradient; search by sampling (icem, cem, mppi) "
                "or, in the simulator, use ILQR"
            )
        gradient = torch.autograd.grad(scores.sum(), knots)[0] * self.spline.half_range
        norm = gradient.flatten(1).norm(dim=1)[:, None, None]
        clipped = gradient * (self.config.max_gradient / norm.clamp_min(TINY)).clamp_max(1.0)
        return torch.where(norm.isfinite(), clipped, 0.0)
