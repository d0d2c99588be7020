"""PETS on a cart without friction, whose optimal control is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

from mpc_robot.agents.pets import PETS, PETSConfig
from mpc_robot.agents.pets_presets import PRESETS, pets_preset
from mpc_robot.agents.value import ValueConfig
from mpc_robot.controllers import ICEMConfig
from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.ensemble import EnsembleConfig
from mpc_robot.dynamics.ensemble_fit import FitConfig
from mpc_robot.envs import TASKS, EnvSpec, Task, env_spec, get_task, make_env
from mpc_robot.errors import CheckpointError

DT, EPISODE = 0.1, 40
A, B = np.array([[1.0, DT], [0.0, 1.0]]), np.array([[0.0], [DT]])
Q, R = np.diag([1.0, 0.1]), np.array([[0.1]])
SPEC = EnvSpec(2, -2 * np.ones(1), 2 * np.ones(1), DT, EPISODE)
SMALL = PETSConfig(
    ensemble=EnsembleConfig(members=3, elites=3, hidden=32, layers=1, particles=3),
    fit=FitConfig(max_steps=100, learning_rate=3e-3, batch_size=64),
    optimizer=ICEMConfig(num_samples=40),
    horizon=1.5,
    warmup_steps=EPISODE,
    fit_every=EPISODE,
)


def reward(obs: Any, action: Any, next_obs: Any) -> Any:
    q, v, u = obs[..., 0], obs[..., 1], action[..., 0]
    return -(q * q + 0.1 * v * v + 0.1 * u * u) + 0.0 * next_obs[..., 0]


CART = Task("cart", "cart", reward=reward, terminated=lambda n: n[..., 0] > 1e9)


def episode(agent: PETS, start: np.ndarray, explore: bool = True) -> tuple[float, list[float]]:
    """Return and actions of one truncated episode from ``start [2]``."""
    state, total, actions = start, 0.0, []
    for t in range(EPISODE):
        action = agent.act(state, explore)
        following = A @ state + B @ action
        earned = float(reward(state, action, following))
        agent.observe(Experience(state, action, earned, following, False, t == EPISODE - 1))
        agent.update()
        state, total = following, total + earned
        actions.append(float(action[0]))
    return total, actions


WITH_VALUE = dataclasses.replace(SMALL, discount=0.9, value=ValueConfig(gradient_steps=20))


def starts(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, 2))


def test_it_comes_close_to_the_optimal_regulator() -> None:
    agent = PETS(CART, SPEC, SMALL, seed=0)
    for start in starts(4):
        episode(agent, start)
    here = np.array([1.0, 0.0])
    optimal = -here @ solve_discrete_are(A, B, Q, R) @ here
    mine, _ = episode(agent, here)
    assert optimal * 1.1 < mine <= optimal * 0.999


def test_warm_up_is_random_and_within_bounds_and_holds_actions() -> None:
    agent = PETS(CART, SPEC, dataclasses.replace(SMALL, warmup_hold=4), seed=3)
    _, actions = episode(agent, np.zeros(2))
    blocks = np.array(actions).reshape(-1, 4)
    assert (blocks == blocks[:, :1]).all()
    assert len(np.unique(blocks)) == EPISODE // 4
    assert np.abs(blocks).max() <= 2
    assert np.abs(blocks).max() > 1


def test_the_model_is_fitted_when_due() -> None:
    agent = PETS(CART, SPEC, dataclasses.replace(SMALL, warmup_steps=10, fit_every=7), seed=0)
    fitted = []
    for step in range(1, 32):
        agent.observe(Experience(np.zeros(2), np.ones(1), 0.0, np.ones(2) * step, False, False))
        if agent.update():
            fitted.append(step)
    assert fitted == [10, 17, 24, 31]


def test_metrics_say_what_the_last_plan_promises() -> None:
    agent = PETS(CART, SPEC, SMALL, seed=0)
    assert agent.update() == {}
    agent.act(np.zeros(2), explore=False)
    plan = agent._planner.plan
    assert plan is not None
    assert agent.update() == {"plan/failed": 0.0, "plan/return": plan.value}
    agent._planner.plan = dataclasses.replace(plan, value=-np.inf)
    assert agent.update() == {"plan/failed": 1.0}


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_the_plan_does_not_outlive_the_episode(ends: str) -> None:
    agent = PETS(CART, SPEC, SMALL, seed=0)
    agent.act(np.ones(2), explore=False)
    step = Experience(np.ones(2), np.ones(1), 0.0, np.ones(2), False, False)
    agent.observe(step)
    assert agent._planner.plan is not None
    agent.observe(dataclasses.replace(step, **{ends: True}))
    assert agent._planner.plan is None


@pytest.mark.parametrize("config", [SMALL, WITH_VALUE], ids=["plain", "value"])
def test_a_restored_agent_goes_on_to_the_bit(config: PETSConfig) -> None:
    original = PETS(CART, SPEC, config, seed=0)
    for start in starts(2):
        episode(original, start)
    restored = PETS(CART, SPEC, config, seed=99)
    restored.load_state_dict(original.state_dict())
    for start in starts(4)[2:]:
        assert episode(original, start) == episode(restored, start)


@pytest.mark.parametrize(
    "part", ["model", "value", "replay", "rng", "steps", "plan_seed", "warmup_action"]
)
def test_no_part_of_a_checkpoint_may_be_missing(part: str) -> None:
    state = PETS(CART, SPEC, WITH_VALUE, seed=0).state_dict()
    del state[part]
    with pytest.raises(CheckpointError, match=part):
        PETS(CART, SPEC, WITH_VALUE, seed=0).load_state_dict(state)


def test_a_checkpoint_of_other_sizes_is_refused() -> None:
    wider = dataclasses.replace(SPEC, observation_dim=3)
    state = PETS(CART, wider, SMALL, seed=0).state_dict()
    with pytest.raises(CheckpointError, match="size mismatch"):
        PETS(CART, SPEC, SMALL, seed=0).load_state_dict(state)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("horizon", 0.0),
        ("warmup_steps", 0),
        ("warmup_hold", 0),
        ("fit_every", 0),
        ("horizon", float("inf")),
        ("horizon", float("nan")),
        ("discount", 1.5),
        ("warmup_steps", 1),
    ],
)
def test_settings_that_make_no_sense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected"):
        dataclasses.replace(SMALL, **{field: value})


def test_a_horizon_shorter_than_one_step_is_refused() -> None:
    with pytest.raises(ValueError, match=r"horizon: expected at least one control period"):
        PETS(CART, SPEC, dataclasses.replace(SMALL, horizon=0.01), seed=0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_of_a_task_and_fits_it(name: str) -> None:
    assert name in TASKS
    env: gym.Env[Any, Any] = make_env(get_task(name))
    agent = PETS(get_task(name), env_spec(env), pets_preset(name), seed=0)
    observation = env.reset(seed=0)[0]
    assert env.action_space.contains(agent.act(observation, explore=False).astype(np.float32))


def test_tasks_nobody_tuned_get_the_defaults() -> None:
    assert pets_preset("Nobody-v0") == PETSConfig()


def test_a_value_function_needs_a_discount_below_one() -> None:
    with pytest.raises(ValueError, match="discount: expected"):
        dataclasses.replace(SMALL, value=ValueConfig())


@pytest.mark.parametrize(("field", "value"), [("members", 0), ("lambda_", 7.0), ("recent", 0)])
def test_value_settings_that_make_no_sense(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected"):
        ValueConfig(**{field: value})
