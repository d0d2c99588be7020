"""What the sampling optimizers share: scoring, picking the best, starting and shifting plans."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mpc_robot.controllers.base import Plan, Score, finite_or_worst
from mpc_robot.controllers.parameterization import ActionSpline


def evaluate(score: Score, spline: ActionSpline, knots: Tensor) -> Tensor:
    """Scores ``[N]`` of candidate ``knots[N, K, A]``; whatever is not finite counts as -inf.

    Raises:
        ValueError: if ``score`` does not answer with one number per candidate.
    """
    scores = score(spline.decode(knots)).to(knots.dtype)  # a simulator counts in float64
    if scores.shape != knots.shape[:1]:
        raise ValueError(f"score: expected shape ({len(knots)},), got {tuple(scores.shape)}")
    return finite_or_worst(scores)


def best(knots: Tensor, scores: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The ``num`` best candidates ``[E, K, A]`` and their scores ``[E]``, best first.

    E is less than ``num`` where fewer candidates have a finite score.
    """
    top = scores.topk(min(num, len(scores)))
    values = top.values[top.values > -torch.inf]
    return knots[top.indices[: len(values)]], values


def rest_plan(spline: ActionSpline, std: Tensor) -> Plan:
    """A plan that stays at rest, with ``std[A]`` at every knot."""
    knots = spline.rest.repeat(spline.knots, 1)
    none_yet = knots.new_empty(0, *knots.shape)
    return Plan(spline.decode(knots), knots, std.repeat(spline.knots, 1), none_yet)


def later_plan(spline: ActionSpline, plan: Plan, std: Tensor) -> Plan:
    """The plan one control step later, last action held, its spread back at ``std[A]``.

    The spread starts anew at every step, so nothing a search did to it can compound.
    """
    return replace(
        plan,
        actions=torch.cat([plan.actions[1:], plan.actions[-1:]]),
        knots=spline.shift(plan.knots),
        std=std.expand_as(plan.knots),
        elites=spline.shift(plan.elites) if len(plan.elites) > 0 else plan.elites,
        value=-torch.inf,
    )
