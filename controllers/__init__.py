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
from mpc_robot.controllers.simple import RandomController
from mpc_robot.controllers.tree_drawing import tree_svg
from mpc_robot.controllers.tree_rules import GumbelConfig, PUCTConfig, UCTConfig, Widening
from mpc_robot.controllers.tree_search import Decision, SearchConfig, TreeSearch, search
from mpc_robot.controllers.trees import Trees

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
    "Controller",
    "Decision",
    "FilteredController",
    "GradientAscent",
    "GradientConfig",
    "GumbelConfig",
    "ICEMConfig",
    "ILQRConfig",
    "Interpolation",
    "MPPIConfig",
    "OptimizerConfig",
    "PUCTConfig",
    "Plan",
    "PredictiveSampling",
    "PredictiveSamplingConfig",
    "RandomController",
    "RandomShooting",
    "RandomShootingConfig",
    "Score",
    "SearchConfig",
    "TerminalValue",
    "TrajectoryOptimizer",
    "TreeSearch",
    "Trees",
    "UCTConfig",
    "Widening",
    "finite_or_worst",
    "make_optimizer",
    "search",
    "sense",
    "spline_for",
    "tree_svg",
]
