"""The two-link arm against MuJoCo's own kinematics and its reward at known distances."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from mpc_robot.envs import get_task, make_env
from mpc_robot.envs.reacher_two_link import FIELDS, MODEL, observe, reward, start
from mpc_robot.envs.wrappers import read_fields


def test_fingertip_is_where_mujoco_puts_it_and_the_target_in_reach() -> None:
    model = mujoco.MjModel.from_xml_path(str(MODEL))
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for _ in range(30):
        start(data, rng)
        mujoco.mj_forward(model, data)
        target = data.body("target").xpos[:2]
        obs = observe(read_fields(data, FIELDS))
        np.testing.assert_allclose(obs[8:], data.geom("tip").xpos[:2] - target, atol=1e-12)
        np.testing.assert_array_equal(obs[6:8], target)
        assert 0.15 <= np.linalg.norm(target) <= 0.5
        assert model.joint("elbow").range[0] < data.qpos[1] < model.joint("elbow").range[1]


@pytest.mark.parametrize(
    ("miss", "action", "expected"),
    [
        ((0.0, 0.0), (0.0, 0.0), 1.0),
        ((0.0, 0.3), (0.0, 0.0), 0.1),
        ((0.18, 0.24), (0.0, 0.0), 0.1),
        ((0.0, 0.0), (1.0, -1.0), 0.8),
        ((0.0, 0.0), (1.0, 0.0), 0.9),
    ],
)
def test_reward_at_known_distances(
    miss: tuple[float, float], action: tuple[float, float], expected: float
) -> None:
    obs = np.zeros(10)
    obs[8:] = miss
    assert reward(obs, np.array(action), obs) == pytest.approx(expected, abs=1e-12)


def test_reward_has_a_gradient_at_the_target() -> None:
    obs = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    reward(obs, torch.zeros(2, dtype=torch.float64), obs).backward()
    assert obs.grad is not None
    assert torch.isfinite(obs.grad).all()


def test_rewards_of_an_episode_are_shares_of_one_and_the_target_stays() -> None:
    env = make_env(get_task("ReacherTwoLink-v0"))
    first, _ = env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(100):
        obs, earned, terminated, truncated, _ = env.step(env.action_space.sample())
        assert 0 <= float(earned) <= 1
        assert not terminated
        assert not truncated
        np.testing.assert_array_equal(obs[6:8], first[6:8])
