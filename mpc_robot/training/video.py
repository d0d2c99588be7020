"""A video of one episode, at the task's own pace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v2 as imageio
import numpy as np
import numpy.typing as npt

from mpc_robot.controllers.base import Controller
from mpc_robot.envs import Task, env_spec, make_env
from mpc_robot.training.evaluation import Episode, run_episode

Frame = npt.NDArray[np.uint8]


class RenderingUnavailable(RuntimeError):  # noqa: N818 - it is a state of the machine, no mistake
    """This machine or environment can not make pictures."""


def record_video(
    task: Task, controller: Controller, seed: int, path: Path, max_steps: int | None = None
) -> Episode:
    """Run one episode and write it to ``path`` as MP4 (H.264).

    Raises:
        RenderingUnavailable: if no picture can be made, say for want of EGL; nothing was written.
        PlantError: if the environment reports NaN or an infinity.
    """
    env = _renderable(task)
    try:
        frames: list[Frame] = []
        episode = run_episode(
            env, controller, seed, max_steps, on_step=lambda: frames.append(_frame(env))
        )
        write_video(path, frames, fps=1.0 / env_spec(env).dt)
    finally:
        env.close()
    return episode


def write_video(path: Path, frames: list[Frame], fps: float) -> None:
    """Write RGB ``frames`` ``[height, width, 3]`` as MP4, ``fps`` of them a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.mimwrite(path, frames, fps=fps, macro_block_size=2)


def _renderable(task: Task) -> gym.Env[Any, Any]:
    """An environment that has proved that it renders."""
    try:
        env: gym.Env[Any, Any] = make_env(task, render_mode="rgb_array")
        env.reset(seed=0)
        _frame(env)
    except Exception as error:  # each OpenGL stack fails in its own way
        raise RenderingUnavailable(
            f"{task.name} can not be rendered here ({type(error).__name__}: {error}); "
            "on a machine without a display install EGL or OSMesa and set MUJOCO_GL"
        ) from error
    return env


def _frame(env: gym.Env[Any, Any]) -> Frame:
    frame = env.render()
    if not isinstance(frame, np.ndarray):
        raise TypeError(f"expected a picture from render(), got {type(frame).__name__}")
    return frame
