"""How to plan each task in its simulator: what was found to suit it."""

from __future__ import annotations

from mpc_robot.controllers.icem import ICEMConfig
from mpc_robot.controllers.simulator_planner import PlannerConfig

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
