"""Several environments of a task that are stepped together, each in a process of its own."""

from __future__ import annotations

from functools import partial
from typing import Any, SupportsFloat

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from mpc_robot.envs.base import Task
from mpc_robot.envs.registry import make_env


class Resting(gym.Wrapper[Any, Any, Any, Any]):
    """Stays where its episode ended until it is reset, while others go on."""

    _end: tuple[Any, SupportsFloat, bool, bool, dict[str, Any]] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._end = None
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step if the episode goes on, else say again what was said at its end."""
        if self._end is not None:
            return self._end
        result = super().step(action)
        if result[2] or result[3]:
            self._end = result
        return result


def make_together(task: Task, num: int) -> AsyncVectorEnv:
    """So many of the task's environments; an episode that ended waits until all are reset.

    Raises:
        PlantError: when stepped, if one of them reports NaN.
    """
    # What was registered here need not be known to a new process.
    make = partial(_made, task, gym.spec(task.env_id))
    return AsyncVectorEnv([make] * num, context="spawn", autoreset_mode=AutoresetMode.DISABLED)


def _made(task: Task, spec: EnvSpec) -> gym.Env[Any, Any]:
    """The task's environment in another process."""
    gym.registry.setdefault(spec.id, spec)
    return Resting(make_env(task))
