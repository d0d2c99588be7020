"""The deciders: what do I do now?"""

from mpc_robot.controllers.base import (
    Controller,
    Plan,
    Score,
    TrajectoryOptimizer,
    finite_or_worst,
    sense,
)
from mpc_robot.controllers.caution import Caution
from mpc_robot.controllers.cem import CEM, CEMConfig
from mpc_robot.controllers.filtered import FilteredController
from mpc_robot.controllers.gradient import GradientAscent, GradientConfig
from mpc_robot.controllers.icem import ICEM, ICEMConfig
from mpc_robot.controllers.ilqr import ILQR, ILQRConfig
from mpc_robot.controllers.lqr import LQR
from mpc_robot.controllers.mpc import MPC, TerminalValue
from mpc_robot.controllers.mppi import MPPI, MPPIConfig
from mpc_robot.controllers.optimizers import OPTIMIZERS, OptimizerConfig, make_optimizer
from mpc_robot.controllers.parameterization import ActionSpline, Interpolation, spline_for
from mpc_robot.controllers.predictive_sampling import PredictiveSampling, PredictiveSamplingConfig
from mpc_robot.controllers.random_shooting import RandomShooting, RandomShootingConfig
from mpc_robot.controllers.simple import ConstantController, RandomController

__all__ = [
    "CEM",
    "ICEM",
    "ILQR",
    "LQR",
    "MPC",
    "MPPI",
    "OPTIMIZERS",
    "ActionSpline",
    "CEMConfig",
    "Caution",
    "ConstantController",
    "Controller",
    "FilteredController",
    "GradientAscent",
    "GradientConfig",
    "ICEMConfig",
    "ILQRConfig",
    "Interpolation",
    "MPPIConfig",
    "OptimizerConfig",
    "Plan",
    "PredictiveSampling",
    "PredictiveSamplingConfig",
    "RandomController",
    "RandomShooting",
    "RandomShootingConfig",
    "Score",
    "TerminalValue",
    "TrajectoryOptimizer",
    "finite_or_worst",
    "make_optimizer",
    "sense",
    "spline_for",
]
