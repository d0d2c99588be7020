"""NaN stops at the environment, and a task's observation replaces the environment's own."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from mpc_robot.envs.wrappers import FiniteOrError, Observe, numbered
from mpc_robot.errors import PlantError


class Scripted(gym.Env[Any, Any]):
    """Reports what it is told to."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,))
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, first: list[float], second: list[float], reward: float) -> None:
        self._first, self._second, self._reward = first, second, reward

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return np.array(self._first), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.array(self._second), self._reward, True, False, {}


FINE = [1.0, 2.0, 3.0]


def test_finite_reports_pass_untouched() -> None:
    env = FiniteOrError(Scripted(FINE, FINE, -1.0))
    assert env.reset()[0].tolist() == FINE
    observation, reward, terminated, truncated, _ = env.step(np.zeros(1))
    assert (observation.tolist(), reward, terminated, truncated) == (FINE, -1.0, True, False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(bad: float) -> None:
    with pytest.raises(PlantError, match=r"observation\[2\].*finite.*(nan|inf)"):
        FiniteOrError(Scripted([1.0, 2.0, bad], FINE, 0.0)).reset()
    env = FiniteOrError(Scripted(FINE, [1.0, bad, bad], 0.0))
    env.reset()
    with pytest.raises(PlantError, match=r"observation\[1\]"):
        env.step(np.zeros(1))
    env = FiniteOrError(Scripted(FINE, FINE, bad))
    env.reset()
    with pytest.raises(PlantError, match="reward"):
        env.step(np.zeros(1))


def test_observe_takes_the_place_of_the_environments_own() -> None:
    def heights(fields: Any) -> Any:
        return fields["xpos"][..., 1:, 2]

    env = Observe(gym.make("Hopper-v5"), heights, ("xpos",))
    observation, _ = env.reset(seed=0)
    data = env.unwrapped.data  # type: ignore[attr-defined]
    assert env.observation_space.shape == (4,)
    assert observation[0] == data.body("torso").xpos[2]
    observation, *_ = env.step(np.ones(3))
    assert observation[-1] == data.body("foot").xpos[2]


class Dial(gym.Env[int, int]):
    """States -2 to 2 and actions -1 to 1, which turn it."""

    observation_space = gym.spaces.Discrete(5, start=-2)
    action_space = gym.spaces.Discrete(3, start=-1)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        self.at = 0
        return self.at, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.at += action
        return self.at, float(self.at), self.at == 2, False, {}


def test_numbered_states_and_actions_are_vectors_that_count_from_0() -> None:
    env = numbered(Dial())
    assert env.reset()[0].tolist() == [2]
    seen = [env.step(np.array([number]))[:4] for number in (2.0, 1.0, 2.0)]
    assert [(*state, *rest) for state, *rest in seen] == [
        (3, 1.0, False, False),
        (3, 1.0, False, False),
        (4, 2.0, True, False),
    ]
    assert env.observation_space.contains(seen[-1][0])
    assert (env.observation_space.shape, env.action_space.shape) == ((1,), (1,))


@pytest.mark.parametrize("action", [-1.0, 3.0, 0.5, float("nan")])
def test_a_number_that_is_no_action_is_refused(action: float) -> None:
    env = numbered(Dial())
    env.reset()
    with pytest.raises(ValueError, match="action: expected a whole number from 0 to 2, got"):
        env.step(np.array([action]))
    assert env.unwrapped.at == 0  # type: ignore[attr-defined]


def test_only_what_is_discrete_is_numbered() -> None:
    """CartPole's actions are, Pendulum's nothing: the same numbers come out as from Gymnasium."""
    cartpole, plain = numbered(gym.make("CartPole-v1")), gym.make("CartPole-v1")
    assert cartpole.observation_space == plain.observation_space
    assert cartpole.reset(seed=3)[0].tolist() == plain.reset(seed=3)[0].tolist()
    assert cartpole.step(np.array([1.0]))[0].tolist() == plain.step(1)[0].tolist()
    pendulum = gym.make("Pendulum-v1")
    assert numbered(pendulum) is pendulum
