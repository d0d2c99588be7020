"""Several environments of a task that are stepped together, each in a process of its own."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Any, SupportsFloat

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.async_vector_env import AsyncState

from mpc_robot.envs.base import Task
from mpc_robot.envs.pixels import CONTROL_STEPS
from mpc_robot.envs.registry import make_env

Step = tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]


class Resting(gym.Wrapper[Any, Any, Any, Any]):
    """Stays where its episode ended until it is reset, while others go on.

    Of what else environments say, which need not be alike, only the control steps are handed on.
    """

    _end: Step | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._end = None
        return super().reset(seed=seed, options=options)[0], {}

    def step(self, action: Any) -> Step:
        """Step if the episode goes on, else say again what was said at its end."""
        if self._end is not None:
            return self._end
        seen, reward, terminated, truncated, info = super().step(action)
        known = {name: info[name] for name in (CONTROL_STEPS,) if name in info}
        result = (seen, reward, terminated, truncated, known)
        if terminated or truncated:
            self._end = result
        return result


class Together(AsyncVectorEnv):
    """Environments that need not be waited for when they are closed: nothing of them is kept."""

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """End all processes, also where one was lost or is in the middle of a step."""
        self._state = AsyncState.DEFAULT
        super().close_extras(terminate=True)


def make_together(task: Task, num: int) -> Together:
    """So many of the task's environments; an episode that ended waits until all are reset.

    Raises:
        PlantError: when stepped, if one of them reports NaN.
    """
    # What was registered here need not be known to a new process.
    make = partial(_made, task, gym.spec(task.env_id.rpartition(":")[2]), os.getpid())
    return Together([make] * num, context="spawn", autoreset_mode=AutoresetMode.DISABLED)


def _made(task: Task, spec: EnvSpec, owner: int) -> gym.Env[Any, Any]:
    """The task's environment in a process that the terminal does not interrupt, but its owner."""
    if os.getpid() != owner:  # where Gymnasium makes one too, to know its spaces
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    gym.registry.setdefault(spec.id, spec)
    return Resting(make_env(task))
