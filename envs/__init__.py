"""The problems: tasks, and the environments behind them. Importing it registers our own."""

from mpc_robot.envs.base import EnvSpec, Task, env_spec, physics_state
from mpc_robot.envs.mjcf import MjcfEnv
from mpc_robot.envs.registry import TASKS, get_task, make_env, register_environments
from mpc_robot.envs.servo import PDServo

__all__ = [
    "TASKS",
    "EnvSpec",
    "MjcfEnv",
    "PDServo",
    "Task",
    "env_spec",
    "get_task",
    "make_env",
    "physics_state",
]

register_environments()
