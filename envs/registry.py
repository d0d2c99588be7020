"""The tasks by name, and the one way to make an environment."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym

from mpc_robot.envs import cartpole, mazes, reacher_two_link
from mpc_robot.envs.base import Task, View
from mpc_robot.envs.gymnasium_mujoco import GYMNASIUM_MUJOCO
from mpc_robot.envs.openspiel import game_task, is_game, register_games
from mpc_robot.envs.pixels import ActionRepeat, Pixels, split_view
from mpc_robot.envs.servo import ServoActions
from mpc_robot.envs.wrappers import FiniteOrError, Observe, muted_warnings, numbered
from mpc_robot.errors import RenderingUnavailable, UnknownNameError

TASKS: dict[str, Task] = {
    task.name: task
    for task in (cartpole.SWINGUP, cartpole.BALANCE, reacher_two_link.REACH, *GYMNASIUM_MUJOCO)
}
"""What is known in full, by name, and what was made since; any Gymnasium environment works too."""


def register_environments() -> None:
    """Make this package's own environments known to ``gymnasium.make``."""
    for task, entry_point, kwargs in (
        (cartpole.SWINGUP, "mpc_robot.envs.cartpole:cartpole", {"angle": math.pi}),
        (cartpole.BALANCE, "mpc_robot.envs.cartpole:cartpole", {"angle": 0.0}),
        (reacher_two_link.REACH, "mpc_robot.envs.reacher_two_link:reacher_two_link", {}),
    ):
        if task.env_id not in gym.registry:
            gym.register(task.env_id, entry_point, max_episode_steps=500, kwargs=kwargs)
    mazes.register_mazes()
    register_games()


def register_task(
    task: Task, make: Callable[..., gym.Env[Any, Any]], max_episode_steps: int
) -> None:
    """Make a task of one's own known here by its name, and to ``gymnasium.make`` by its id."""
    gym.register(task.env_id, make, max_episode_steps=max_episode_steps)
    TASKS[task.name] = task


def unused_name(name: str) -> str:
    """``name``, or ``name-2``, ``name-3`` … where tasks are called so already."""
    names = (name, *(f"{name}-{count}" for count in range(2, len(TASKS) + 3)))
    return next(each for each in names if f"{each}-v0" not in TASKS)


def get_task(name: str) -> Task:
    """The task of that name or Gymnasium id, seen as what follows it says.

    ``+pixels`` shows it as frames, ``+stackN`` as the last N of them, and ``+repeatN`` holds every
    action for N control steps, as in ``CartpoleSwingup-v0+pixels+repeat2``.

    A game that OpenSpiel knows, such as ``connect_four`` or ``go(board_size=5)``, is to be won.

    Any other id that Gymnasium knows, or ``module:Id`` whose module registers it, becomes a task
    whose reward and termination are learned; unless the module made it a task, as
    :func:`mpc_robot.from_mjcf` does.

    Raises:
        UnknownNameError: if there is no such task or environment; it names the nearest tasks.
        ValueError: if what follows its name makes no sense.
        ModuleNotFoundError: if the module imports another that is not there, or it is a game and
            OpenSpiel is not.
    """
    plain, view = split_view(name)
    if view != View():
        return replace(get_task(plain), name=name, view=view)
    for task in TASKS.values():
        if name in (task.name, task.env_id):
            return task
    if is_game(name):
        return game_task(name)
    module, _, env_id = name.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        if not module or env_id not in TASKS:
            gym.spec(env_id)
    except (gym.error.Error, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name not in _packages(module):
            raise  # the module is there, but lacks something itself
        raise UnknownNameError("task", name, TASKS) from error
    made = TASKS.get(env_id) if module else None
    return Task(name=name, env_id=name) if made is None else replace(made, name=name)


def _packages(module: str) -> list[str]:
    """``a.b.c`` as ``[a, a.b, a.b.c]``."""
    parts = module.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def make_env(task: Task, render_mode: str | None = None) -> gym.Env[Any, Any]:
    """The task's environment; NaN or an infinity that comes out of it is a PlantError.

    States and actions that are Discrete become vectors of one number, which counts from 0.

    Args:
        task: what to make.
        render_mode: as in ``gymnasium.make``, such as ``rgb_array``.

    Raises:
        gymnasium.error.Error: if Gymnasium cannot make it.
        TypeError: if it is to be seen as pixels, but neither MuJoCo simulates it, nor shows it
            frames itself.
        RenderingUnavailable: if it is to be seen as pixels, but nothing can be drawn here.
    """
    # Environments that cannot be rendered need not know the argument.
    render = {} if render_mode is None else {"render_mode": render_mode}
    kwargs = {**task.env_kwargs, **render}
    with muted_warnings():  # Gymnasium's models use attributes that MuJoCo will drop
        env: gym.Env[Any, Any] = gym.make(task.env_id, disable_env_checker=True, **kwargs)
    if task.observe is not None:
        env = Observe(env, task.observe, task.fields)
    if task.servo is not None:
        env = ServoActions(env, task.servo)
    env = FiniteOrError(numbered(env))
    if task.view.repeat > 1:
        env = ActionRepeat(env, task.view.repeat)
    if not task.view.pixels:
        return env
    try:
        return Pixels(env, task.view.stack)
    except (TypeError, RenderingUnavailable):
        env.close()
        raise
