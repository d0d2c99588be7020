"""What a controller takes, made of what a plant reports."""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.dynamics.base import Sensed
from mpc_robot.envs import Task, make_env
from mpc_robot.envs.base import check_physics_state, env_spec
from mpc_robot.envs.wrappers import read_fields
from mpc_robot.errors import require
from mpc_robot.runtime.base import RobotState

Floats = npt.NDArray[np.float64]
INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)


class Sensing:
    """The observation or the physics state of a task's robot.

    Attributes:
        task: what the robot is to do.
        spec: sizes, bounds of actions and control period of the task.
        model: the robot's MuJoCo model; None if it has none.
        physics_dim: S, entries of an integration state; 0 without a model.
    """

    def __init__(self, task: Task) -> None:
        """Read the task's environment."""
        env = make_env(task)
        self.task, self.spec = task, env_spec(env)
        self.model: mujoco.MjModel | None = getattr(env.unwrapped, "model", None)
        self.physics_dim = 0
        if self.model is not None:
            self.physics_dim = mujoco.mj_stateSize(self.model, INTEGRATION)
            self._data = mujoco.MjData(self.model)
        env.close()

    def check(self, state: RobotState) -> None:
        """Refuse a state of another robot.

        Raises:
            ValueError: if its observation is not ``[D]``, or its physics are not ``[S]`` or no
                integration state of the model.
        """
        parts = (
            ("observation", state.observation, (self.spec.observation_dim,)),
            ("physics", state.physics, (self.physics_dim,)),
        )
        for name, part, shape in parts:
            if part is not None:
                require(np.shape(part) == shape, name, f"shape {shape}", np.shape(part))
        if self.model is not None and state.physics is not None:
            check_physics_state(self.model, state.physics)

    def sensed(self, state: RobotState, observes: Sensed) -> Floats:
        """What ``act`` of a controller that ``observes`` so takes.

        Raises:
            ValueError: if the plant reports neither that nor what it follows from.
        """
        if observes == "observation" and state.observation is not None:
            return state.observation
        if state.physics is None:
            raise ValueError(f"state: expected one with a {observes}, got one without physics")
        return state.physics if observes == "state" else self.observe(state.physics)

    def observe(self, physics: Floats) -> Floats:
        """The task's observation ``[D]`` in a physics state ``[S]``.

        Raises:
            ValueError: if the task does not say how it observes.
        """
        if self.model is None or self.task.observe is None:
            raise ValueError(f"task {self.task.name}: expected `observe`, got none")
        mujoco.mj_setState(self.model, self._data, physics, INTEGRATION)
        mujoco.mj_forward(self.model, self._data)
        return self.task.observe(read_fields(self._data, self.task.fields))
