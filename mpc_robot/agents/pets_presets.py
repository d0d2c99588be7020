"""Settings of PETS that were found to suit each task."""

from __future__ import annotations

from mpc_robot.agents.pets import PETSConfig
from mpc_robot.controllers.icem import ICEMConfig
from mpc_robot.dynamics.ensemble import EnsembleConfig
from mpc_robot.dynamics.ensemble_fit import FitConfig

_SMALL = EnsembleConfig(hidden=128, layers=2)
_CARTPOLE = PETSConfig(
    ensemble=_SMALL,
    fit=FitConfig(max_epochs=40),
    optimizer=ICEMConfig(num_samples=32),
    horizon=1.2,
    warmup_steps=200,
    warmup_hold=4,
    fit_every=100,
)

PRESETS: dict[str, PETSConfig] = {
    "CartpoleSwingup-v0": _CARTPOLE,
    "CartpoleBalance-v0": _CARTPOLE,
}


def pets_preset(task: str) -> PETSConfig:
    """The settings for a task's name; the paper-like defaults for tasks nobody tuned."""
    return PRESETS.get(task, PETSConfig())
