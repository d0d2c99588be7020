"""A planner from settings: it sees the task as they say, and acts on the task as it is."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from mpc_robot.controllers import LQR, MPC, ICEMConfig
from mpc_robot.controllers.risk import worst
from mpc_robot.controllers.simulator_planner import PlannerConfig, simulator_planner
from mpc_robot.controllers.simulator_presets import PRESETS, simulator_preset
from mpc_robot.controllers.terminal import CostToGo, SwimmerProgress, Upright
from mpc_robot.dynamics.randomization import Randomization
from mpc_robot.dynamics.simulator import Physics, Simulator
from mpc_robot.envs import TASKS, PDServo, env_spec, get_task, make_env, physics_state
from mpc_robot.training.evaluation import run_episode

HOPPER = get_task("Hopper-v5")


def simulator_of(planner: MPC) -> Simulator:
    assert isinstance(planner.dynamics, Simulator)
    return planner.dynamics


def test_every_setting_reaches_the_planner() -> None:
    config = PlannerConfig(
        optimizer=ICEMConfig(num_samples=30),
        horizon=0.4,
        knots=5,
        interpolation="linear",
        discount=0.99,
        replan_every=2,
        physics=Physics(0.004, "Euler"),
        servo=PDServo(2.0),
        terminal_value=Upright(alive=3.0),
    )
    randomize = Randomization(variants=3, mass=(0.9, 1.1))
    planner = simulator_planner(HOPPER, config, threads=1, randomize=randomize, risk=worst)
    simulator = simulator_of(planner)
    assert config.acted_on(HOPPER) == replace(HOPPER, servo=PDServo(2.0))
    assert (simulator.frame_skip, simulator.threads, len(simulator.variants)) == (2, 1, 3)
    assert (planner.discount, planner.replan_every, planner.risk) == (0.99, 2, worst)
    assert planner.terminal_value == config.terminal_value
    search = planner.optimizer
    assert search.config == config.optimizer  # type: ignore[attr-defined]
    spline = search.spline  # type: ignore[attr-defined]
    assert (spline.horizon, spline.knots, spline.interpolation) == (50, 5, "linear")
    assert math.degrees(float(spline.low[0])) == pytest.approx(-150, abs=1e-3)


def test_speed_beyond_the_limit_earns_nothing_more() -> None:
    free = simulator_of(simulator_planner(HOPPER, PlannerConfig(), threads=1))
    slow = simulator_of(simulator_planner(HOPPER, PlannerConfig(speed_limit=0.001), threads=1))
    env = make_env(HOPPER)
    env.reset(seed=0)
    actions = torch.rand(4, 10, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    start, rng = free.start(physics_state(env), 4), torch.Generator()
    rewards, limited = (s.rollout(start, actions, rng).rewards for s in (free, slow))
    x = free.rollout(start, actions, rng).observations[..., 0]
    excess = ((x[..., 1:] - x[..., :-1]) / 0.008 - 0.001).clamp(min=0)
    assert (excess > 0).any() and (excess == 0).any()
    torch.testing.assert_close(limited, rewards - excess)


def test_a_speed_limit_needs_a_known_reward() -> None:
    unknown = replace(HOPPER, reward=None)
    with pytest.raises(ValueError, match="speed_limit: expected a task with a known reward"):
        simulator_planner(unknown, PlannerConfig(speed_limit=1.0))


@pytest.mark.parametrize(
    ("field", "value"), [("horizon", 0.0), ("horizon", math.nan), ("speed_limit", -1.0)]
)
def test_settings_must_make_sense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected"):
        PlannerConfig(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_preset_plans(task: str) -> None:
    config = simulator_preset(task)
    acted_on = config.acted_on(get_task(task))
    env = make_env(acted_on)
    env.reset(seed=0)
    action = simulator_planner(get_task(task), config, threads=1).act(physics_state(env))
    assert env.action_space.contains(action.astype(env.action_space.dtype))
    assert set(PRESETS) <= set(TASKS)


@pytest.mark.parametrize("name", ["Hopper-v5", "Walker2d-v5"])
def test_legs_set_off_without_falling(name: str) -> None:
    config = simulator_preset(name)
    task = config.acted_on(get_task(name))
    few = replace(config, optimizer=ICEMConfig(num_samples=40, num_elites=6, initial_std=0.15))
    episode = run_episode(make_env(task), simulator_planner(task, few, threads=1), 0, max_steps=60)
    assert len(episode.rewards) == 60 and not episode.terminated
    assert episode.rewards[-20:].mean() > 1.0  # alive, and going forward


def test_upright_is_worth_more_than_leaning_crouching_and_falling() -> None:
    worth = Upright(
        alive=10.0, lean=2.0, lean_ahead=0.1, crouch=50.0, height=1.2, fall_ahead=0.2,
        angle=0, angle_rate=1, z=2, z_rate=3,
    )  # fmt: skip
    cases = {
        (0.0, 0.0, 1.3, 0.0): 10.0,
        (0.3, 0.0, 1.3, 0.0): 10.0 - 2 * 0.09,
        (0.3, -3.0, 1.3, 0.0): 10.0,
        (0.0, 0.0, 1.0, 0.0): 10.0 - 50 * 0.04,
        (0.0, 0.0, 1.3, -1.0): 10.0 - 50 * 0.01,
        (0.0, 0.0, 1.2, 5.0): 10.0,
    }
    observations = torch.tensor(list(cases), dtype=torch.float64)
    np.testing.assert_allclose(worth(observations), list(cases.values()))
    np.testing.assert_allclose(worth(observations.expand(2, 6, 4))[1], list(cases.values()))


def test_a_little_lean_to_either_side_may_be_free() -> None:
    worth = Upright(lean=2.0, lean_free=0.5, angle=0, angle_rate=1)
    lean = torch.tensor([[0.0, 0.0], [0.4, 0.0], [-0.4, 0.0], [0.8, 0.0], [-1.5, 0.0]]).double()
    np.testing.assert_allclose(worth(lean), [0.0, 0.0, 0.0, -2 * 0.09, -2.0], atol=1e-12)


def test_cost_to_go_is_what_lqr_pays_from_there_on() -> None:
    """Against the closed loop itself, followed until it is at rest."""
    task = get_task("InvertedPendulum-v5")
    env = make_env(task)
    spec, q, r = env_spec(env), (1.0, 10.0, 0.1, 1.0), (1.0,)
    simulator = Simulator(task, threads=1)
    lqr = LQR(simulator, spec, q, r)
    env.reset(seed=0)
    start = physics_state(env)
    start[1:5] = lqr.set_point[1:5] + np.array([0.02, -0.01, 0.0, 0.0])
    state, paid = simulator.start(start, 1), 0.0
    first = torch.from_numpy(state.observation)
    for _ in range(300):
        away = state.physics[0, 1:5] - lqr.set_point[1:5]
        action = lqr.act(state.physics[0])
        paid += float(
            away @ (np.array(q) * away) + r[0] * (action - lqr.action) @ (action - lqr.action)
        )
        state = simulator.step(state, torch.from_numpy(action[None]), torch.Generator()).state
    value = CostToGo(q, r, scale=0.5, alive=7.0).value(simulator, spec)
    assert value(first).item() == pytest.approx(7.0 - 0.5 * paid, rel=1e-3)
    assert paid > 0.01


def test_a_swimmers_progress_is_that_of_its_mass_centre() -> None:
    task = get_task("Swimmer-v5")
    env = make_env(task)
    env.reset(seed=0)
    base: Any = env.unwrapped
    rng = np.random.default_rng(0)
    for _ in range(5):
        base.set_state(rng.uniform(-1.5, 1.5, 5), np.zeros(5))
        observation = torch.from_numpy(env.step(np.zeros(2))[0])
        mujoco.mj_forward(base.model, base.data)
        links = [base.model.body(name).id for name in ("torso", "mid", "back")]
        centre = np.average(base.data.xipos[links, 0], weights=base.model.body_mass[links])
        ahead = SwimmerProgress()(observation).item() * 0.04
        assert ahead == pytest.approx(centre - base.data.qpos[0], abs=1e-6)
