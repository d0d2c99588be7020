from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.controllers import MPPI, ActionSpline, MPPIConfig, Plan
from mpc_robot.controllers.mppi import path_integral_weights

if TYPE_CHECKING:
    from tests.controllers.conftest import LinearQuadratic, Recorder

FAR = ActionSpline(3, [-10.0, -10.0], [10.0, 10.0])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def plan_at(optimizer: MPPI, action: list[float]) -> Plan:
    plan = optimizer.initial()
    knots = torch.tensor(action).expand_as(plan.knots).contiguous()
    return dataclasses.replace(plan, knots=knots, actions=optimizer.spline.decode(knots))


def test_weights_by_hand() -> None:
    rng = np.random.default_rng(0)
    returns, mean = np.array([-3.0, -1.0, -2.5, -np.inf]), rng.normal(size=(2, 2))
    noise, std, temperature = rng.normal(size=(4, 2, 2)), np.array([0.5, 2.0]), 0.7
    sigma = np.diag(std**2)
    exponents = [
        ret / temperature
        - sum(u @ np.linalg.inv(sigma) @ e for u, e in zip(mean, eps, strict=True))
        for ret, eps in zip(returns, noise, strict=True)
    ]
    unnormalised = np.exp(np.array(exponents))
    weights = path_integral_weights(
        torch.tensor(returns),
        torch.tensor(mean),
        torch.tensor(noise),
        torch.tensor(std),
        temperature,
    )
    np.testing.assert_allclose(weights, unnormalised / unnormalised.sum(), atol=1e-12)
    assert weights[3] == 0


def test_weights_survive_returns_far_beyond_what_exp_can_hold() -> None:
    returns = torch.tensor([-1e30, -2e30, 0.0])
    zeros = torch.zeros(3, 2, 1)
    weights = path_integral_weights(returns, zeros[0], zeros, torch.ones(1), 1e-9)
    assert weights.tolist() == [0.0, 0.0, 1.0]


def test_linear_returns_lead_to_sigma_times_slope_over_lambda() -> None:
    """Tilting N(u, S) by exp(c v / lambda - u S^-1 (v - u)) gives the mean S c / lambda."""
    slope, std, temperature = np.array([0.6, -0.2]), np.array([1.0, 0.5]), 0.8
    config = MPPIConfig(300_000, temperature=temperature, noise_std=tuple(std / 10.0))
    optimizer = MPPI(FAR, config)
    plan = optimizer.optimize(
        lambda actions: (actions @ torch.tensor(slope, dtype=torch.float32)).sum(1),
        plan_at(optimizer, [0.3, -0.2]),
        seeded(),
    )
    expected = np.broadcast_to(std**2 * slope / temperature, (3, 2))
    np.testing.assert_allclose(plan.knots, expected, atol=0.03)


def test_spread_adapts_to_the_posterior_variance() -> None:
    """For returns -q v^2 / 2 the tilted Gaussian has precision 1 / std^2 + q / lambda, mean 0."""
    curvature, std, temperature, rate = 3.0, 0.8, 1.5, 0.4
    optimizer = MPPI(FAR, MPPIConfig(200_000, 1, temperature, std / 10, std_rate=rate))
    plan = optimizer.optimize(
        lambda actions: -curvature / 2 * actions.square().sum((1, 2)),
        plan_at(optimizer, [0.4, 0.4]),
        seeded(),
    )
    posterior = 1 / (1 / std**2 + curvature / temperature)
    expected = math.sqrt((1 - rate) * std**2 + rate * posterior)
    np.testing.assert_allclose(plan.knots, 0.0, atol=0.03)
    np.testing.assert_allclose(plan.std, expected, rtol=0.02)


@pytest.mark.parametrize("std_rate", [0.0, 0.3])
def test_settles_on_the_riccati_solution_with_the_price_of_information(
    std_rate: float, lq: LinearQuadratic
) -> None:
    """KL to the base distribution costs lambda / 2 u' Sigma^-1 u: LQR with that much more R."""
    temperature, std, horizon = 0.05, 0.5, 6
    config = MPPIConfig(4000, 40, temperature, std / 5, std_rate)
    optimizer = MPPI(ActionSpline(horizon, [-5.0], [5.0]), config)
    plan = optimizer.optimize(lq.score, optimizer.initial(), seeded())
    priced = dataclasses.replace(lq, r=lq.r + temperature / (2 * std**2))
    expected = priced.optimal_actions(horizon)
    np.testing.assert_allclose(plan.actions, expected, atol=0.06)
    assert np.abs(expected - lq.optimal_actions(horizon)).max() > 0.5


@pytest.mark.parametrize("std", [(0.1, 0.3), (0.02, 0.02)])
def test_candidates_have_the_standard_deviation_of_the_config(std: tuple[float, float]) -> None:
    seen = []

    def score(actions: Tensor) -> Tensor:
        seen.append(actions)
        return torch.zeros(len(actions))

    optimizer = MPPI(FAR, MPPIConfig(20_000, noise_std=std))
    optimizer.optimize(score, optimizer.initial(), seeded())
    np.testing.assert_allclose(seen[0].std((0, 1)), 10 * np.array(std), rtol=0.03)


def test_higher_temperature_weighs_candidates_more_evenly() -> None:
    def moved(temperature: float) -> float:
        optimizer = MPPI(FAR, MPPIConfig(2000, temperature=temperature))
        plan = optimizer.optimize(lambda a: a.sum((1, 2)), optimizer.initial(), seeded())
        return float(plan.knots.mean())

    distances = [moved(temperature) for temperature in (0.1, 10.0, 100.0, 1e6)]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 1.0
    assert abs(distances[-1]) < 0.1


def test_noise_per_dimension_must_fit_the_actions() -> None:
    with pytest.raises(ValueError, match="noise_std: expected 1 or 2 entries"):
        MPPI(FAR, MPPIConfig(noise_std=(0.1, 0.2, 0.3)))


def test_beside_a_bound_the_plan_is_still_the_weighted_mean_of_the_candidates(
    recorder: Recorder,
) -> None:
    optimizer = MPPI(ActionSpline(2, [-1.0], [0.2]), MPPIConfig(400, noise_std=0.8))
    plan = optimizer.optimize(recorder, plan_at(optimizer, [0.1]), seeded())
    candidates, scores = recorder.candidates[0].double().numpy(), recorder.scores[0].double()
    variance = (0.8 * 0.6) ** 2
    exponents = scores.numpy() - (0.1 * (candidates - 0.1) / variance).sum((1, 2))
    weights = np.exp(exponents) / np.exp(exponents).sum()
    np.testing.assert_allclose(plan.knots, np.einsum("n,nka->ka", weights, candidates), atol=1e-5)
