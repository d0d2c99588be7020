"""A pole on a cart on a rail of 3.6 m: swing it up, or keep it up.

Physics and reward are those of the cartpole in arXiv:1801.00690 (dm_control), at 50 Hz. An episode
of 500 steps lasts 10 s, so a return here is half of a return there (1000 steps at 100 Hz).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from mpc_robot.envs.arrays import Array
from mpc_robot.envs.base import Observation, Task
from mpc_robot.envs.mjcf import MjcfEnv
from mpc_robot.envs.rewards import never, tolerance

MODEL = Path(__file__).parent / "assets" / "cartpole.xml"
FIELDS = ("qpos", "qvel")


def observe(fields: Mapping[str, Observation]) -> Observation:
    """``[x, sin θ, cos θ, ẋ, θ̇]`` in m, rad, s; θ is 0 upright."""
    qpos, qvel = fields["qpos"], fields["qvel"]
    x, angle = qpos[..., :1], qpos[..., 1:]
    return np.concatenate([x, np.sin(angle), np.cos(angle), qvel], axis=-1)


def reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Upright x centred x small control x small velocity, each in [0, 1] (arXiv:1801.00690)."""
    x, cosine, velocity = next_obs[..., 0], next_obs[..., 2], next_obs[..., 4]
    upright = (1.0 + cosine) / 2.0
    centred = (1.0 + tolerance(x, margin=2.0)) / 2.0
    small_control = (4.0 + tolerance(action[..., 0], (0, 0), 1.0, "quadratic", 0.0)) / 5.0
    small_velocity = (1.0 + tolerance(velocity, margin=5.0)) / 2.0
    product: Array = upright * centred * small_control * small_velocity
    return product


def start(data: mujoco.MjData, rng: np.random.Generator, angle: float) -> None:
    """Within 0.1 m of the middle and 2 degrees of the angle (rad), almost at rest."""
    data.qpos[0] = rng.uniform(-0.1, 0.1)
    data.qpos[1] = angle + rng.uniform(-1.0, 1.0) * np.deg2rad(2.0)
    data.qvel[:] = 0.01 * rng.standard_normal(2)


def cartpole(angle: float, **kwargs: Any) -> MjcfEnv:
    """The environment whose episodes start near ``angle`` (rad; π hangs down, 0 is upright).

    One action in [-1, 1]: the horizontal force on the cart as a share of 10 N.
    """
    return MjcfEnv(
        MODEL,
        observe=observe,
        fields=FIELDS,
        reward=reward,
        start=partial(start, angle=angle),
        frame_skip=2,
        **{"camera_name": "rail", **kwargs},
    )


SWINGUP = Task(
    name="CartpoleSwingup-v0",
    env_id="mpc_robot/CartpoleSwingup-v0",
    description="swing a pole up by pushing its cart, and hold it",
    reward=reward,
    terminated=never,
    observe=observe,
    fields=FIELDS,
)
BALANCE = Task(
    name="CartpoleBalance-v0",
    env_id="mpc_robot/CartpoleBalance-v0",
    description="keep a pole upright by pushing its cart",
    reward=reward,
    terminated=never,
    observe=observe,
    fields=FIELDS,
)
