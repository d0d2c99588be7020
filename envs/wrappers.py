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


class NumberedActions(gym.ActionWrapper[Any, Any, Any]):
    """Discrete actions as vectors of one entry, a number that counts from 0."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment with a Discrete action space."""
        super().__init__(env)
        actions: Any = env.action_space
        self._first, self._count = int(actions.start), int(actions.n)
        self.action_space = gym.spaces.MultiDiscrete([actions.n])

    def action(self, action: Any) -> int:
        """The environment's own action of a number ``[1]``; ValueError if there is none such."""
        number = float(action[0])
        expected = f"a whole number from 0 to {self._count - 1}"
        require(number in range(self._count), "action", expected, number)
        return int(number) + self._first


class NumberedStates(gym.ObservationWrapper[Any, Any, Any]):
    """Discrete observations as vectors of one entry, a number that counts from 0."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment with a Discrete observation space."""
        super().__init__(env)
        states: Any = env.observation_space
        self._first = int(states.start)
        self.observation_space = gym.spaces.MultiDiscrete([states.n])

    def observation(self, observation: Any) -> Any:
        """The number ``[1]`` of a state."""
        return np.array([observation - self._first])


def numbered(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """An environment whose states and actions, where they are Discrete, are numbers ``[1]``."""
    if isinstance(env.action_space, gym.spaces.Discrete):
        env = NumberedActions(env)
    discrete = isinstance(env.observation_space, gym.spaces.Discrete)
    return NumberedStates(env) if discrete else env


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
