"""Pieces of rewards and terminations; the tolerances in [0, 1] are those of arXiv:1801.00690."""

from __future__ import annotations

from mpc_robot.envs.arrays import Array, namespace


def gaussian_tolerance(x: Array, margin: float) -> Array:
    """1 at ``x = 0``, falling as a Gaussian to 0.1 at ``|x| = margin``; elementwise ``[...]``."""
    nearness: Array = 0.1 ** ((x / margin) ** 2)
    return nearness


def quadratic_tolerance(x: Array, margin: float) -> Array:
    """1 at ``x = 0``, falling as a parabola to 0 at ``|x| = margin`` and beyond; ``[...]``."""
    nearness: Array = namespace(x).clip(1.0 - (x / margin) ** 2, 0.0, None)
    return nearness


def long_tail_tolerance(squared: Array, margin: float) -> Array:
    """1 at distance 0, falling to 0.1 at ``margin`` and never quite flat beyond; ``[...]``.

    It takes the squared distance, so that its gradient exists at the target.
    """
    return 1.0 / (1.0 + 9.0 * squared / margin**2)


def never(next_obs: Array) -> Array:
    """The termination of a task that only the clock ends: False, ``[..., D] -> [...]``."""
    ends: Array = namespace(next_obs).zeros(next_obs.shape[:-1], dtype=bool)
    return ends
