"""Settings of PETS that were found to suit each task."""

from __future__ import annotations

from dataclasses import replace

from mpc_robot.agents.pets import PETSConfig
from mpc_robot.agents.value import ValueConfig
from mpc_robot.controllers.icem import ICEMConfig
from mpc_robot.dynamics.ensemble import EnsembleConfig
from mpc_robot.dynamics.ensemble_fit import FitConfig

_SMALL = EnsembleConfig(hidden=128, layers=2)

_CARTPOLE = PETSConfig(
    ensemble=_SMALL,
    optimizer=ICEMConfig(num_samples=32),
    horizon=1.0,
    warmup_steps=200,
    warmup_hold=4,
    fit_every=50,
)
# Few steps are near upright before the pole has fallen: learn from them at once.
_BALANCE = replace(_CARTPOLE, optimizer=ICEMConfig(num_samples=64), fit_every=25)
_REACHER = PETSConfig(
    ensemble=_SMALL,
    fit=FitConfig(max_steps=1_000),
    optimizer=ICEMConfig(num_samples=64, initial_std=0.3, noise_beta=1.0),
    horizon=0.3,
    warmup_steps=200,
    warmup_hold=2,
    fit_every=100,
)
# A reward for staying up does not say that the cart runs out of rail: the value function does.
_INVERTED_PENDULUM = PETSConfig(
    ensemble=_SMALL,
    optimizer=ICEMConfig(num_samples=40, noise_beta=1.0),
    horizon=0.6,
    discount=0.99,
    value=ValueConfig(),
    warmup_steps=100,
    fit_every=50,
)
# So unstable that only a short plan can be found by sampling, and only with small noise.
_INVERTED_DOUBLE_PENDULUM = PETSConfig(
    ensemble=_SMALL,
    optimizer=ICEMConfig(num_samples=100, iterations=4, initial_std=0.2, noise_beta=0.0),
    horizon=0.2,
    discount=0.98,
    value=ValueConfig(gradient_steps=300),
    warmup_steps=200,
    fit_every=100,
)

PRESETS: dict[str, PETSConfig] = {
    "CartpoleSwingup-v0": _CARTPOLE,
    "CartpoleBalance-v0": _BALANCE,
    "ReacherTwoLink-v0": _REACHER,
    "InvertedPendulum-v5": _INVERTED_PENDULUM,
    "InvertedDoublePendulum-v5": _INVERTED_DOUBLE_PENDULUM,
    "Reacher-v5": _REACHER,
}


def pets_preset(task: str) -> PETSConfig:
    """The settings for a task's name; the paper-like defaults for tasks nobody tuned."""
    return PRESETS.get(task, PETSConfig())
