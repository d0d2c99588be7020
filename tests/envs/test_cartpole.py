"""The cartpole against its equations of motion and the published shape of its reward."""

from __future__ import annotations

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import torch

from mpc_robot.envs import get_task, make_env
from mpc_robot.envs.cartpole import MODEL, observe, reward

UPRIGHT = np.array([0.0, 0.0, 1.0, 0.0, 0.0])


def test_accelerations_follow_the_lagrangian() -> None:
    model = mujoco.MjModel.from_xml_path(str(MODEL))
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    cart, pole, length, gravity = 1.0, 0.1, 0.5, 9.81
    inertia = model.body("pole").inertia[0] + pole * length**2
    for _ in range(20):
        angle, speed, control = rng.uniform(-3, 3), rng.uniform(-5, 5), rng.uniform(-1, 1)
        data.qpos[:], data.qvel[:], data.ctrl[0] = [0.1, angle], [0.0, speed], control
        mujoco.mj_forward(model, data)
        mass = [
            [cart + pole, pole * length * np.cos(angle)],
            [pole * length * np.cos(angle), inertia],
        ]
        force = [
            10 * control + pole * length * speed**2 * np.sin(angle),
            pole * gravity * length * np.sin(angle) - 2e-6 * speed,
        ]
        np.testing.assert_allclose(data.qacc, np.linalg.solve(mass, force), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("entry", "value", "control", "expected"),
    [
        (2, 1.0, 0.0, 1.0),  # upright, centred, at rest, without effort
        (2, -1.0, 0.0, 0.0),  # hanging
        (2, 0.0, 0.0, 0.5),  # level
        (0, 2.0, 0.0, 0.55),  # at the margins of arXiv:1801.00690
        (4, -5.0, 0.0, 0.55),
        (0, 0.0, -1.0, 0.8),
        (0, 0.0, 0.5, (4 + 0.75) / 5),
    ],
)
def test_reward_at_known_states(entry: int, value: float, control: float, expected: float) -> None:
    next_obs = UPRIGHT.copy()
    next_obs[entry] = value
    got = reward(UPRIGHT, np.array([control]), next_obs)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_reward_is_a_share_of_one_and_the_same_in_torch() -> None:
    rng = np.random.default_rng(0)
    obs, control = 10 * rng.standard_normal((7, 3, 5)), 2 * rng.standard_normal((7, 3, 1))
    angle = rng.uniform(-np.pi, np.pi, (7, 3))
    obs[..., 1], obs[..., 2] = np.sin(angle), np.cos(angle)
    got = reward(obs, control, obs)
    assert got.shape == (7, 3)
    assert (got >= 0).all()
    assert (got <= 1).all()
    in_torch = reward(torch.tensor(obs), torch.tensor(control), torch.tensor(obs))
    np.testing.assert_allclose(in_torch, got, rtol=1e-12)


@pytest.mark.parametrize(("name", "angle"), [("Swingup", np.pi), ("Balance", 0.0)])
def test_episodes_start_near_the_angle_and_end_only_by_the_clock(name: str, angle: float) -> None:
    env = make_env(get_task(f"Cartpole{name}-v0"))
    for seed in range(10):
        env.reset(seed=seed)
        x, start = env.unwrapped.data.qpos  # type: ignore[attr-defined]
        assert abs(x) <= 0.1
        assert abs(start - angle) <= np.deg2rad(2)
    ends = [env.step(np.array([1.0]))[2:4] for _ in range(500)]
    assert not any(terminated for terminated, _ in ends)
    assert [truncated for _, truncated in ends] == [False] * 499 + [True]


def test_the_environment_earns_the_task_reward() -> None:
    env = gym.make("mpc_robot/CartpoleSwingup-v0", disable_env_checker=True)
    obs, _ = env.reset(seed=3)
    env.action_space.seed(3)
    for _ in range(50):
        action = env.action_space.sample()
        next_obs, got, *_ = env.step(action)
        assert got == pytest.approx(float(reward(obs, action.astype(float), next_obs)), abs=1e-12)
        obs = next_obs


def test_observation_of_a_batch_is_that_of_each() -> None:
    rng = np.random.default_rng(0)
    qpos, qvel = rng.standard_normal((2, 4, 3, 2))
    batch = observe({"qpos": qpos, "qvel": qvel})
    assert batch.shape == (4, 3, 5)
    np.testing.assert_array_equal(batch[2, 1], observe({"qpos": qpos[2, 1], "qvel": qvel[2, 1]}))
    np.testing.assert_array_equal(batch[..., 0], qpos[..., 0])
    np.testing.assert_allclose(np.arctan2(batch[..., 1], batch[..., 2]), qpos[..., 1], rtol=1e-12)
