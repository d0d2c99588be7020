"""An arm of two links on a table, to be brought to a target that is elsewhere in every episode."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from mpc_robot.envs.arrays import Array, norm
from mpc_robot.envs.base import Observation, Task
from mpc_robot.envs.mjcf import MjcfEnv
from mpc_robot.envs.rewards import never, tolerance

MODEL = Path(__file__).parent / "assets" / "reacher_two_link.xml"
FIELDS = ("qpos", "qvel", "mocap_pos")
UPPER, LOWER = 0.3, 0.25
"""Lengths of the links, m."""


def observe(fields: Mapping[str, Observation]) -> Observation:
    """``[cos q1, cos q2, sin q1, sin q2, q̇1, q̇2, target x, y, tip - target x, y]`` in rad/s, m."""
    angles, target = fields["qpos"], fields["mocap_pos"][..., 0, :2]
    direction = np.cumsum(angles, axis=-1)
    tip = np.stack([_reach(np.cos(direction)), _reach(np.sin(direction))], axis=-1)
    parts = [np.cos(angles), np.sin(angles), fields["qvel"], target, tip - target]
    return np.concatenate(parts, axis=-1)


def _reach(direction: Observation) -> Observation:
    """One coordinate of the fingertip, from that of each link's unit vector ``[..., 2]``, m."""
    return UPPER * direction[..., 0] + LOWER * direction[..., 1]


def reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Fingertip near target (0.1 at 0.3 m) x small control, each in [0, 1]."""
    near = tolerance(norm(next_obs[..., 8:10]), margin=0.3, sigmoid="long_tail")
    low_effort = tolerance(action, margin=1.0, sigmoid="quadratic", value_at_margin=0.0)
    product: Array = near * (4.0 + low_effort.mean(-1)) / 5.0
    return product


def start(data: mujoco.MjData, rng: np.random.Generator) -> None:
    """Any posture, at rest; the target anywhere within reach, evenly by area."""
    data.qpos[:] = rng.uniform(-np.pi, np.pi), rng.uniform(-2.5, 2.5)
    radius = np.sqrt(rng.uniform(0.15**2, 0.5**2))
    bearing = rng.uniform(-np.pi, np.pi)
    data.mocap_pos[0, :2] = radius * np.cos(bearing), radius * np.sin(bearing)


def reacher_two_link(**kwargs: Any) -> MjcfEnv:
    """The environment; the actions in [-1, 1] are torques, shares of 1 N·m and 0.5 N·m."""
    return MjcfEnv(
        MODEL,
        observe=observe,
        fields=FIELDS,
        reward=reward,
        start=start,
        frame_skip=2,
        **{"camera_name": "table", **kwargs},
    )


REACH = Task(
    name="ReacherTwoLink-v0",
    env_id="mpc_robot/ReacherTwoLink-v0",
    description="bring the tip of a two-link arm to a target",
    reward=reward,
    terminated=never,
    observe=observe,
    fields=FIELDS,
    model_inputs=tuple(range(6)),  # the arm moves alike wherever the target is
)
