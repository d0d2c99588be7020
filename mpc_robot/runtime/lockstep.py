"""A Gymnasium environment as a plant that waits for every command."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.envs import env_spec, physics_state
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.clock import ManualClock

Floats = npt.NDArray[np.float64]


class GymnasiumPlant:
    """An environment in lock step: writing a command advances it, and its clock, by one step.

    Attributes:
        clock: stands still but for that.
        rewards: of the episode so far.
        terminated: the task ended for good.
        truncated: the time was up.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int) -> None:
        """Reset ``env`` with ``seed``; an episode goes on to its end."""
        self.clock = ManualClock()
        self.rewards: list[float] = []
        self.terminated = self.truncated = False
        self._env, self._dt = env, env_spec(env).dt
        observation, _ = env.reset(seed=seed)
        base: Any = env.unwrapped
        self._has_physics = isinstance(getattr(base, "data", None), mujoco.MjData)
        self._state = self._report(observation)

    @property
    def over(self) -> bool:
        """Whether the episode ended."""
        return self.terminated or self.truncated

    def read(self) -> RobotState | None:
        """The state after the last step."""
        return self._state

    def write(self, command: Floats) -> None:
        """Take a step; after the episode's end, nothing happens."""
        if self.over:
            return
        observation, reward, terminated, truncated, _ = self._env.step(command)
        self.rewards.append(float(reward))
        self.terminated, self.truncated = bool(terminated), bool(truncated)
        self.clock.time = self._dt * len(self.rewards)
        self._state = self._report(observation)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _report(self, observation: Any) -> RobotState:
        """What the environment says of itself."""
        physics = physics_state(self._env) if self._has_physics else None
        seen = np.array(observation, dtype=np.float64)
        return RobotState(self.clock.time, len(self.rewards), physics, seen)
