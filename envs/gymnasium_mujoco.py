"""Gymnasium's MuJoCo tasks (v5), with their rewards and terminations for batches.

Each formula has the environment's published constants and equals it to rounding. Where the
environment's own observation does not determine them, ``observe`` adds or substitutes what is
missing; such an entry comes first or last, and ``model_inputs`` leaves it out, so that a learned
model predicts it without seeing it. So it does with targets, which no robot's motion depends on.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpc_robot.envs.arrays import Array, namespace
from mpc_robot.envs.base import Observation, Task
from mpc_robot.envs.rewards import never

Fields = Mapping[str, Observation]


def _squares(vector: Array) -> Array:
    """Sum of squares over the last axis, ``[..., n] -> [...]``."""
    total: Array = (vector**2).sum(-1)
    return total


def _within(x: Array, low: float, high: float) -> Array:
    """Where ``low < x < high``; False for NaN, as in the environments."""
    inside: Array = (low < x) & (x < high)
    return inside


def _alive(ends: Array, bonus: float) -> Array:
    """The bonus of every step that does not terminate."""
    earned: Array = namespace(ends).where(ends, 0.0, bonus)
    return earned


def positions_and_velocities(fields: Fields) -> Observation:
    """``[qpos, qvel]``: what most of these environments observe, less their absolute x."""
    return np.concatenate([fields["qpos"], fields["qvel"]], axis=-1)


# InvertedPendulum-v5 ------------------------------------------------------------------------------


def inverted_pendulum_terminated(next_obs: Array) -> Array:
    """The pole leans more than 0.2 rad."""
    finite = namespace(next_obs).isfinite(next_obs).all(-1)
    ends: Array = ~finite | (abs(next_obs[..., 1]) > 0.2)
    return ends


def inverted_pendulum_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """1 while the pole is up."""
    return _alive(inverted_pendulum_terminated(next_obs), 1.0)


# InvertedDoublePendulum-v5 ------------------------------------------------------------------------


def inverted_double_pendulum_observe(fields: Fields) -> Observation:
    """``[x, sin θ, cos θ, velocities, tip x, tip z]`` with two angles θ.

    Unlike the environment's, the velocities are not clipped at 10, and the tip's position is there:
    the reward is made of both, and the tip lags the angles by a stage of the integrator. The
    constraint force of the rail's ends is not there: nothing depends on it.
    """
    qpos, tip = fields["qpos"], fields["site_xpos"][..., 0, ::2]
    angles = qpos[..., 1:]
    parts = [qpos[..., :1], np.sin(angles), np.cos(angles), fields["qvel"], tip]
    return np.concatenate(parts, axis=-1)


def inverted_double_pendulum_terminated(next_obs: Array) -> Array:
    """The tip is at most 1 m above the rail; upright it is 1.2 m."""
    ends: Array = next_obs[..., 9] <= 1.0
    return ends


def inverted_double_pendulum_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """10 while up, less the tip's distance from (0, 2) and the poles' velocities, squared."""
    distance = 0.01 * next_obs[..., 8] ** 2 + (next_obs[..., 9] - 2.0) ** 2
    velocity = 1e-3 * next_obs[..., 6] ** 2 + 5e-3 * next_obs[..., 7] ** 2
    bonus = _alive(inverted_double_pendulum_terminated(next_obs), 10.0)
    total: Array = bonus - distance - velocity
    return total


# Reacher-v5 ---------------------------------------------------------------------------------------


def reacher_observe(fields: Fields) -> Observation:
    """``[cos q1, cos q2, sin q1, sin q2, target x, y, q̇1, q̇2, tip - target x, y]``."""
    qpos, xpos = fields["qpos"], fields["xpos"]
    tip, target = xpos[..., 3, :2], xpos[..., 4, :2]
    angles, velocities = qpos[..., :2], fields["qvel"][..., :2]
    parts = [np.cos(angles), np.sin(angles), qpos[..., 2:], velocities, tip - target]
    return np.concatenate(parts, axis=-1)


def reacher_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Less the distance of fingertip and target, m, and squared torques."""
    distance = _squares(next_obs[..., 8:10]) ** 0.5
    total: Array = -distance - _squares(action)
    return total


# Pusher-v5 ----------------------------------------------------------------------------------------


def pusher_observe(fields: Fields) -> Observation:
    """``[arm angles (7), their velocities (7), fingertip (3), object (3), goal (3)]``."""
    xpos = fields["xpos"]
    bodies = [xpos[..., 10, :], xpos[..., 11, :], xpos[..., 12, :]]
    return np.concatenate([fields["qpos"][..., :7], fields["qvel"][..., :7], *bodies], axis=-1)


def pusher_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Less the distances of object and goal and, by half, of object and fingertip, and torques."""
    tip, thing, goal = next_obs[..., 14:17], next_obs[..., 17:20], next_obs[..., 20:23]
    near, far = _squares(thing - tip) ** 0.5, _squares(thing - goal) ** 0.5
    total: Array = -far - 0.5 * near - 0.1 * _squares(action)
    return total


# Swimmer-v5 ---------------------------------------------------------------------------------------


def swimmer_observe(fields: Fields) -> Observation:
    """``[x, angles (3), velocities (5)]``: the environment's own after the x position."""
    qpos = fields["qpos"]
    return np.concatenate([qpos[..., :1], qpos[..., 2:], fields["qvel"]], axis=-1)


def swimmer_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Forward velocity, m/s, less 1e-4 of squared torques."""
    velocity = (next_obs[..., 0] - obs[..., 0]) / 0.04
    total: Array = velocity - 1e-4 * _squares(action)
    return total


# Hopper-v5: observes positions_and_velocities; velocities are not clipped, as termination asks ----


def hopper_terminated(next_obs: Array) -> Array:
    """Height at most 0.7 m, lean of 0.2 rad, or any further entry not within ±100."""
    sound = _within(next_obs[..., 2:], -100.0, 100.0).all(-1)
    ends: Array = ~(sound & (next_obs[..., 1] > 0.7) & _within(next_obs[..., 2], -0.2, 0.2))
    return ends


def hopper_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Forward velocity, m/s, and 1 while upright, less 1e-3 of squared torques."""
    velocity = (next_obs[..., 0] - obs[..., 0]) / 0.008
    total: Array = velocity + _alive(hopper_terminated(next_obs), 1.0) - 1e-3 * _squares(action)
    return total


# Walker2d-v5 --------------------------------------------------------------------------------------


def walker2d_observe(fields: Fields) -> Observation:
    """``[qpos (9), qvel (9) clipped at ±10]``: the environment's own after the x position."""
    return np.concatenate([fields["qpos"], np.clip(fields["qvel"], -10.0, 10.0)], axis=-1)


def walker2d_terminated(next_obs: Array) -> Array:
    """Height not within 0.8 .. 2 m, or a lean of 1 rad."""
    ends: Array = ~(_within(next_obs[..., 1], 0.8, 2.0) & _within(next_obs[..., 2], -1.0, 1.0))
    return ends


def walker2d_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Forward velocity, m/s, and 1 while upright, less 1e-3 of squared torques."""
    velocity = (next_obs[..., 0] - obs[..., 0]) / 0.008
    total: Array = velocity + _alive(walker2d_terminated(next_obs), 1.0) - 1e-3 * _squares(action)
    return total


# HalfCheetah-v5 -----------------------------------------------------------------------------------


def half_cheetah_observe(fields: Fields) -> Observation:
    """``[x, z, sin θ, cos θ, joint angles (6), velocities (9)]`` with the trunk's pitch θ.

    The environment's own θ counts turns, so that whoever fell over forwards and stood up again is
    somewhere new; PETS (arXiv:1805.12114) too sees its sine and cosine.
    """
    qpos = fields["qpos"]
    pitch = qpos[..., 2:3]
    parts = [qpos[..., :2], np.sin(pitch), np.cos(pitch), qpos[..., 3:], fields["qvel"]]
    return np.concatenate(parts, axis=-1)


def half_cheetah_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Forward velocity, m/s, less 0.1 of squared torques."""
    velocity = (next_obs[..., 0] - obs[..., 0]) / 0.05
    total: Array = velocity - 0.1 * _squares(action)
    return total


# Ant-v5 -------------------------------------------------------------------------------------------


def ant_observe(fields: Fields) -> Observation:
    """``[torso x, qpos without x and y (13), qvel (14), contact cost]``.

    The x is the torso's as the reward has it, which lags qpos by a stage of the integrator. The 78
    contact forces are summed up as the cost they make; MBPO (arXiv:1906.08253) leaves them out.
    """
    force = np.clip(fields["cfrc_ext"], -1.0, 1.0)
    cost = 5e-4 * (force**2).sum((-2, -1))
    x = fields["xpos"][..., 1, :1]
    parts = [x, fields["qpos"][..., 2:], fields["qvel"], cost[..., None]]
    return np.concatenate(parts, axis=-1)


def ant_terminated(next_obs: Array) -> Array:
    """Height not within 0.2 .. 1 m."""
    finite, z = namespace(next_obs).isfinite(next_obs).all(-1), next_obs[..., 1]
    ends: Array = ~(finite & (z >= 0.2) & (z <= 1.0))
    return ends


def ant_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Forward velocity, m/s, and 1 while upright, less 0.5 of squared torques and contact cost."""
    velocity = (next_obs[..., 0] - obs[..., 0]) / 0.05
    costs = 0.5 * _squares(action) + next_obs[..., 28]
    total: Array = velocity + _alive(ant_terminated(next_obs), 1.0) - costs
    return total


# Humanoid-v5 --------------------------------------------------------------------------------------


def humanoid_observe(fields: Fields) -> Observation:
    """``[mass centre x, qpos without x and y (22), qvel (23), contact cost]``.

    The x is the mass centre's as the reward has it, which lags qpos by a stage of the integrator.
    Of the environment's own 348 entries, the inertias, velocities and forces of the bodies are left
    out, as in MBPO (arXiv:1906.08253); the contact forces are summed up as the cost they make.
    """
    cost = np.minimum(5e-7 * (fields["cfrc_ext"] ** 2).sum((-2, -1)), 10.0)
    x = fields["subtree_com"][..., 0, :1]
    parts = [x, fields["qpos"][..., 2:], fields["qvel"], cost[..., None]]
    return np.concatenate(parts, axis=-1)


def humanoid_terminated(next_obs: Array) -> Array:
    """Height not within 1 .. 2 m."""
    ends: Array = ~_within(next_obs[..., 1], 1.0, 2.0)
    return ends


def humanoid_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """1.25 of forward velocity, and 5 while up, less 0.1 of squared controls and contact cost."""
    velocity = (next_obs[..., 0] - obs[..., 0]) / 0.015
    costs = 0.1 * _squares(action) + next_obs[..., 46]
    total: Array = 1.25 * velocity + _alive(humanoid_terminated(next_obs), 5.0) - costs
    return total


# The tasks ----------------------------------------------------------------------------------------

GYMNASIUM_MUJOCO = (
    Task(
        name="InvertedPendulum-v5",
        env_id="InvertedPendulum-v5",
        description="keep a pole upright by pushing its cart",
        reward=inverted_pendulum_reward,
        terminated=inverted_pendulum_terminated,
        observe=positions_and_velocities,
        fields=("qpos", "qvel"),
    ),
    Task(
        name="InvertedDoublePendulum-v5",
        env_id="InvertedDoublePendulum-v5",
        description="keep two poles upright, one on the other, by pushing their cart",
        reward=inverted_double_pendulum_reward,
        terminated=inverted_double_pendulum_terminated,
        observe=inverted_double_pendulum_observe,
        fields=("qpos", "qvel", "site_xpos"),
        model_inputs=tuple(range(8)),
    ),
    Task(
        name="Reacher-v5",
        env_id="Reacher-v5",
        description="bring the tip of a small two-link arm to a target",
        reward=reacher_reward,
        terminated=never,
        observe=reacher_observe,
        fields=("qpos", "qvel", "xpos"),
        model_inputs=(0, 1, 2, 3, 6, 7),
    ),
    Task(
        name="Pusher-v5",
        env_id="Pusher-v5",
        description="push a cylinder to a goal with an arm of seven joints",
        reward=pusher_reward,
        terminated=never,
        observe=pusher_observe,
        fields=("qpos", "qvel", "xpos"),
        model_inputs=tuple(range(20)),
    ),
    Task(
        name="Swimmer-v5",
        env_id="Swimmer-v5",
        description="swim forward with three links in a viscous fluid",
        reward=swimmer_reward,
        terminated=never,
        observe=swimmer_observe,
        fields=("qpos", "qvel"),
        model_inputs=tuple(range(1, 9)),
        policy_inputs=tuple(range(1, 9)),
    ),
    Task(
        name="Hopper-v5",
        env_id="Hopper-v5",
        description="hop forward on one leg without falling",
        reward=hopper_reward,
        terminated=hopper_terminated,
        observe=positions_and_velocities,
        fields=("qpos", "qvel"),
        model_inputs=tuple(range(1, 12)),
        policy_inputs=tuple(range(1, 12)),
    ),
    Task(
        name="Walker2d-v5",
        env_id="Walker2d-v5",
        description="walk forward on two legs in a plane without falling",
        reward=walker2d_reward,
        terminated=walker2d_terminated,
        observe=walker2d_observe,
        fields=("qpos", "qvel"),
        model_inputs=tuple(range(1, 18)),
        policy_inputs=tuple(range(1, 18)),
    ),
    Task(
        name="HalfCheetah-v5",
        env_id="HalfCheetah-v5",
        description="run forward in a plane",
        reward=half_cheetah_reward,
        terminated=never,
        observe=half_cheetah_observe,
        fields=("qpos", "qvel"),
        model_inputs=tuple(range(1, 19)),
        policy_inputs=tuple(range(1, 19)),
    ),
    Task(
        name="Ant-v5",
        env_id="Ant-v5",
        description="run forward on four legs",
        reward=ant_reward,
        terminated=ant_terminated,
        observe=ant_observe,
        fields=("qpos", "qvel", "xpos", "cfrc_ext"),
        model_inputs=tuple(range(1, 28)),
        policy_inputs=tuple(range(1, 28)),
    ),
    Task(
        name="Humanoid-v5",
        env_id="Humanoid-v5",
        description="run forward on two legs without falling",
        reward=humanoid_reward,
        terminated=humanoid_terminated,
        observe=humanoid_observe,
        fields=("qpos", "qvel", "subtree_com", "cfrc_ext"),
        model_inputs=tuple(range(1, 46)),
        policy_inputs=tuple(range(1, 46)),
    ),
)
