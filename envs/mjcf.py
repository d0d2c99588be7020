"""Any MuJoCo model with an observation, a reward and a way to start: a Gymnasium environment."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoRenderer

from mpc_robot.envs.base import Observation, ObserveFn, RewardFn, TerminationFn
from mpc_robot.envs.wrappers import read_fields

StartFn = Callable[[mujoco.MjData, np.random.Generator], None]
"""Place a simulation, fresh from ``mj_resetData``, at the random start of an episode."""
MoveFn = Callable[[mujoco.MjData], None]
"""Put what physics does not move, such as mocap bodies, where it is at ``data.time``, s."""


class MjcfEnv(gym.Env[Observation, Any]):
    """A task on a model of one's own; the action is MuJoCo's ``ctrl``.

    Attributes:
        model: a copy of the model; changing it does not change what a planner believes.
        data: the simulation.
        frame_skip: physics steps in a control period.
    """

    def __init__(
        self,
        model: mujoco.MjModel | str | Path,
        *,
        observe: ObserveFn,
        fields: tuple[str, ...],
        reward: RewardFn,
        start: StartFn,
        terminated: TerminationFn | None = None,
        move: MoveFn | None = None,
        frame_skip: int = 1,
        render_mode: str | None = None,
        camera_name: str | None = None,
        width: int = 480,
        height: int = 480,
    ) -> None:
        """Load the model.

        Args:
            model: a model or MJCF file; its actuators need a ``ctrlrange``.
            observe: observation from the MjData fields named in ``fields``.
            fields: MjData fields that ``observe`` reads.
            reward: reward of a transition.
            start: places the simulation at the start of an episode.
            terminated: what ends an episode for good; None if nothing does.
            move: called at the start and after every control step; None if nothing is moved so.
            frame_skip: physics steps in a control period.
            render_mode: ``human``, ``rgb_array``, ``depth_array``, ``rgbd_tuple`` or None.
            camera_name: the camera to draw from; None for one named ``track``, or a free one.
            width: of the picture, pixels.
            height: of the picture, pixels.
        """
        if isinstance(model, str | Path):
            self.model = mujoco.MjModel.from_xml_path(str(model))
        else:
            self.model = copy.copy(model)
        self.data = mujoco.MjData(self.model)
        self.frame_skip, self.render_mode = frame_skip, render_mode
        self._observe, self._fields, self._reward = observe, fields, reward
        self._start, self._terminated, self._move = start, terminated, move
        mujoco.mj_forward(self.model, self.data)
        size = len(self._observation())
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, shape=(size,), dtype=np.float64)
        low, high = self.model.actuator_ctrlrange.astype(np.float32).T
        self.action_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.metadata = {
            "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
            "render_fps": round(1.0 / self.dt),
        }
        picture = self.model.vis.global_
        picture.offwidth = max(picture.offwidth, width)
        picture.offheight = max(picture.offheight, height)
        self.mujoco_renderer = MujocoRenderer(
            self.model, self.data, width=width, height=height, camera_name=camera_name
        )

    @property
    def dt(self) -> float:
        """The control period, s."""
        return float(self.model.opt.timestep * self.frame_skip)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode and observe it."""
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self._start(self.data, self.np_random)
        if self._move is not None:
            self._move(self.data)
        mujoco.mj_forward(self.model, self.data)
        if self.render_mode == "human":
            self.render()
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold ``ctrl[A]`` for one control period.

        Raises:
            ValueError: if the action is of another size.
        """
        obs, ctrl = self._observation(), np.asarray(action, dtype=np.float64)
        if ctrl.shape != (self.model.nu,):
            raise ValueError(f"action: expected shape ({self.model.nu},), got {ctrl.shape}")
        self.data.ctrl[:] = ctrl
        mujoco.mj_step(self.model, self.data, nstep=self.frame_skip)
        next_obs = self._observation()
        if self._move is not None:
            self._move(self.data)
        if self.render_mode == "human":
            self.render()
        ends = self._terminated is not None and bool(self._terminated(next_obs))
        return next_obs, float(self._reward(obs, ctrl, next_obs)), ends, False, {}

    def render(self) -> Any:
        """The picture that ``render_mode`` asks for."""
        return self.mujoco_renderer.render(self.render_mode)

    def close(self) -> None:
        """Let go of window and drawing buffers."""
        self.mujoco_renderer.close()  # type: ignore[no-untyped-call]

    def _observation(self) -> Observation:
        return self._observe(read_fields(self.data, self._fields))
