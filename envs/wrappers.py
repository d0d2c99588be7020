"""What stands between an environment and everybody else: one observation, and no NaN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, SupportsFloat

import gymnasium as gym
import mujoco
import numpy as np

from mpc_robot.envs.base import Observation, ObserveFn
from mpc_robot.errors import PlantError, require


@contextmanager
def muted_warnings() -> Iterator[None]:
    """Keep MuJoCo's warnings off the terminal and out of a log file in the current folder."""
    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(handler)


def read_fields(data: mujoco.MjData, names: tuple[str, ...]) -> dict[str, Observation]:
    """Copies of the named MjData fields of one simulation: ``{"qpos": [nq], ...}``."""
    return {name: np.array(getattr(data, name)) for name in names}


class Observe(gym.ObservationWrapper[Observation, Any, Any]):
    """Observe a MuJoCo environment by a task's ``observe``, in place of the environment's own."""

    def __init__(self, env: gym.Env[Any, Any], observe: ObserveFn, fields: tuple[str, ...]) -> None:
        """Observe by ``observe``, which reads the MjData fields named in ``fields``.

        Raises:
            TypeError: if the environment is not simulated by MuJoCo.
        """
        super().__init__(env)
        if not isinstance(getattr(env.unwrapped, "data", None), mujoco.MjData):
            raise TypeError(f"observe: expected a MuJoCo environment, got {env.unwrapped!r}")
        self._observe, self._fields = observe, fields
        size = len(self.observation(None))
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, shape=(size,), dtype=np.float64)

    def observation(self, observation: Any) -> Observation:
        """The task's observation ``[D]`` of the simulation as it now is."""
        base: Any = self.env.unwrapped
        return self._observe(read_fields(base.data, self._fields))


class Numbered(gym.Wrapper[Any, Any, Any, Any]):
    """States and actions that are numbers, as vectors of one entry that count from 0."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment whose observation and action spaces are both Discrete."""
        super().__init__(env)
        states: Any = env.observation_space
        actions: Any = env.action_space
        self._first_state, self._first_action = int(states.start), int(actions.start)
        self._actions = int(actions.n)
        self.observation_space = gym.spaces.MultiDiscrete([states.n])
        self.action_space = gym.spaces.MultiDiscrete([actions.n])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset; the state's number ``[1]``."""
        state, info = self.env.reset(seed=seed, options=options)
        return np.array([state - self._first_state]), info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step by the number ``[1]`` of an action; raises ValueError if there is none such."""
        number = float(action[0])
        expected = f"a whole number from 0 to {self._actions - 1}"
        require(number in range(self._actions), "action", expected, number)
        state, reward, terminated, truncated, info = self.env.step(int(number) + self._first_action)
        return np.array([state - self._first_state]), reward, terminated, truncated, info


class FiniteOrError(gym.Wrapper[Any, Any, Any, Any]):
    """Raise :class:`PlantError` as soon as an environment reports NaN or an infinity."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset; raises PlantError if the first observation is not finite."""
        observation, info = self.env.reset(seed=seed, options=options)
        _check_observation(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step; raises PlantError naming the observation entry or reward that is not finite."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        _check_observation(observation)
        if not np.isfinite(float(reward)):
            raise PlantError(f"reward: expected a finite number, got {reward}")
        return observation, reward, terminated, truncated, info


def _check_observation(observation: Any) -> None:
    entries = np.ravel(np.asarray(observation, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(entries))
    if bad.size:
        at = int(bad[0])
        raise PlantError(f"observation[{at}]: expected a finite number, got {entries[at]}")
