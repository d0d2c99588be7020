"""Gradient ascent against closed forms, LQR through a learned ensemble, and sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.controllers import CEM, MPC, ActionSpline, CEMConfig, GradientAscent, GradientConfig
from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.dynamics.ensemble_fit import FitConfig, fit
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import EnvSpec, Task, env_spec, get_task, make_env, physics_state
from mpc_robot.envs.rewards import never

torch.set_num_threads(1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_reaches_the_optimum_of_a_quadratic_within_bounds() -> None:
    """Of a diagonal quadratic it is the optimum without bounds, clipped."""
    target = torch.tensor([[0.5, -3.0], [2.0, 0.1], [-0.2, 1.0]])
    weight = torch.tensor([[1.0, 10.0], [0.3, 4.0], [2.0, 0.5]])
    spline = ActionSpline(3, [-1.0, -2.0], [1.0, 0.5])

    def score(actions: Tensor) -> Tensor:
        return 4.0 - (weight * (actions - target).square()).sum((1, 2))

    search = GradientAscent(spline, GradientConfig(iterations=200))
    plan = search.optimize(score, search.initial(), seeded())
    optimum = target.clamp(spline.low, spline.high)
    torch.testing.assert_close(plan.actions, optimum, atol=5e-3, rtol=0)
    assert plan.value == pytest.approx(score(optimum[None]).item(), abs=1e-3)


def test_several_starts_find_the_higher_of_two_hills() -> None:
    """The middle is in the basin of the hill at -0.5, of height 1; that at 0.8 is of height 2."""

    def score(actions: Tensor) -> Tensor:
        x = actions[:, 0, 0]
        return torch.exp(-(((x + 0.5) / 0.4) ** 2)) + 2 * torch.exp(-(((x - 0.8) / 0.1) ** 2))

    spline = ActionSpline(1, [-1.0], [1.0])
    alone, many = (
        GradientAscent(spline, GradientConfig(num_samples=n, learning_rate=0.05)) for n in (1, 32)
    )
    assert alone.optimize(score, alone.initial(), seeded()).value == pytest.approx(1.0, abs=0.01)
    assert many.optimize(score, many.initial(), seeded()).value == pytest.approx(2.0, abs=0.01)


def test_one_start_is_the_plan_itself_and_the_best_seen_is_kept() -> None:
    """At the top already, every step leads away."""
    spline = ActionSpline(4, [-1.0], [1.0])
    search = GradientAscent(spline, GradientConfig(num_samples=1, learning_rate=0.5))

    def score(actions: Tensor) -> Tensor:
        return -((actions - 0.25).abs().sum((1, 2)))

    start = search.initial()
    start = type(start)(start.actions + 0.25, start.knots + 0.25, start.std, start.elites)
    plan = search.optimize(score, start, seeded())
    torch.testing.assert_close(plan.actions, start.actions)
    assert plan.value == 0.0


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    """The root has an infinite slope at 0, where the first start is, and none below."""

    def score(actions: Tensor) -> Tensor:
        return actions[:, 0, 0].sqrt()

    spline = ActionSpline(1, [-1.0], [1.0])
    search = GradientAscent(spline, GradientConfig(num_samples=1))
    plan = search.optimize(score, search.initial(), seeded())
    assert plan.value == 0.0
    assert plan.actions.item() == 0.0
    many = GradientAscent(spline, GradientConfig(num_samples=8))
    assert many.optimize(score, many.initial(), seeded()).value == pytest.approx(1.0)


def test_beats_cem_at_equal_model_calls() -> None:
    """A backward pass counts as two forward ones; the problem has 40 smooth dimensions."""

    def score(actions: Tensor) -> Tensor:
        x = torch.zeros(len(actions))
        total = torch.zeros(len(actions))
        for k, u in enumerate(actions.unbind(1)):
            x = x + 0.3 * torch.tanh(u).sum(1) - 0.1 * torch.sin(x)
            total = total - (x - math.sin(k / 3)) ** 2 - 0.01 * u.square().sum(1)
        return total

    spline = ActionSpline(20, [-2.0, -2.0], [2.0, 2.0])
    climb = GradientAscent(spline, GradientConfig(num_samples=4, iterations=50))
    calls = 4 * 50 * 3 + 4
    sample = CEM(spline, CEMConfig(num_samples=calls // 5, num_elites=calls // 50, iterations=5))
    for seed in range(5):
        climbed = climb.optimize(score, climb.initial(), seeded(seed))
        sampled = sample.optimize(score, sample.initial(), seeded(seed))
        assert score(climbed.actions[None]) > score(sampled.actions[None]) + 0.1


def test_a_score_without_gradient_is_refused_with_what_to_use_instead() -> None:
    task = get_task("CartpoleBalance-v0")
    env = make_env(task)
    spec = env_spec(env)
    env.reset(seed=0)
    search = GradientAscent(ActionSpline(5, spec.action_low, spec.action_high))
    planner = MPC(Simulator(task, threads=1), search)
    with pytest.raises(TypeError, match=r"score: expected .* differentiated .* use ILQR"):
        planner.act(physics_state(env))


# Through an ensemble that learned x' = A x + B u.

A = np.array([[1.0, 0.2], [0.0, 1.0]])
B = np.array([[0.02], [0.2]])
SPEC = EnvSpec(2, np.array([-2.0]), np.array([2.0]), 0.2, None)


def cost(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    return -(next_obs[..., 0] ** 2 + 0.1 * next_obs[..., 1] ** 2 + 0.2 * action[..., 0] ** 2)


@pytest.fixture(scope="module")
def ensemble() -> ProbabilisticEnsemble:
    rng = np.random.default_rng(0)
    x, u = rng.uniform(-1.5, 1.5, (2000, 2)), rng.uniform(-2, 2, (2000, 1))
    nothing, never_ends = np.zeros(2000), np.zeros(2000, dtype=bool)
    data = Experience(x, u, nothing, x @ A.T + u @ B.T, never_ends, never_ends)
    config = EnsembleConfig(
        members=2, elites=2, hidden=32, layers=2, particles=2, propagation="mean"
    )
    model = ProbabilisticEnsemble(
        Task("lq", "none", reward=cost, terminated=never), SPEC, config, seeded()
    )
    fit(model, data, FitConfig(), seeded())
    return model


def riccati_gain(horizon: int) -> np.ndarray:
    q, r = np.diag([1.0, 0.1]), np.array([[0.2]])
    p = q
    for _ in range(horizon):
        gain = np.linalg.solve(r + B.T @ p @ B, B.T @ p @ A)
        p = q + A.T @ p @ (A - B @ gain)
    return gain


@pytest.mark.parametrize("x", [(1.0, 0.0), (-0.5, 0.8), (0.3, -1.0)])
def test_through_a_learned_linear_system_it_acts_as_lqr(
    ensemble: ProbabilisticEnsemble, x: tuple[float, float]
) -> None:
    search = GradientAscent(ActionSpline(10, [-2.0], [2.0]), GradientConfig(iterations=100))
    action = MPC(ensemble, search).act(np.array(x))
    np.testing.assert_allclose(action, -riccati_gain(10) @ x, atol=0.05)


def test_the_gradient_is_that_of_the_return_by_differences(
    ensemble: ProbabilisticEnsemble,
) -> None:
    actions = (0.3 * torch.randn(1, 5, 1, generator=seeded())).requires_grad_()
    start = ensemble.start(np.array([0.4, -0.2]), 1)

    def returns(actions: Tensor) -> Tensor:
        return ensemble.rollout(start, actions, seeded(7)).returns().mean()

    (slope,) = torch.autograd.grad(returns(actions), actions)
    with torch.no_grad():
        for k in range(5):
            nudge = torch.zeros_like(actions)
            nudge[0, k] = 0.01
            difference = (returns(actions + nudge) - returns(actions - nudge)) / 0.02
            assert slope[0, k].item() == pytest.approx(difference.item(), abs=2e-3)
