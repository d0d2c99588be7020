"""How to plan each task in its simulator: what was found to suit it."""

from __future__ import annotations

from dataclasses import dataclass, field

from mpc_robot.controllers.icem import ICEMConfig
from mpc_robot.controllers.optimizers import OptimizerConfig
from mpc_robot.controllers.parameterization import Interpolation


@dataclass(frozen=True)
class PlannerConfig:
    """A search and what it searches over; defaults are for tasks that nobody tuned.

    Attributes:
        optimizer: settings of the optimizer, whose type says which one.
        horizon: how far a plan looks ahead, s.
        knots: free actions of a plan, spread over the horizon; None is one per control step.
        interpolation: what happens between knots.
        discount: of rewards per control step.
    """

    optimizer: OptimizerConfig = field(default_factory=ICEMConfig)
    horizon: float = 0.5
    knots: int | None = None
    interpolation: Interpolation = "zero"
    discount: float = 1.0


_CARTPOLE = PlannerConfig(ICEMConfig(num_samples=32), horizon=1.0)
_REACHER = PlannerConfig(ICEMConfig(num_samples=64, initial_std=0.3, noise_beta=1.0), horizon=0.3)

PRESETS: dict[str, PlannerConfig] = {
    "CartpoleSwingup-v0": _CARTPOLE,
    "CartpoleBalance-v0": _CARTPOLE,
    "ReacherTwoLink-v0": _REACHER,
    "Reacher-v5": _REACHER,
}


def simulator_preset(task: str) -> PlannerConfig:
    """The settings for a task's name; the defaults for tasks that nobody tuned."""
    return PRESETS.get(task, PlannerConfig())
