"""Any MuJoCo model with an observation, a reward and a way to start: a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv

from mpc_robot.envs.base import Observation, ObserveFn, RewardFn
from mpc_robot.envs.wrappers import read_fields

StartFn = Callable[[mujoco.MjData, np.random.Generator], None]
"""Place a simulation, fresh from ``mj_resetData``, at the random start of an episode."""


class MjcfEnv(MujocoEnv):
    """A task on a model of one's own; the action is MuJoCo's ``ctrl``, nothing terminates."""

    def __init__(
        self,
        model_path: str | Path,
        *,
        observe: ObserveFn,
        fields: tuple[str, ...],
        reward: RewardFn,
        start: StartFn,
        frame_skip: int = 1,
        **kwargs: Any,
    ) -> None:
        """Load the model.

        Args:
            model_path: MJCF file; its actuators need a ``ctrlrange``.
            observe: observation from the MjData fields named in ``fields``.
            fields: MjData fields that ``observe`` reads.
            reward: reward of a transition.
            start: places the simulation at the start of an episode.
            frame_skip: physics steps in a control period.
            kwargs: rendering options of ``MujocoEnv``, such as ``camera_name``.
        """
        self._observe, self._fields = observe, fields
        self._reward, self._start = reward, start
        super().__init__(
            str(Path(model_path).resolve()), frame_skip, observation_space=None, **kwargs
        )
        size = len(self._observation())
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, shape=(size,), dtype=np.float64)
        self.metadata = {
            "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
            "render_fps": round(1.0 / self.dt),
        }

    def step(self, action: Any) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """Hold ``ctrl[A]`` for one control period."""
        obs, ctrl = self._observation(), np.asarray(action, dtype=np.float64)
        self.do_simulation(ctrl, self.frame_skip)
        next_obs = self._observation()
        if self.render_mode == "human":
            self.mujoco_renderer.render(self.render_mode)
        return next_obs, float(self._reward(obs, ctrl, next_obs)), False, False, {}

    def reset_model(self) -> Observation:
        """Start an episode and observe it."""
        self._start(self.data, self.np_random)
        mujoco.mj_forward(self.model, self.data)
        return self._observation()

    def _observation(self) -> Observation:
        return self._observe(read_fields(self.data, self._fields))
