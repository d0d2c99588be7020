"""Robots that are not quite as the model says: one simulator per guess of what is not known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np
import numpy.typing as npt
import torch
from mujoco.batch import Batch

from mpc_robot.dynamics.linearization import TangentSpace
from mpc_robot.errors import require

Floats = npt.NDArray[np.float64]
Range = tuple[float, float]
SAME: Range = (1.0, 1.0)


@dataclass(frozen=True)
class Randomization:
    """What is not known of a robot, as ranges to draw K variants of its model from.

    Factors are drawn log-uniformly, so that half and double are as likely. Every candidate plan is
    tried in the same K variants, which are drawn once.

    Attributes:
        variants: K, simulators per candidate plan.
        mass: factor on each body's mass and inertia, one per body.
        friction: factor on the friction of all contacts and joints.
        damping: factor on each degree of freedom's damping.
        gain: factor on each actuator's gain, and on its bias where that is a servo's feedback.
        delay: range of the time, s, by which commands arrive late, rounded to physics steps.
        position_noise: standard deviation of the error of sensed joint positions, m and rad.
        velocity_noise: standard deviation of the error of sensed velocities, m/s and rad/s.
        nominal: whether the first variant is the model itself, without delay or noise.
        seed: decides the variants.
    """

    variants: int = 8
    mass: Range = SAME
    friction: Range = SAME
    damping: Range = SAME
    gain: Range = SAME
    delay: Range = (0.0, 0.0)
    position_noise: float = 0.0
    velocity_noise: float = 0.0
    nominal: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require(self.variants >= 1, "variants", "at least 1", self.variants)
        for name in ("mass", "friction", "damping", "gain"):
            low, high = getattr(self, name)
            require(0 < low <= high < math.inf, name, "0 < low <= high", (low, high))
        require(0 <= self.delay[0] <= self.delay[1] < math.inf, "delay", "times in s", self.delay)
        for name in ("position_noise", "velocity_noise"):
            require(0 <= getattr(self, name) < math.inf, name, "not negative", getattr(self, name))


@dataclass(frozen=True)
class Variants:
    """K variants of a model; the identity in every field for K = 1 and nothing randomised.

    Attributes:
        fields: model fields of each variant, ``{"body_mass": [K, nbody], ...}``.
        delay: physics steps by which commands arrive late ``[K]``.
        position_noise: standard deviation of the error of sensed positions ``[K]``.
        velocity_noise: standard deviation of the error of sensed velocities ``[K]``.
    """

    fields: dict[str, Floats]
    delay: npt.NDArray[np.int64]
    position_noise: Floats
    velocity_noise: Floats

    def __len__(self) -> int:
        """K."""
        return len(self.delay)

    def sensed(self, physics: Floats, model: mujoco.MjModel, rng: torch.Generator) -> Floats:
        """States ``[B, S]`` that may be the true ones where ``physics[B, S]`` was sensed.

        Simulation ``i`` is of variant ``i % K``; all of a variant have the same error.
        """
        if not (self.position_noise.any() or self.velocity_noise.any()):
            return physics
        tangent, many = TangentSpace(model), len(self)
        noise = torch.randn(2, many, model.nv, dtype=torch.float64, generator=rng).numpy()
        error = np.zeros((many, tangent.size))
        error[:, : model.nv] = noise[0] * self.position_noise[:, None]
        error[:, model.nv : 2 * model.nv] = noise[1] * self.velocity_noise[:, None]
        return tangent.add(physics, error[np.arange(len(physics)) % many])

    def put_into(self, batch: Batch) -> None:
        """Let simulation ``i`` of the batch be of variant ``i % K``."""
        which = np.arange(batch.nsim) % len(self)
        for name, values in self.fields.items():
            batch.expand(name)[:] = values[which]
        if self.fields:
            batch.set_const()


def draw_variants(model: mujoco.MjModel, config: Randomization | None) -> Variants:
    """The variants that the config's seed decides; the model alone for None."""
    if config is None:
        return Variants({}, np.zeros(1, dtype=np.int64), np.zeros(1), np.zeros(1))
    rng, num = np.random.default_rng(config.seed), config.variants
    randomised = np.ones(num, dtype=bool)
    randomised[0] = not config.nominal

    def factors(within: Range, size: int) -> Floats:
        """Log-uniform factors ``[num, size]``; ones for what is not randomised."""
        drawn = np.exp(rng.uniform(math.log(within[0]), math.log(within[1]), (num, size)))
        return np.where(randomised[:, None], drawn, 1.0)

    mass = factors(config.mass, model.nbody)
    friction = factors(config.friction, 1)
    gain = factors(config.gain, model.nu)[..., None]
    linear = (model.actuator_gaintype != mujoco.mjtGain.mjGAIN_MUSCLE)[:, None]
    scales = {
        "body_mass": mass,
        "body_inertia": mass[..., None],
        "geom_friction": friction[..., None],
        "pair_friction": friction[..., None],
        "dof_frictionloss": friction,
        "dof_damping": factors(config.damping, model.nv),
        "actuator_gainprm": np.where(linear, gain, 1.0),
        "actuator_biasprm": np.where(linear, gain, 1.0),
    }
    nominal = {name: np.array(getattr(model, name), dtype=np.float64) for name in scales}
    late = rng.uniform(*config.delay, num) / model.opt.timestep
    return Variants(
        fields={
            name: nominal[name] * scale
            for name, scale in scales.items()
            if nominal[name].size and (scale != 1).any()
        },
        delay=np.where(randomised, np.round(late), 0).astype(np.int64),
        position_noise=np.where(randomised, config.position_noise, 0.0),
        velocity_noise=np.where(randomised, config.velocity_noise, 0.0),
    )
