"""The problems: tasks, and the environments behind them. Importing it registers our own."""

from mpc_robot.envs.base import (
    DiscreteSpec,
    EnvSpec,
    PixelSpec,
    TableSpec,
    Task,
    View,
    control_period,
    discrete_spec,
    env_spec,
    episode_limit,
    physics_state,
    pixel_spec,
    table_spec,
)
from mpc_robot.envs.mjcf import MjcfEnv
from mpc_robot.envs.registry import TASKS, get_task, make_env, register_environments
from mpc_robot.envs.servo import PDServo

__all__ = [
    "TASKS",
    "DiscreteSpec",
    "EnvSpec",
    "MjcfEnv",
    "PDServo",
    "PixelSpec",
    "TableSpec",
    "Task",
    "View",
    "control_period",
    "discrete_spec",
    "env_spec",
    "episode_limit",
    "get_task",
    "make_env",
    "physics_state",
    "pixel_spec",
    "table_spec",
]

register_environments()
