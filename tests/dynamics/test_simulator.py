"""The simulator against the environment that it simulates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.controllers import ICEM, MPC, ActionSpline, ICEMConfig
from mpc_robot.dynamics.simulator import Physics, Simulator
from mpc_robot.envs import TASKS, MjcfEnv, Task, env_spec, get_task, make_env, physics_state

RNG = torch.Generator()
CONTACT_COST = ("Ant-v5", "Humanoid-v5")


def begin(task: Task, seed: int = 0) -> tuple[gym.Env, np.ndarray]:
    """An environment a few random steps into an episode, and its physics state."""
    env = make_env(task)
    env.reset(seed=seed)
    env.action_space.seed(seed)
    for _ in range(7):
        env.step(env.action_space.sample())
    return env, physics_state(env)


def random_actions(task: Task, num: int, horizon: int, seed: int = 0) -> Tensor:
    spec = env_spec(make_env(task))
    rng = np.random.default_rng(seed)
    size = (num, horizon, spec.action_dim)
    return torch.from_numpy(rng.uniform(spec.action_low, spec.action_high, size))


@pytest.mark.parametrize("name", sorted(set(TASKS) - set(CONTACT_COST)))
def test_prediction_is_what_the_environment_then_does(name: str) -> None:
    task = get_task(name)
    env, state = begin(task)
    simulator = Simulator(task, threads=2)
    actions = random_actions(task, num=3, horizon=20)
    predicted = simulator.rollout(simulator.start(state, 3), actions, RNG)
    assert predicted.observations.shape[:3] == (3, 1, 21)
    for k, action in enumerate(actions[1].numpy()):
        observation, reward, terminated, *_ = env.step(action)
        np.testing.assert_allclose(predicted.observations[1, 0, k + 1], observation, atol=1e-9)
        assert predicted.rewards[1, 0, k].item() == pytest.approx(float(reward), abs=1e-9)
        assert bool(predicted.continues[1, 0, k]) is not terminated
        if terminated:
            break


@pytest.mark.parametrize("name", CONTACT_COST)
def test_prediction_has_contact_costs_almost_and_is_exact_otherwise(name: str) -> None:
    task = get_task(name)
    env, state = begin(task)
    simulator = Simulator(task, threads=2)
    actions = random_actions(task, num=2, horizon=15)
    predicted = simulator.rollout(simulator.start(state, 2), actions, RNG)
    costs = []
    for k, action in enumerate(actions[1].numpy()):
        observation, reward, _, _, info = env.step(action)
        seen = predicted.observations[1, 0, k + 1]
        np.testing.assert_allclose(seen[:-1], observation[:-1], atol=1e-9)
        costs.append((float(seen[-1]), float(observation[-1])))
        if k > 0:  # the lagging x of the start is not in the physics state
            expected = float(reward) - info["reward_contact"] - float(seen[-1])
            assert predicted.rewards[1, 0, k].item() == pytest.approx(expected, abs=1e-9)
    ours, theirs = np.array(costs).T
    assert theirs.max() > 1e-3  # there was contact
    assert np.corrcoef(ours, theirs)[0, 1] > 0.6
    assert abs(ours.sum() - theirs.sum()) < 0.5 * theirs.sum()


@pytest.mark.parametrize("name", sorted(TASKS))
def test_steps_make_the_rollout(name: str) -> None:
    task = get_task(name)
    simulator = Simulator(task, threads=1)
    actions = random_actions(task, num=3, horizon=5)
    state = simulator.start(begin(task)[1], 3)
    whole = simulator.rollout(state, actions, RNG)
    for k in range(5):
        transition = simulator.step(state, actions[:, k], RNG)
        state = transition.state
        alive = whole.continues[:, 0, :k].all(1)
        torch.testing.assert_close(
            transition.reward[alive], whole.rewards[alive, 0, k], rtol=0, atol=1e-9
        )
        assert torch.equal(transition.continues[alive], whole.continues[alive, 0, k])
    state.observation[~alive] = whole.observations[~alive, 0, -1]
    np.testing.assert_allclose(state.observation, whole.observations[:, 0, -1], atol=1e-9)


def test_the_dead_earn_nothing_and_cost_nothing() -> None:
    task = get_task("InvertedPendulum-v5")
    simulator = Simulator(task, threads=1)
    actions = torch.zeros(3, 30, 1, dtype=torch.float64)
    actions[1] = 3.0  # falls at once
    env = make_env(task)
    env.reset(seed=0)
    future = simulator.rollout(simulator.start(physics_state(env), 3), actions, RNG)
    lived = int(future.continues[1, 0].argmin()) + 1
    assert 1 < lived < 15
    assert future.rewards[1, 0].tolist() == [1.0] * (lived - 1) + [0.0] * (31 - lived)
    assert future.observations[1, 0, lived:].unique(dim=0).shape[0] == 1
    everyone = future.continues[:, 0].cumprod(-1)[:, :-1].sum().item() + 3
    assert simulator.physics_steps == simulator.frame_skip * everyone


def test_threads_change_no_bit_and_nothing_is_left_behind() -> None:
    task = get_task("ReacherTwoLink-v0")
    state, actions = begin(task)[1], random_actions(task, num=9, horizon=15)
    one, two = Simulator(task, threads=1), Simulator(task, threads=2)
    first = one.rollout(one.start(state, 9), actions, RNG)
    for simulator in (two, two, one):
        again = simulator.rollout(simulator.start(state, 9), actions, RNG)
        assert torch.equal(again.observations, first.observations)
        assert torch.equal(again.rewards, first.rewards)


def test_a_candidate_that_diverges_is_worth_nan_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task = get_task("CartpoleBalance-v0")
    simulator = Simulator(task)
    actions = torch.zeros(4, 6, 1)
    actions[1, 3:], actions[2, 0] = torch.nan, torch.nan
    state = simulator.start(begin(task)[1], 4)
    state.physics[3, 1] = 1e300  # the cart is nowhere
    rewards = simulator.rollout(state, actions, RNG).rewards[:, 0]
    assert simulator.diverged == 3
    assert torch.isnan(rewards).tolist() == [
        [False] * 6,
        [False] * 3 + [True] * 3,
        [True] * 6,
        [True] * 6,
    ]
    fine = simulator.start(begin(task)[1], 4)
    healed = simulator.rollout(fine, torch.zeros(4, 6, 1), RNG).rewards[:, 0]
    assert torch.equal(healed, rewards[0].expand(4, 6))
    assert not list(tmp_path.iterdir())  # no MUJOCO_LOG.TXT


BALLS = """<mujoco><size memory="24K"/><worldbody><geom type="plane" size="5 5 .1"/>
<body pos="0 0 5"><freejoint/><geom size=".1"/></body>
<body pos="1 0 5"><freejoint/><geom size=".1"/></body>
<body pos="2 0 5"><freejoint/><geom size=".1"/></body>
<body pos="3 0 5"><freejoint/><geom size=".1"/></body>
<body pos="4 0 5"><freejoint/><geom name="last" size=".1"/></body>
<body pos="5 0 5"><freejoint/><geom size=".1"/></body>
<body><joint name="fan"/><geom size=".1" pos="0 0 9" contype="0"/></body>
</worldbody><actuator><motor joint="fan" ctrlrange="-1 1"/></actuator></mujoco>"""


@pytest.fixture
def balls(tmp_path: Path) -> Iterator[Task]:
    """A user's own model; its memory is too small for a pile of balls in contact."""
    (tmp_path / "balls.xml").write_text(BALLS)

    def height(fields: Any) -> Any:
        return fields["qpos"][..., 2:3]

    def reward(obs: Any, action: Any, next_obs: Any) -> Any:
        return next_obs[..., 0]

    def make(**kwargs: Any) -> MjcfEnv:
        return MjcfEnv(
            tmp_path / "balls.xml",
            observe=height,
            fields=("qpos",),
            reward=reward,
            start=lambda data, rng: None,
            frame_skip=3,
            **kwargs,
        )

    gym.register("test/Balls-v0", make)
    yield Task("balls", "test/Balls-v0", reward=reward, observe=height, fields=("qpos",))
    del gym.registry["test/Balls-v0"]


def test_a_model_of_ones_own_falls_as_galileo_says(balls: Task) -> None:
    simulator = Simulator(balls)
    state = simulator.start(physics_state(make_env(balls)), 2)
    rewards = simulator.rollout(state, torch.zeros(2, 20, 1), RNG).rewards
    time = 0.006 * np.arange(1, 21)  # Euler's method falls by half a step more
    expected = torch.from_numpy(5 - 9.81 * time * (time + 0.002) / 2)
    torch.testing.assert_close(rewards, expected.expand(2, 1, 20), rtol=1e-9, atol=0)


def test_a_simulation_that_mujoco_gives_up_is_worth_nan(balls: Task) -> None:
    simulator = Simulator(balls)
    state = simulator.start(physics_state(make_env(balls)), 3)
    pile = state.physics[1, 1:43].reshape(6, 7)
    pile[:, 0], pile[:, 2] = 0.0, 0.05 + 0.19 * np.arange(6)
    rewards = simulator.rollout(state, torch.zeros(3, 4, 1), RNG).rewards[:, 0]
    assert torch.isnan(rewards).tolist() == [[False] * 4, [True] * 4, [False] * 4]


def test_a_simulation_that_diverged_stays_so_step_by_step() -> None:
    task = get_task("CartpoleBalance-v0")
    simulator = Simulator(task)
    transition = simulator.step(
        simulator.start(begin(task)[1], 2), torch.tensor([[0.0], [torch.nan]]), RNG
    )
    transition = simulator.step(transition.state, torch.zeros(2, 1), RNG)
    assert torch.isnan(transition.reward).tolist() == [False, True]


def test_a_planner_swings_the_pole_up_in_it() -> None:
    task = get_task("CartpoleSwingup-v0")
    env = make_env(task)
    spec = env_spec(env)
    spline = ActionSpline(40, spec.action_low, spec.action_high, knots=8, interpolation="linear")
    planner = MPC(Simulator(task), ICEM(spline, ICEMConfig(num_samples=24)))
    planner.reset(seed=0)
    env.reset(seed=0)
    cosines = [env.step(planner.act(physics_state(env)))[0][2] for _ in range(125)]
    assert min(cosines[-10:]) > 0.95


def test_a_task_without_reward_or_observe_is_refused() -> None:
    with pytest.raises(ValueError, match="CartPole-v1: a simulator needs observe and reward"):
        Simulator(get_task("CartPole-v1"))
    task = replace(get_task("CartpoleBalance-v0"), reward=None)
    with pytest.raises(ValueError, match=r"needs reward$"):
        Simulator(task)


def test_an_environment_without_mujoco_is_refused() -> None:
    task = replace(get_task("CartpoleBalance-v0"), env_id="Pendulum-v1")
    with pytest.raises(TypeError, match=r"expected a MuJoCo environment, got .*Pendulum"):
        Simulator(task)


@pytest.mark.parametrize("shape", [(2, 5, 2), (3, 5, 1)])
def test_actions_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    task = get_task("CartpoleBalance-v0")
    simulator = Simulator(task)
    state = simulator.start(begin(task)[1], 2)
    with pytest.raises(ValueError, match=r"actions: expected shape \(2, 5, 1\)"):
        simulator.rollout(state, torch.zeros(shape), RNG)


def test_an_observation_is_no_physics_state() -> None:
    with pytest.raises(ValueError, match=r"state: expected shape \(28,\).* got \(5,\)"):
        Simulator(get_task("CartpoleBalance-v0")).start(np.zeros(5), 1)


def test_a_coarser_physics_is_nearly_the_same_and_converges_to_it() -> None:
    task = get_task("Hopper-v5")
    env = make_env(task)
    env.reset(seed=0)
    start = physics_state(env)
    actions = random_actions(task, num=4, horizon=10)

    def seen(physics: Physics) -> Tensor:
        simulator = Simulator(task, 1, physics=physics)
        return simulator.rollout(simulator.start(start, 4), actions, RNG).observations

    exact = seen(Physics())
    assert torch.equal(seen(Physics(0.002, "RK4")), exact)
    errors = [float((seen(Physics(t, "Euler")) - exact).abs().max()) for t in (0.008, 0.004, 0.002)]
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[2] < 0.5


@pytest.mark.parametrize("timestep", [0.003, 0.016, 0.0, -0.002, float("nan"), float("inf")])
def test_a_timestep_must_divide_the_control_period(timestep: float) -> None:
    with pytest.raises(ValueError, match=r"timestep: expected a whole part .* 0\.008 s"):
        Simulator(get_task("Hopper-v5"), physics=Physics(timestep))


def test_a_quaternion_that_is_none_is_refused_before_a_plan() -> None:
    task = get_task("Ant-v5")
    env = make_env(task)
    env.reset(seed=0)
    state = physics_state(env)
    state[1 + 3] += 0.5
    with pytest.raises(ValueError, match="quaternion"):
        Simulator(task).start(state, 1)
