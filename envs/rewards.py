"""Pieces of rewards and terminations: the tolerance of arXiv:1801.00690 (dm_control)."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Literal

from mpc_robot.envs.arrays import Array, namespace
from mpc_robot.errors import require

Sigmoid = Literal[
    "gaussian",
    "hyperbolic",
    "long_tail",
    "reciprocal",
    "cosine",
    "linear",
    "quadratic",
    "tanh_squared",
]
_REACHES_ZERO = ("cosine", "linear", "quadratic")


def tolerance(
    x: Array,
    bounds: tuple[float, float] = (0.0, 0.0),
    margin: float = 0.0,
    sigmoid: Sigmoid = "gaussian",
    value_at_margin: float = 0.1,
) -> Array:
    """1 where ``x`` is within bounds, falling to ``value_at_margin`` at ``margin`` from them.

    Args:
        x: any quantity, elementwise ``[...]``.
        bounds: least and greatest ``x`` that are as good as can be, in its unit; may be infinite.
        margin: distance from the bounds at which the value is ``value_at_margin``, in the unit of
            ``x``; 0 for a value of 0 right outside.
        sigmoid: how it falls: ``cosine``, ``linear`` and ``quadratic`` reach 0 and stay there,
            ``long_tail``, ``reciprocal`` and ``hyperbolic`` still tell far from farther.
        value_at_margin: in (0, 1); may be 0 for those that reach 0.

    Raises:
        ValueError: if an argument makes no sense.
    """
    low, high = bounds
    require(low <= high, "bounds", "the lower one first", bounds)
    require(0 <= margin < math.inf, "margin", "not negative", margin)
    require(sigmoid in _SIGMOIDS, "sigmoid", f"one of {sorted(_SIGMOIDS)}", sigmoid)
    sensible = 0 < value_at_margin < 1 or (value_at_margin == 0 and sigmoid in _REACHES_ZERO)
    require(sensible, "value_at_margin", "in (0, 1)", value_at_margin)
    xp = namespace(x)
    outside = xp.clip(xp.maximum(low - x, x - high), 0.0, None)
    if margin == 0:
        nearness: Array = xp.where(outside <= 0, 1.0, 0.0)
    else:
        nearness = _SIGMOIDS[sigmoid](outside / margin, value_at_margin)
    return nearness


def _gaussian(d: Array, v: float) -> Array:
    return v ** (d**2)


def _hyperbolic(d: Array, v: float) -> Array:
    decay = namespace(d).exp(-d * math.acosh(1.0 / v))
    return 2.0 * decay / (1.0 + decay**2)  # type: ignore[no-any-return]


def _long_tail(d: Array, v: float) -> Array:
    return 1.0 / (1.0 + (1.0 / v - 1.0) * d**2)


def _reciprocal(d: Array, v: float) -> Array:
    return 1.0 / (1.0 + (1.0 / v - 1.0) * d)


def _cosine(d: Array, v: float) -> Array:
    xp = namespace(d)
    angle = xp.clip(d * math.acos(2.0 * v - 1.0), 0.0, math.pi)
    return (1.0 + xp.cos(angle)) / 2.0  # type: ignore[no-any-return]


def _linear(d: Array, v: float) -> Array:
    return namespace(d).clip(1.0 - (1.0 - v) * d, 0.0, None)  # type: ignore[no-any-return]


def _quadratic(d: Array, v: float) -> Array:
    return namespace(d).clip(1.0 - (1.0 - v) * d**2, 0.0, None)  # type: ignore[no-any-return]


def _tanh_squared(d: Array, v: float) -> Array:
    return 1.0 - namespace(d).tanh(d * math.atanh(math.sqrt(1.0 - v))) ** 2  # type: ignore[no-any-return]


_SIGMOIDS: MappingProxyType[str, Callable[[Any, float], Any]] = MappingProxyType(
    {
        "gaussian": _gaussian,
        "hyperbolic": _hyperbolic,
        "long_tail": _long_tail,
        "reciprocal": _reciprocal,
        "cosine": _cosine,
        "linear": _linear,
        "quadratic": _quadratic,
        "tanh_squared": _tanh_squared,
    }
)
"""Value at ``d`` margins from the bounds, ``d[...] >= 0``, and ``v`` at one margin."""


def never(next_obs: Array) -> Array:
    """The termination of a task that only the clock ends: False, ``[..., D] -> [...]``."""
    ends: Array = namespace(next_obs).zeros(next_obs.shape[:-1], dtype=bool)
    return ends
