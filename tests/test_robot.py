"""A robot from its model: task, environment and simulator agree, and what is wrong is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from mpc_robot import Motor, Robot, from_mjcf
from mpc_robot.agents import PETS, PETSConfig
from mpc_robot.controllers import PredictiveSamplingConfig, RandomShootingConfig
from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.ensemble import EnsembleConfig
from mpc_robot.dynamics.ensemble_fit import FitConfig
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import TASKS, env_spec, get_task, physics_state
from mpc_robot.envs.terms import (
    apply,
    control_change,
    effort,
    field,
    height,
    joint_position,
    position,
    reach,
    small_control,
    time,
    track_velocity,
    upright,
)
from mpc_robot.errors import UnknownNameError
from mpc_robot.training.evaluation import evaluate

Floats = npt.NDArray[np.float64]
ARM = """
<mujoco model="two link arm">
  <option timestep="0.005"/>
  <worldbody>
    <camera name="front" pos="0 -2 0" xyaxes="1 0 0 0 0 1"/>
    <body name="target" mocap="true" pos="0.2 0 0.3"/>
    <body name="upper">
      <joint name="shoulder" axis="0 1 0" damping="0.1"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02"/>
      <body name="lower" pos="0 0 -0.3">
        <joint name="elbow" axis="0 1 0" damping="0.1"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.25" size="0.02"/>
        <site name="tip" pos="0 0 -0.25"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="shoulder" gear="3" ctrlrange="-1 1"/>
    <general joint="elbow" dyntype="filter" dynprm="0.05" gainprm="2" ctrlrange="-1 2"/>
  </actuator>
  <keyframe><key name="bent" qpos="0.5 -1" act="0.3" ctrl="0.1 0.2"/></keyframe>
</mujoco>
"""


def circle(t: Floats) -> Floats:
    """Around the shoulder, once a second."""
    return np.stack([0.4 * np.cos(2 * np.pi * t), 0 * t, 0.4 * np.sin(2 * np.pi * t)], axis=-1)


REWARD = (
    reach("tip", "target", margin=0.2) * small_control()
    + 0.1 * upright("lower")
    - 0.3 * control_change()
    - 0.2 * effort()
    + 0.1 * track_velocity("tip", (0.5, 0.0, 0.1), margin=2.0)
)


def arm(reward: Any = REWARD, **kwargs: Any) -> Robot:
    return from_mjcf(ARM, reward, **{"rate": 50.0, "start": "bent", "start_noise": 0.3, **kwargs})


def two_rewards(robot: Robot, seed: int, steps: int = 40) -> tuple[Floats, Floats, Floats, Floats]:
    """Rewards of random actions, then observations: the environment's and the simulator's."""
    with robot.env() as env:
        first, _ = env.reset(seed=seed)
        state = Simulator(robot.task, threads=1).start(physics_state(env), 1)
        env.action_space.seed(seed)
        actions = np.array([env.action_space.sample() for _ in range(steps)])
        seen = [env.step(action)[:3] for action in actions]
    obs, rewards, ends = map(np.array, zip(*seen, strict=True))
    futures = Simulator(robot.task, threads=1).rollout(
        state, torch.from_numpy(actions[None]), torch.Generator()
    )
    assert (futures.continues[0, 0].numpy() == ~ends).all()
    np.testing.assert_array_equal(first[:4], futures.observations[0, 0, 0, :4])
    return rewards, futures.rewards[0, 0].numpy(), obs, futures.observations[0, 0, 1:].numpy()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("motion", [{}, {"target": circle}])
def test_environment_and_simulator_earn_the_same(seed: int, motion: dict[str, Any]) -> None:
    robot = arm(motion=motion)
    got, foreseen, obs, foreseen_obs = two_rewards(robot, seed)
    assert np.ptp(got) > 0.05
    np.testing.assert_allclose(got, foreseen, rtol=0, atol=1e-9)
    np.testing.assert_allclose(obs, foreseen_obs, rtol=0, atol=1e-9)


def test_the_reward_is_the_formula_on_mujoco_s_own_fields() -> None:
    robot = arm(0.1 * upright("lower") + reach("tip", (0.1, 0.0, 0.2), margin=0.2) - effort())
    with robot.env() as env:
        env.reset(seed=0)
        data: Any = env.unwrapped.data  # type: ignore[attr-defined]
        for _ in range(10):
            action = env.action_space.sample()
            _, reward, *_ = env.step(action)
            squared = np.sum((data.site("tip").xpos - [0.1, 0, 0.2]) ** 2)
            share = np.mean((action.astype(float) / [1, 2]) ** 2)
            expected = 0.05 * (1 + data.body("lower").xmat[8]) + 1 / (1 + 225 * squared) - share
            assert reward == pytest.approx(expected, abs=1e-12)


def test_the_observation_is_the_state_then_what_terms_read() -> None:
    robot = arm(observe=(height("upper"),), terminated=joint_position("shoulder")[0] > 9.0)
    assert list(robot.layout.slices) == [
        "qpos",
        "qvel",
        "act",
        "position of upper",
        "position of tip",
        "position of target",
        "z axis of lower",
        "ctrl",
        "velocity of tip",
    ]
    with robot.env() as env:
        obs, _ = env.reset(seed=0)
        data: Any = env.unwrapped.data  # type: ignore[attr-defined]
    assert robot.task.model_inputs == (0, 1, 2, 3, 4, 17, 18)
    np.testing.assert_array_equal(obs[:5], np.concatenate([data.qpos, data.qvel, data.act]))
    np.testing.assert_array_equal(obs[17:19], [0.1, 0.2])
    assert robot.measure(height("tip"), obs) == data.site("tip").xpos[2]


def test_a_mocap_body_moves_as_said_and_a_plan_sees_it_ahead() -> None:
    robot = arm(reach("tip", "target", margin=0.2), motion={"target": circle})
    with robot.env() as env:
        env.reset(seed=0)
        data: Any = env.unwrapped.data  # type: ignore[attr-defined]
        for _ in range(13):
            np.testing.assert_allclose(data.mocap_pos[0], circle(np.array(data.time)))
            env.step(np.zeros(2))
        state = Simulator(robot.task, threads=1).start(physics_state(env), 1)
    seen = Simulator(robot.task, threads=1).rollout(state, torch.zeros(1, 10, 2), torch.Generator())
    times = 0.26 + 0.02 * np.arange(1, 11) - 0.005  # what MuJoCo derives lags by a timestep
    foreseen = robot.measure(position("target"), seen.observations[0, 0, 1:].numpy())
    np.testing.assert_allclose(foreseen, circle(times), atol=1e-9)


def test_a_mocap_body_that_nobody_knows_of_stays_in_a_plan() -> None:
    robot = arm(reach("tip", "target", margin=0.2))
    with robot.env() as env:
        env.reset(seed=0)
        env.unwrapped.data.mocap_pos[0] = [0.1, 0.2, 0.3]  # type: ignore[attr-defined]
        state = Simulator(robot.task, threads=1).start(physics_state(env), 2)
    seen = Simulator(robot.task, threads=1).rollout(state, torch.zeros(2, 5, 2), torch.Generator())
    where = robot.measure(position("target"), seen.observations.numpy())
    np.testing.assert_array_equal(where, np.broadcast_to([0.1, 0.2, 0.3], (2, 1, 6, 3)))


def test_a_term_ends_an_episode_and_so_does_the_clock() -> None:
    robot = arm(terminated=(time() > 0.1) & (height("tip") < 10.0), episode=0.3)
    rewards = two_rewards(robot, 0, steps=4)
    assert np.isfinite(rewards[0]).all()
    with robot.env() as env:
        env.reset(seed=0)
        ends = [env.step(np.zeros(2))[2:4] for _ in range(15)]
    assert [ended for ended, _ in ends] == [False] * 5 + [True] * 10  # at 0.115 s, lagging
    assert [late for _, late in ends] == [False] * 14 + [True]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (None, [0.0, 0.0]),
        ("bent", [0.5, -1.0]),
        (lambda data, rng: np.copyto(data.qpos, [0.2, 0.3]), [0.2, 0.3]),
    ],
)
def test_episodes_start_where_they_should(start: Any, expected: list[float]) -> None:
    with arm(start=start, start_noise=0.1).env() as env:
        starts = np.array([env.reset(seed=seed)[0][:2] for seed in range(30)]) - expected
        np.testing.assert_array_equal(env.reset(seed=0)[0], env.reset(seed=0)[0])
    assert abs(starts).max() <= 0.1
    assert (starts.max(axis=0) > 0.05).all()
    assert (starts.min(axis=0) < -0.05).all()


def test_a_function_is_a_reward_alone_and_in_a_sum() -> None:
    def bend(obs: Any, action: Any, next_obs: Any) -> Any:
        return -(next_obs[..., 0] ** 2) - 0.1 * (action**2).sum(-1)

    fast = apply(lambda qvel: 0.01 * (qvel**2).sum(-1), "qvel")
    alone, sum_of_both = arm(bend), arm(fast + bend)
    rewards = [two_rewards(robot, seed=4) for robot in (alone, sum_of_both)]
    speeds = 0.01 * (rewards[0][2][:, 2:4] ** 2).sum(-1)
    np.testing.assert_allclose(rewards[1][0], rewards[0][0] + speeds, atol=1e-12)


def test_gymnasium_knows_it_and_its_checker_agrees() -> None:
    robot = arm(name="checked arm")
    assert robot.task.env_id == "mpc_robot/checked-arm-v0"
    made = gym.make(robot.task.env_id, disable_env_checker=True)
    assert made.spec is not None
    assert made.spec.max_episode_steps == 500
    check_env(made.unwrapped, skip_render_check=True)
    assert get_task("checked-arm-v0") is robot.task is get_task(robot.task.env_id)


def test_a_name_that_is_taken_gets_a_number() -> None:
    names = [arm(name="numbered").task.name for _ in range(3)]
    assert names == ["numbered-v0", "numbered-2-v0", "numbered-3-v0"]
    assert set(names) <= set(TASKS)
    assert arm().task.name.startswith("two-link-arm")


def test_a_robot_of_a_module_is_a_task_with_its_reward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"from mpc_robot import from_mjcf\nARM = '''{ARM}'''\n"
    source += "from_mjcf(ARM, lambda o, a, n: -n[..., 0] ** 2, rate=50, name='mine')\n"
    (tmp_path / "a_robot_of_mine.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    task = get_task("a_robot_of_mine:mine-v0")
    assert task == dataclasses.replace(TASKS["mine-v0"], name="a_robot_of_mine:mine-v0")
    assert task.reward is not None


def test_changing_an_environment_does_not_change_what_is_planned_with() -> None:
    robot = arm()
    with robot.env() as env:
        env.unwrapped.model.body_mass[:] *= 2  # type: ignore[attr-defined]
    with robot.env() as env:
        np.testing.assert_array_equal(
            env.unwrapped.model.body_mass,  # type: ignore[attr-defined]
            robot.model.body_mass,
        )


def test_a_controller_of_defaults_reaches_the_target() -> None:
    robot = arm(reach("tip", (0.35, 0.0, 0.2), margin=0.2))
    result = evaluate(robot.task, robot.controller(), 1, 0, max_steps=50)
    tip = robot.measure(position("tip"), result.episodes[0].observations)
    apart = np.linalg.norm(tip - [0.35, 0, 0.2], axis=1)
    assert apart[0] > 0.3
    assert apart[-10:].max() < 0.06


@pytest.mark.parametrize("optimizer", ["predictive-sampling", PredictiveSamplingConfig()])
def test_an_optimizer_is_named_or_configured(optimizer: Any) -> None:
    robot, plans = arm(), []
    for seed in (1, 1, 2):
        controller = robot.controller(
            optimizer, horizon=0.2, knots=2, interpolation="linear", discount=0.9
        )
        controller.reset(seed)
        with robot.env() as env:
            env.reset(seed=0)
            plans.append(controller.act(physics_state(env)))
        assert controller.plan is not None
        assert controller.plan.actions.shape == (10, 2)
    np.testing.assert_array_equal(plans[0], plans[1])
    assert not np.array_equal(plans[0], plans[2])


def test_a_model_is_learned_of_it_and_planned_in() -> None:
    robot = arm()
    config = PETSConfig(
        ensemble=EnsembleConfig(members=2, elites=2, hidden=16, layers=1, particles=2),
        fit=FitConfig(max_steps=50),
        optimizer=RandomShootingConfig(num_samples=8),
        horizon=0.1,
        warmup_steps=30,
        fit_every=30,
    )
    with robot.env() as env:
        agent = PETS(robot.task, env_spec(env), config, seed=0)
        obs, _ = env.reset(seed=0)
        for step in range(40):
            action = agent.act(obs, explore=True)
            after, reward, ended, _, _ = env.step(action)
            agent.observe(Experience(obs, action, float(reward), after, ended, step == 39))
            agent.update()
            obs = after
    planner = robot.controller(RandomShootingConfig(8), dynamics=agent.model, horizon=0.1)
    assert planner.observes == "observation"
    action = planner.act(obs)
    assert (action >= [-1, -1]).all()
    assert (action <= [1, 2]).all()
    assert planner.plan is not None
    assert np.isfinite(planner.plan.value)  # the terms were evaluated in torch


Wrong = tuple[Callable[[], Any], type[Exception], str]
WRONG: dict[str, Wrong] = {
    "shape": (
        lambda: arm(lambda o, a, n: n[..., :3]),
        ValueError,
        r"reward: expected one number per transition, an array of shape \(2, 3\) for observations "
        r"of shape \(2, 3, 5\), got shape \(2, 3, 3\)",
    ),
    "summed up": (
        lambda: arm(lambda o, a, n: -(n**2).sum()),
        ValueError,
        r"got the scalar .*let it keep every leading axis",
    ),
    "scalar": (lambda: arm(lambda o, a, n: 1.0), ValueError, r"got the scalar 1\.0"),
    "number": (lambda: arm(1.0), ValueError, r"got the scalar 1\.0"),
    "NaN": (
        lambda: arm(lambda o, a, n: n[..., 0] * np.nan),
        ValueError,
        "reward: expected finite numbers, got nan in the first steps",
    ),
    "vector term": (lambda: arm(position("tip")), ValueError, r"got shape \(2, 3, 3\)"),
    "termination": (
        lambda: arm(terminated=height("tip")),
        ValueError,
        "terminated: expected one boolean per transition.*of float64",
    ),
    "termination by action": (
        lambda: arm(terminated=effort() > 0.5),
        ValueError,
        "term: expected one of states alone, got one that reads the step",
    ),
    "site": (
        lambda: arm(reach("tipp", "target", margin=0.1)),
        UnknownNameError,
        "unknown site or body 'tipp'; nearest: tip",
    ),
    "keyframe": (
        lambda: arm(start="bend"),
        UnknownNameError,
        "unknown keyframe 'bend'; nearest: bent",
    ),
    "camera": (lambda: arm(camera="frnt"), UnknownNameError, "unknown camera 'frnt'; nearest: fro"),
    "motion of nothing": (
        lambda: arm(motion={"targt": circle}),
        UnknownNameError,
        "unknown body 'targt'; nearest: target",
    ),
    "motion of an arm": (
        lambda: arm(motion={"upper": circle}),
        ValueError,
        "motion of 'upper': expected a body with mocap=",
    ),
    "motion of wrong shape": (
        lambda: arm(motion={"target": lambda t: np.stack([t, t])}),
        ValueError,
        r"motion of 'target': expected finite positions of shape \(2, 3, 3\) .* got \(2, 2, 3\)",
    ),
    "rate": (lambda: arm(rate=60), ValueError, r"rate: .* got 60 Hz"),
    "episode": (lambda: arm(episode=0.01), ValueError, r"episode: expected at least 0\.02 s"),
    "noise": (lambda: arm(start_noise=-1.0), ValueError, "start_noise: expected not negative"),
    "optimizer": (
        lambda: arm().controller("icm"),
        UnknownNameError,
        "unknown optimizer 'icm'; nearest: icem",
    ),
    "NaN at the start": (
        lambda: arm(start=lambda data, rng: np.copyto(data.qvel, np.nan)),
        ValueError,
        "observation: expected finite numbers, got NaN or infinity in qvel",
    ),
    "unlimited": (
        lambda: from_mjcf(ARM.replace('ctrlrange="-1 1"', ""), REWARD, rate=50),
        ValueError,
        "actuator 0 .of joint 'shoulder'.: expected a range of control",
    ),
    "MJCF": (
        lambda: from_mjcf(ARM.replace("<worldbody>", '<worldbody><geom size="x"/>'), 1.0, rate=50),
        ValueError,
        "model given as text: .*bad format in attribute 'size'.*line 4",
    ),
    "feature": (
        lambda: arm(small_control()).measure(height("tip"), np.zeros(5)),
        UnknownNameError,
        "unknown feature 'position of tip'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_before_any_plan(name: str) -> None:
    make, error, message = WRONG[name]
    before = dict(TASKS)
    with pytest.raises(error, match=message):
        make()
    left = set(TASKS) - set(before)
    assert len(left) == (name in ("optimizer", "feature"))  # no wrong task is registered


def test_urdf_with_motors_is_a_robot() -> None:
    urdf = """
    <robot name="pendulum"><link name="base"/>
      <link name="rod"><inertial><origin xyz="0 0 -0.5"/><mass value="1"/>
        <inertia ixx="0.1" iyy="0.1" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial></link>
      <joint name="hinge" type="revolute"><parent link="base"/><child link="rod"/>
        <axis xyz="0 1 0"/><limit lower="-3" upper="3" effort="4" velocity="9"/></joint>
    </robot>"""
    robot = from_mjcf(urdf, upright("rod"), rate=100, actuate={"hinge": Motor()})
    with robot.env() as env:
        obs, _ = env.reset(seed=0)
        assert env.action_space.high.tolist() == [4.0]  # type: ignore[attr-defined]
        after, *_ = env.step(np.array([4.0]))
    # 4 N·m on 0.1 + 0.25 kg·m² from rest: MuJoCo's first step of 2 ms is exact, five nearly so.
    assert after[1] - obs[1] == pytest.approx(4.0 / 0.35 * 0.01, rel=1e-3)


def test_contact_forces_that_the_environment_does_not_compute_are_none_in_plans_either() -> None:
    ball = """<mujoco><worldbody><geom type="plane" size="1 1 .1"/><body pos="0 0 .2">
    <joint name="up" type="slide" axis="0 0 1"/><geom size=".1"/></body></worldbody>
    <actuator><motor joint="up" ctrlrange="-1 1"/></actuator></mujoco>"""
    force = field("cfrc_ext").map(lambda forces: (forces**2).sum((-2, -1)))
    robot = from_mjcf(ball, reward=1.0 - force, rate=50)
    env, simulator = robot.env(), Simulator(robot.task, threads=1)
    env.reset(seed=0)
    start = simulator.start(physics_state(env), 1)
    planned = simulator.rollout(start, torch.zeros(1, 20, 1), torch.Generator()).rewards[0, 0]
    assert planned.tolist() == [float(env.step(np.zeros(1))[1]) for _ in range(20)]
