"""Film an environment, at the task's own pace, with or without a display."""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v2 as imageio
import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.envs import Task, control_period, make_env
from mpc_robot.errors import RenderingUnavailable

MOST_FRAMES_PER_S = 30.0
Picture = npt.NDArray[np.uint8]
"""RGB ``[height, width, 3]``."""


def renderable_env(task: Task) -> gym.Env[Any, Any]:
    """The task's environment, after it has proved that it renders.

    Raises:
        RenderingUnavailable: if it does not, say for want of EGL on a machine without a display.
    """
    _render_without_display()
    try:
        env: gym.Env[Any, Any] = make_env(task, render_mode="rgb_array")
        _draw_plainly(env)
        env.reset(seed=0)
        picture(env)
    except Exception as error:  # each OpenGL stack fails in its own way
        reason = str(error).partition("\n")[0]
        raise RenderingUnavailable(
            f"{task.name} can not be rendered here ({type(error).__name__}: {reason}); without a "
            "display MuJoCo needs EGL or OSMesa, see MUJOCO_GL, and any other environment needs a "
            "render mode rgb_array"
        ) from error
    return env


@contextmanager
def film(
    env: gym.Env[Any, Any], path: Path, shoot: Callable[[], Picture] | None = None
) -> Iterator[Callable[[], None]]:
    """Write an MP4 (H.264) that plays at the task's pace; call what this yields at each step.

    Each frame is what ``shoot`` returns; by default, what the environment renders.
    """
    shoot = shoot or partial(picture, env)
    rate = 1.0 / control_period(env)
    every = math.ceil(rate / MOST_FRAMES_PER_S)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer: Any = imageio.get_writer(path, fps=rate / every, macro_block_size=2)
    steps = itertools.count()

    def take() -> None:
        """Write a frame of this step, if its turn has come."""
        if next(steps) % every == 0:
            writer.append_data(shoot())

    with writer:
        yield take


def picture(env: gym.Env[Any, Any]) -> Picture:
    """What the environment now looks like, RGB ``[height, width, 3]``.

    Raises:
        TypeError: if the environment was not made with the render mode ``rgb_array``.
    """
    frame = env.render()
    if not isinstance(frame, np.ndarray):
        raise TypeError(f"render: expected a picture, got {type(frame).__name__}")
    return frame


def _render_without_display() -> None:
    """Let MuJoCo render by EGL where there is no display, unless the user has chosen."""
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        os.environ.setdefault("MUJOCO_GL", "egl")


def _draw_plainly(env: gym.Env[Any, Any]) -> None:
    """Leave shadows and smooth edges out: in software, they are nine tenths of the work."""
    model = getattr(env.unwrapped, "model", None)
    if isinstance(model, mujoco.MjModel):
        model.vis.quality.shadowsize = 0
        model.vis.quality.offsamples = 0
