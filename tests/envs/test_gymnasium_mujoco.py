"""Every task's batched reward and termination against the environment's own, on random rollouts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import torch

from mpc_robot.envs import Task, env_spec, get_task, make_env
from mpc_robot.envs.gymnasium_mujoco import GYMNASIUM_MUJOCO

NAMES = [task.name for task in GYMNASIUM_MUJOCO]
OWN_ENTRIES = {  # where in our observation the environment's own begins, for those that keep it
    "InvertedPendulum-v5": 0,
    "Reacher-v5": 0,
    "Pusher-v5": 0,
    "Swimmer-v5": 1,
    "Walker2d-v5": 1,
}


@cache
def rollout(name: str) -> dict[str, np.ndarray]:
    """120 steps (2 x 3 x 20) under full random actions that start over when they terminate."""
    env = make_env(get_task(name))
    spec = env_spec(env)
    rng = np.random.default_rng(0)
    obs, _ = env.reset(seed=0)
    rows = []
    for _ in range(120):
        # In float64: the environments square what they are given, and in float32 that rounds.
        action = rng.uniform(spec.action_low, spec.action_high)
        next_obs, reward, terminated, _, _ = env.step(action)
        rows.append((obs, action, next_obs, float(reward), terminated))
        obs = env.reset()[0] if terminated else next_obs
    names = ("obs", "action", "next_obs", "reward", "terminated")
    return {
        key: np.array(column) for key, column in zip(names, zip(*rows, strict=True), strict=True)
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("to", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("shape", [(120,), (2, 3, 20)])
def test_formulas_are_the_environments(
    name: str, to: Callable[[Any], Any], shape: tuple[int, ...]
) -> None:
    task, seen = get_task(name), rollout(name)
    obs, action, next_obs = (
        to(seen[key].reshape(*shape, -1)) for key in ("obs", "action", "next_obs")
    )
    reward, terminated = task.reward(obs, action, next_obs), task.terminated(next_obs)
    assert type(reward) is type(terminated) is type(obs)
    assert tuple(reward.shape) == tuple(terminated.shape) == shape
    np.testing.assert_allclose(reward, seen["reward"].reshape(shape), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(terminated, seen["terminated"].reshape(shape))


@pytest.mark.parametrize("name", NAMES)
def test_formulas_take_a_single_transition(name: str) -> None:
    task, seen = get_task(name), rollout(name)
    for to in (np.asarray, torch.tensor):
        one = [to(seen[key][-1]) for key in ("obs", "action", "next_obs")]
        assert float(task.reward(*one)) == pytest.approx(seen["reward"][-1], abs=1e-9)
        assert bool(task.terminated(one[2])) == seen["terminated"][-1]


@pytest.mark.parametrize(
    "name",
    ["InvertedPendulum-v5", "InvertedDoublePendulum-v5", "Hopper-v5", "Walker2d-v5", "Humanoid-v5"],
)
def test_random_actions_reach_both_verdicts(name: str) -> None:
    assert set(rollout(name)["terminated"]) == {False, True}


@pytest.mark.parametrize(
    ("name", "qpos", "qvel", "expected"),
    [
        ("Hopper-v5", {1: 0.69}, {}, True),
        ("Hopper-v5", {2: 0.21}, {}, True),
        ("Hopper-v5", {2: -0.21}, {}, True),
        ("Hopper-v5", {}, {3: -101.0}, True),
        ("Hopper-v5", {}, {3: 99.0}, False),
        ("Walker2d-v5", {1: 2.01}, {}, True),
        ("Walker2d-v5", {2: -0.99}, {}, False),
        ("Ant-v5", {2: 0.19}, {}, True),
        ("Ant-v5", {2: 1.01}, {}, True),
        ("Ant-v5", {2: 0.99}, {}, False),
        ("Humanoid-v5", {2: 2.01}, {}, True),
        ("Humanoid-v5", {2: 1.99}, {}, False),
        ("InvertedPendulum-v5", {1: -0.21}, {}, True),
        ("InvertedPendulum-v5", {1: -0.19}, {}, False),
    ],
)
def test_termination_at_the_limits(
    name: str, qpos: dict[int, float], qvel: dict[int, float], expected: bool
) -> None:
    task = get_task(name)
    env = make_env(task)
    env.reset(seed=0)
    base = env.unwrapped
    for values, changes in ((base.data.qpos, qpos), (base.data.qvel, qvel)):
        for index, value in changes.items():
            values[index] = value
    mujoco.mj_forward(base.model, base.data)
    obs = task.observe({field: getattr(base.data, field) for field in task.fields})
    assert bool(task.terminated(obs)) is expected
    if hasattr(base, "is_healthy"):
        assert bool(base.is_healthy) is not expected


@pytest.mark.parametrize("name", sorted(OWN_ENTRIES))
def test_observation_holds_the_environments_own(name: str) -> None:
    env, own = make_env(get_task(name)), gym.make(name)
    np.testing.assert_array_equal(env.reset(seed=5)[0][OWN_ENTRIES[name] :], own.reset(seed=5)[0])
    action = np.full(env.action_space.shape, 0.3)
    for _ in range(3):
        np.testing.assert_array_equal(env.step(action)[0][OWN_ENTRIES[name] :], own.step(action)[0])


def test_a_cheetah_that_turned_over_is_where_it_was() -> None:
    task, own = get_task("HalfCheetah-v5"), gym.make("HalfCheetah-v5")
    theirs, _ = own.reset(seed=5)
    ours, _ = make_env(task).reset(seed=5)
    np.testing.assert_array_equal(np.delete(ours, [0, 2, 3]), np.delete(theirs, 1))
    assert np.arctan2(ours[2], ours[3]) == pytest.approx(theirs[1], abs=1e-12)
    data = own.unwrapped.data
    data.qpos[2] += 2.0 * np.pi
    turned = task.observe({name: getattr(data, name) for name in task.fields})
    np.testing.assert_allclose(turned, ours, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["Ant-v5", "Humanoid-v5"])
def test_first_and_last_entries_are_what_the_reward_needs(name: str) -> None:
    env = make_env(get_task(name))
    obs, _ = env.reset(seed=0)
    for _ in range(30):
        next_obs, _, terminated, _, info = env.step(env.action_space.low)
        velocity = (next_obs[0] - obs[0]) / env.unwrapped.dt
        assert velocity == pytest.approx(info["x_velocity"], abs=1e-9)
        assert next_obs[-1] == pytest.approx(-info["reward_contact"], abs=1e-12)
        obs = env.reset()[0] if terminated else next_obs


@pytest.mark.parametrize("task", GYMNASIUM_MUJOCO, ids=NAMES)
def test_a_model_sees_no_absolute_position(task: Task) -> None:
    size = env_spec(make_env(task)).observation_dim
    inputs = range(size) if task.model_inputs is None else task.model_inputs
    assert set(inputs) <= set(range(size))
    locomotion = {
        "Swimmer-v5",
        "Hopper-v5",
        "Walker2d-v5",
        "HalfCheetah-v5",
        "Ant-v5",
        "Humanoid-v5",
    }
    assert (0 in inputs) is (task.name not in locomotion)
    seen = range(size) if task.policy_inputs is None else task.policy_inputs
    assert set(inputs) <= set(seen) <= set(range(size)), "a policy sees what a model does"
    assert (0 in seen) is (0 in inputs)


@pytest.mark.parametrize(("name", "goal"), [("Reacher-v5", (4, 5)), ("Pusher-v5", (20, 21, 22))])
def test_a_policy_sees_the_goal_and_a_model_does_not(name: str, goal: tuple[int, ...]) -> None:
    task = get_task(name)
    assert task.policy_inputs is None
    assert task.model_inputs is not None
    assert not set(goal) & set(task.model_inputs)


def test_torch_rewards_have_gradients() -> None:
    seen = rollout("HalfCheetah-v5")
    obs, action, next_obs = (torch.tensor(seen[key]) for key in ("obs", "action", "next_obs"))
    action.requires_grad_()
    get_task("HalfCheetah-v5").reward(obs, action, next_obs).sum().backward()
    torch.testing.assert_close(action.grad, -0.2 * action.detach())
