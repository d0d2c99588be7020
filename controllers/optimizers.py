"""The trajectory optimizers by name, and the one that a config belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpc_robot.controllers.base import TrajectoryOptimizer
from mpc_robot.controllers.cem import CEM, CEMConfig
from mpc_robot.controllers.gradient import GradientAscent, GradientConfig
from mpc_robot.controllers.icem import ICEM, ICEMConfig
from mpc_robot.controllers.mppi import MPPI, MPPIConfig
from mpc_robot.controllers.parameterization import ActionSpline
from mpc_robot.controllers.predictive_sampling import PredictiveSampling, PredictiveSamplingConfig
from mpc_robot.controllers.random_shooting import RandomShooting, RandomShootingConfig

OptimizerConfig = (
    CEMConfig
    | GradientConfig
    | ICEMConfig
    | MPPIConfig
    | PredictiveSamplingConfig
    | RandomShootingConfig
)

OPTIMIZERS: dict[str, tuple[type[Any], Callable[[ActionSpline, Any], TrajectoryOptimizer]]] = {
    "random-shooting": (RandomShootingConfig, RandomShooting),
    "predictive-sampling": (PredictiveSamplingConfig, PredictiveSampling),
    "cem": (CEMConfig, CEM),
    "icem": (ICEMConfig, ICEM),
    "mppi": (MPPIConfig, MPPI),
    "gradient": (GradientConfig, GradientAscent),
}
"""Name on the command line -> (config class, optimizer class)."""


def make_optimizer(spline: ActionSpline, config: OptimizerConfig) -> TrajectoryOptimizer:
    """The optimizer that ``config`` is the config of, over ``spline``."""
    by_config = dict(OPTIMIZERS.values())
    return by_config[type(config)](spline, config)
