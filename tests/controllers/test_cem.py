from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
import torch
from torch import Tensor

from mpc_robot.controllers import CEM, ActionSpline, CEMConfig


def candidates_of_one_iteration(mean: float, **options: Any) -> np.ndarray:
    seen: list[npt.NDArray[Any]] = []
    optimizer = CEM(ActionSpline(5, [-1.0], [1.0]), CEMConfig(num_samples=2000, **options))
    plan = optimizer.initial()
    shifted = torch.full_like(plan.knots, mean)
    plan = type(plan)(shifted, shifted, plan.std, plan.elites)

    def score(actions: Tensor) -> Tensor:
        if not seen:
            seen.append(actions.numpy())
        return -actions.square().sum((1, 2))

    optimizer.optimize(score, plan, torch.Generator().manual_seed(0))
    return seen[0].reshape(-1)


def test_samples_a_gaussian_truncated_at_two_standard_deviations() -> None:
    actions = candidates_of_one_iteration(0.0, initial_std=0.3)
    expected = scipy.stats.truncnorm(-2, 2, loc=0.0, scale=0.3)
    assert scipy.stats.kstest(actions, expected.cdf).pvalue > 0.01


def test_narrows_beside_a_bound_so_that_two_standard_deviations_stay_inside() -> None:
    actions = candidates_of_one_iteration(0.8, initial_std=0.5)
    expected = scipy.stats.truncnorm(-2, 2, loc=0.8, scale=0.1)
    assert scipy.stats.kstest(actions, expected.cdf).pvalue > 0.01


def test_keeps_searching_at_the_floor_even_on_a_bound() -> None:
    actions = candidates_of_one_iteration(1.0, min_std=0.05)
    below = actions[actions < 1.0]
    assert len(below) == pytest.approx(len(actions) / 2, rel=0.05)
    assert below.min() >= 1.0 - 2 * 0.05 - 1e-6


def test_refits_to_the_elites_with_momentum_on_mean_and_variance() -> None:
    alpha, elites, seen = 0.25, 7, []
    spline = ActionSpline(4, [-1.0, -2.0], [1.0, 2.0])
    config = CEMConfig(num_samples=50, num_elites=elites, iterations=1, alpha=alpha, min_std=0)
    optimizer = CEM(spline, config)

    def score(actions: Tensor) -> Tensor:
        seen.append((actions.double().numpy(), actions[:, 0, 0] - actions[:, 1, 1] ** 2))
        return seen[-1][1]

    plan = optimizer.optimize(score, optimizer.initial(), torch.Generator().manual_seed(0))
    actions, scores = seen[0]
    chosen = actions[np.argsort(-scores.numpy())[:elites]]
    old_std = np.array([0.5, 1.0])
    np.testing.assert_allclose(plan.knots, (1 - alpha) * chosen.mean(0), atol=1e-6)
    variance = alpha * old_std**2 + (1 - alpha) * chosen.var(0)
    np.testing.assert_allclose(plan.std, np.sqrt(variance), atol=1e-6)
    np.testing.assert_allclose(plan.actions, plan.knots)
