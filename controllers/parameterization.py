"""Action sequences as splines: fewer numbers to search for, and smoother commands."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.envs.base import EnvSpec
from mpc_robot.errors import require

Interpolation = Literal["zero", "linear", "cubic"]
_FEWEST_KNOTS = {"zero": 1, "linear": 1, "cubic": 3}


class ActionSpline:
    """Action sequences ``[H, A]`` within bounds, drawn through K knots evenly spread over H steps.

    ``zero`` holds each knot for H / K steps; ``linear`` and ``cubic`` put the first knot on the
    first step and the last on the last. ``cubic`` is the Hermite spline with second-order finite
    differences as slopes, so that a knot acts only nearby. K = H is one free action per step.

    Attributes:
        horizon: H, control steps of a plan.
        knots: K, knots of a plan.
        interpolation: what happens between knots.
        low: least action ``[A]``, float32.
        high: greatest action ``[A]``, float32.
        rest: the action of a plan when nothing is known ``[A]``.
        half_range: half of the distance between the bounds ``[A]``; optimizers take their noise
            relative to it.
    """

    def __init__(
        self,
        horizon: int,
        low: npt.ArrayLike,
        high: npt.ArrayLike,
        knots: int | None = None,
        interpolation: Interpolation = "zero",
        *,
        rest: npt.ArrayLike | None = None,
    ) -> None:
        """Spread ``knots`` (by default one per step) over ``horizon`` steps.

        ``rest`` is the action of a plan when nothing is known, by default half way between bounds.

        Raises:
            ValueError: if the horizon, the number of knots, the interpolation, a bound or the
                action at rest is not possible.
        """
        if horizon < 1:
            raise ValueError(f"horizon: expected at least 1 step, got {horizon}")
        if interpolation not in _FEWEST_KNOTS:
            raise ValueError(
                f"interpolation: expected one of {sorted(_FEWEST_KNOTS)}, got {interpolation!r}"
            )
        knots = horizon if knots is None else knots
        fewest = _FEWEST_KNOTS[interpolation]
        if not fewest <= knots <= horizon:
            raise ValueError(
                f"knots: expected {fewest} to {horizon} for a {interpolation} spline over "
                f"{horizon} steps, got {knots}"
            )
        self.horizon, self.knots, self.interpolation = horizon, knots, interpolation
        self.low, self.high = _bounds(low, high)
        middle = (self.low + self.high) / 2
        wanted = middle if rest is None else torch.as_tensor(np.asarray(rest, dtype=np.float32))
        require(wanted.shape == middle.shape, "rest", f"shape {tuple(middle.shape)}", wanted)
        self.rest = self.clamp(wanted)
        inside = torch.allclose(self.rest, wanted)  # but for rounding
        require(inside, "rest", f"an action from {self.low} to {self.high}", wanted)
        self.half_range = (self.high - self.low) / 2
        weights = _weights(horizon, knots, interpolation)
        one_step_later = np.concatenate([weights[1:], weights[-1:]])
        shift = np.linalg.pinv(weights) @ one_step_later
        self._decode = torch.as_tensor(weights, dtype=torch.float32)
        self._shift = torch.as_tensor(shift, dtype=torch.float32)

    @property
    def action_dim(self) -> int:
        """A, entries of an action."""
        return len(self.low)

    def decode(self, knots: Tensor) -> Tensor:
        """Actions ``[..., H, A]`` of ``knots[..., K, A]``, within bounds."""
        if self.knots == self.horizon:  # every step is a knot, whatever the interpolation
            return self.clamp(knots)
        return self.clamp(self._decode @ knots)

    def shift(self, knots: Tensor) -> Tensor:
        """``knots[..., K, A]`` of the same actions one control step later, the last action held.

        Where no spline goes through the later actions exactly, the nearest in least squares.
        """
        return self.clamp(self._shift @ knots)

    def clamp(self, actions: Tensor) -> Tensor:
        """``actions[..., A]`` moved to the nearest within bounds."""
        return actions.clamp(self.low, self.high)


def spline_for(
    spec: EnvSpec,
    horizon: float,
    knots: int | None = None,
    interpolation: Interpolation = "zero",
    *,
    rest: npt.ArrayLike | None = None,
) -> ActionSpline:
    """The spline over a task's bounds that looks ``horizon`` seconds ahead.

    Raises:
        ValueError: if the horizon is not a finite time of at least one control period, or the
            knots do not fit it.
    """
    if not spec.dt / 2 < horizon < np.inf:
        raise ValueError(
            f"horizon: expected at least one control period of {spec.dt:g} s, got {horizon} s"
        )
    steps = round(horizon / spec.dt)
    return ActionSpline(steps, spec.action_low, spec.action_high, knots, interpolation, rest=rest)


def _bounds(low: npt.ArrayLike, high: npt.ArrayLike) -> tuple[Tensor, Tensor]:
    """Both bounds in float32, rounded inward so that no float32 action exceeds a float64 bound."""
    least, greatest = np.asarray(low, np.float64), np.asarray(high, np.float64)
    for name, bound in (("low", least), ("high", greatest)):
        if bound.ndim != 1 or len(bound) == 0 or not np.isfinite(bound).all():
            raise ValueError(f"{name}: expected finite bounds [A], got {bound}")
    if least.shape != greatest.shape or not (least < greatest).all():
        raise ValueError(f"low: expected below high in every entry, got {least} and {greatest}")
    low32, high32 = least.astype(np.float32), greatest.astype(np.float32)
    inward_low = np.where(low32 < least, np.nextafter(low32, np.float32(np.inf)), low32)
    inward_high = np.where(high32 > greatest, np.nextafter(high32, np.float32(-np.inf)), high32)
    return torch.as_tensor(inward_low), torch.as_tensor(inward_high)


def _weights(horizon: int, knots: int, interpolation: Interpolation) -> npt.NDArray[np.float64]:
    """What each knot contributes to each step, ``[H, K]``; the rows sum to one."""
    identity = np.eye(knots)
    if interpolation == "zero":
        return identity[np.arange(horizon) * knots // horizon]
    position = np.linspace(0.0, knots - 1.0, horizon)
    if interpolation == "linear":
        return np.stack([np.interp(position, np.arange(knots), hat) for hat in identity], axis=1)
    left = np.minimum(position.astype(int), knots - 2)
    s = (position - left)[:, None]
    slopes = np.gradient(identity, axis=0, edge_order=2)
    weights: npt.NDArray[np.float64] = (
        (1 + 2 * s) * (1 - s) ** 2 * identity[left]
        + s * (1 - s) ** 2 * slopes[left]
        + s**2 * (3 - 2 * s) * identity[left + 1]
        + s**2 * (s - 1) * slopes[left + 1]
    )
    return weights
