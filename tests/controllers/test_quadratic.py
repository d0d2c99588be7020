"""Quadratic models and their limited minima, against autograd row by row and another solver."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from mpc_robot.controllers.quadratic import box_qp, chain_rule, convex, derivatives
from mpc_robot.dynamics.linearization import Linearizer
from mpc_robot.envs import env_spec, get_task, make_env


@pytest.mark.parametrize("seed", range(20))
def test_box_qp_finds_the_minimum_that_another_solver_finds(seed: int) -> None:
    rng, size = np.random.default_rng(seed), 1 + seed % 6
    root = rng.normal(size=(size, size))
    hessian, slope = root @ root.T + 0.1 * np.eye(size), 3 * rng.normal(size=size)
    low, high = -rng.uniform(0, 1, size), rng.uniform(0, 1, size)
    x, free = box_qp(hessian, slope, low, high)
    found = minimize(
        lambda y: y @ hessian @ y / 2 + slope @ y,
        np.zeros(size),
        jac=lambda y: hessian @ y + slope,
        bounds=list(zip(low, high, strict=True)),
        options={"ftol": 1e-15, "gtol": 1e-12},
    )
    np.testing.assert_allclose(x, found.x, atol=1e-5)
    gradient = hessian @ x + slope
    np.testing.assert_allclose(gradient[free], 0.0, atol=1e-6)
    assert (gradient[~free & (x == low)] > 0).all()
    assert (gradient[~free & (x == high)] < 0).all()
    assert ((x == low) | (x == high))[~free].all()


def test_box_qp_refuses_what_has_no_minimum() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
        box_qp(-np.eye(2), np.ones(2), -np.ones(2), np.ones(2))


@pytest.mark.parametrize("name", ["CartpoleSwingup-v0", "Pusher-v5", "InvertedDoublePendulum-v5"])
def test_derivatives_of_rewards_are_those_of_autograd_one_by_one(name: str) -> None:
    task = get_task(name)
    env = make_env(task)
    spec, rng = env_spec(env), np.random.default_rng(0)
    dim = spec.observation_dim
    at = rng.normal(size=(3, 2 * dim + spec.action_dim))

    def reward(z: torch.Tensor) -> torch.Tensor:
        return task.reward(z[..., :dim], z[..., dim:-dim], z[..., -dim:])

    slope, curvature = derivatives(reward, at)
    for point, gradient, hessian in zip(torch.from_numpy(at), slope, curvature, strict=True):
        expected = torch.autograd.functional.jacobian(reward, point)
        torch.testing.assert_close(torch.from_numpy(gradient), expected)
        expected = torch.autograd.functional.hessian(reward, point)
        torch.testing.assert_close(torch.from_numpy(hessian), expected)


def test_derivatives_that_do_not_exist_or_depend_on_nothing_are_zero() -> None:
    slope, curvature = derivatives(lambda z: (z**2).sum(-1) ** 0.5, np.zeros((1, 2)))
    assert np.isfinite(slope).all() and np.isfinite(curvature).all()
    slope, curvature = derivatives(lambda z: torch.ones(z.shape[:-1]), np.ones((2, 3)))
    assert not slope.any() and not curvature.any()
    slope, curvature = derivatives(lambda z: 2 * z[..., 0], np.ones((2, 3)))
    np.testing.assert_array_equal(slope, [[2, 0, 0]] * 2)
    assert not curvature.any()


def test_convex_drops_what_bends_down_and_keeps_the_rest() -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))
    given = turn @ np.diag([-3.0, -1e-3, 2.0, 5.0]) @ turn.T
    np.testing.assert_allclose(
        convex(given), turn @ np.diag([0.0, 0.0, 2.0, 5.0]) @ turn.T, atol=1e-12
    )


def test_chain_rule_is_exact_where_the_dynamics_are_linear() -> None:
    """Observing cos x and v of a cart, and rewarded for anything smooth, against autograd."""
    xml = """<mujoco><option timestep="0.1" gravity="0 0 0"/><worldbody><body>
    <joint name="x" type="slide" axis="1 0 0"/><geom size=".1" mass="1"/></body></worldbody>
    <actuator><motor joint="x" gear="2"/></actuator></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)

    def observe(fields: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([np.cos(fields["qpos"]), fields["qvel"]], axis=-1)

    def reward(z: torch.Tensor) -> torch.Tensor:
        """Of ``[cos x, v, u, cos x', v']``."""
        return z[..., 0] * z[..., 3] + torch.sin(z[..., 4] + z[..., 2]) - z[..., 1] ** 2 * z[..., 3]

    def direct(y: torch.Tensor) -> torch.Tensor:
        """The same of ``[x, v, u]``, by the equations of motion."""
        x, v, u = y
        faster = v + 0.1 * 2 * u
        return reward(torch.stack([x.cos(), v, u, (x + 0.1 * faster).cos(), faster]))

    linearizer = Linearizer(model, 1, observe, ("qpos", "qvel"), threads=1)
    point = torch.tensor([0.7, -0.4, 0.3], dtype=torch.float64)
    states = np.zeros((2, mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)))
    states[0, 1:3] = point[:2]
    states[1, 1:3] = 0.7 + 0.1 * (-0.4 + 0.06), -0.4 + 0.06
    steps = linearizer.control_steps(states[:1], point[None, 2:].numpy())
    seen = linearizer.observations(states)
    at = np.concatenate([seen.value[0], point[2:], seen.value[1]])[None]
    slope, curvature = chain_rule(*derivatives(reward, at), steps, seen)
    expected = torch.autograd.functional.jacobian(direct, point)
    np.testing.assert_allclose(slope[0], expected, atol=1e-6)
    expected = torch.autograd.functional.hessian(direct, point)
    np.testing.assert_allclose(curvature[0], expected, atol=1e-6)
