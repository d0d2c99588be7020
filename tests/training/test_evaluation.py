"""An evaluation is what the environment itself says of a controller."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest

from mpc_robot.controllers import RandomController
from mpc_robot.envs import Task, get_task, make_env, physics_state
from mpc_robot.errors import PlantError
from mpc_robot.training import evaluation as module
from mpc_robot.training.evaluation import evaluate, run_episode

PENDULUM = get_task("Pendulum-v1")
BALANCE = get_task("InvertedPendulum-v5")


class Constant:
    """Always the same action; remembers what it was told."""

    plan = None

    def __init__(self, action: float, observes: str = "observation") -> None:
        self.action, self.observes = np.array([action]), observes
        self.seeds: list[int] = []
        self.sensed: list[np.ndarray[Any, Any]] = []

    def reset(self, seed: int) -> None:
        self.seeds.append(seed)

    def act(self, sensed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.sensed.append(sensed)
        return self.action


def random_pendulum() -> RandomController:
    return RandomController(np.array([-2.0]), np.array([2.0]))


def test_rewards_are_those_of_the_equations_of_motion() -> None:
    """Pendulum-v1 by its documentation: cost of the angle before each step."""
    episode = evaluate(PENDULUM, random_pendulum(), episodes=1, seed=0).episodes[0]
    cos, sin, speed = episode.observations[:-1].T
    angle, torque = np.arctan2(sin, cos), episode.actions[:, 0]
    cost = angle**2 + 0.1 * speed**2 + 0.001 * torque**2
    np.testing.assert_allclose(episode.rewards, -cost, atol=1e-4)
    faster = np.clip(speed + (15.0 * sin + 3.0 * torque) * 0.05, -8.0, 8.0)
    np.testing.assert_allclose(episode.observations[1:, 2], faster, atol=1e-4)
    assert episode.total == pytest.approx(-cost.sum(), abs=1e-2)


def test_time_limit_is_not_termination() -> None:
    short = evaluate(BALANCE, Constant(3.0), episodes=3, seed=0)
    assert short.terminated.all() and (short.lengths < 100).all()
    assert not any(episode.truncated for episode in short.episodes)
    limited = evaluate(PENDULUM, Constant(0.0), episodes=2, seed=0)
    assert not limited.terminated.any() and (limited.lengths == 200).all()
    assert all(episode.truncated for episode in limited.episodes)


def test_statistics_by_hand() -> None:
    result = evaluate(PENDULUM, Constant(1.0), episodes=3, seed=1)
    totals = [sum(episode.rewards.tolist()) for episode in result.episodes]
    mean = sum(totals) / 3
    assert result.mean == pytest.approx(mean)
    assert result.std == pytest.approx((sum((t - mean) ** 2 for t in totals) / 3) ** 0.5)
    assert result.wall_s > 0


def test_same_seed_same_episodes_and_all_of_them_differ() -> None:
    one, two = (evaluate(PENDULUM, random_pendulum(), episodes=3, seed=5) for _ in range(2))
    other = evaluate(PENDULUM, random_pendulum(), episodes=3, seed=6)
    for a, b in zip(one.episodes, two.episodes, strict=True):
        assert (a.observations == b.observations).all() and (a.actions == b.actions).all()
    starts = {tuple(e.observations[0]) for e in (*one.episodes, *other.episodes)}
    actions = {tuple(e.actions[0]) for e in (*one.episodes, *other.episodes)}
    assert len(starts) == len(actions) == 6


def test_a_controller_of_states_gets_states() -> None:
    controller = Constant(0.0, observes="state")
    env = make_env(BALANCE)
    run_episode(env, controller, seed=0)
    assert all(len(sensed) == len(physics_state(env)) for sensed in controller.sensed)
    times = [sensed[0] for sensed in controller.sensed]
    np.testing.assert_allclose(np.diff(times), 0.04)


class InPlace(gym.Env[Any, Any]):
    """Counts its steps in the one array that it has, and never ends."""

    metadata: ClassVar[dict[str, Any]] = {"render_fps": 10}
    observation_space = gym.spaces.Box(0.0, np.inf, (1,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float64)

    def __init__(self) -> None:
        self.count = np.zeros(1)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.count[:] = 0.0
        return self.count, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1.0
        return self.count, 0.0, False, False, {}


def test_an_environment_may_observe_in_place() -> None:
    episode = run_episode(InPlace(), Constant(0.0), seed=0, max_steps=3)
    assert episode.observations.tolist() == [[0.0], [1.0], [2.0], [3.0]]


def test_max_steps_truncates() -> None:
    episode = evaluate(PENDULUM, Constant(0.0), 1, seed=0, max_steps=7).episodes[0]
    assert len(episode.rewards) == 7 and episode.truncated and not episode.terminated


@pytest.mark.parametrize(("episodes", "max_steps"), [(0, None), (-1, None), (1, 0)])
def test_nothing_to_do_is_an_error(episodes: int, max_steps: int | None) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        evaluate(PENDULUM, Constant(0.0), episodes, seed=0, max_steps=max_steps)


def test_episodes_that_nothing_ends_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "make_env", lambda task: InPlace())
    endless = Task("Endless-v0", "Endless-v0")
    with pytest.raises(ValueError, match=r"Endless-v0: .* time limit.* max_episode_steps="):
        evaluate(endless, Constant(0.0), 1, seed=0)
    assert evaluate(endless, Constant(0.0), 1, seed=0, max_steps=4).lengths == [4]


def test_negative_seed_is_an_error() -> None:
    with pytest.raises(ValueError, match="seed: expected 0 or more, got -1"):
        evaluate(PENDULUM, Constant(0.0), 1, seed=-1)


def test_a_broken_plant_surfaces_and_the_environment_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = make_env(PENDULUM)
    closed: list[bool] = []
    monkeypatch.setattr(env, "close", lambda: closed.append(True))
    monkeypatch.setattr(env.unwrapped, "_get_obs", lambda: np.array([1.0, np.nan, 0.0]))
    monkeypatch.setattr(module, "make_env", lambda task: env)
    with pytest.raises(PlantError, match=r"observation\[1\]: expected a finite number, got nan"):
        evaluate(PENDULUM, Constant(0.0), 1, seed=0)
    assert closed
