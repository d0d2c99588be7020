"""Control robots by planning with a model: simulated, learned, or both.

Importing it registers the environments of :mod:`mpc_robot.envs` with Gymnasium.
"""

from importlib.metadata import version

from mpc_robot import envs
from mpc_robot.envs.models import Motor, Servo
from mpc_robot.robot import Robot, from_mjcf

__version__ = version("mpc-robot")
__all__ = ["Motor", "Robot", "Servo", "envs", "from_mjcf"]
