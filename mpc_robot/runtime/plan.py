"""A plan with its time: what actuation samples while the planner is at work on the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicHermiteSpline

from mpc_robot.errors import require

Floats = npt.NDArray[np.float64]
Sampling = Literal["zero", "linear", "cubic"]
SAMPLINGS: tuple[Sampling, ...] = ("zero", "linear", "cubic")


def check_sampling(sampling: str) -> None:
    """Raises ValueError if there is no such sampling."""
    require(sampling in SAMPLINGS, "sampling", f"one of {', '.join(SAMPLINGS)}", sampling)


@dataclass(frozen=True)
class TimedPlan:
    """Commands on a time grid.

    Attributes:
        start: when the first of them is meant to be sent, s.
        dt: time from one to the next, s.
        actions: ``[H, A]``.
        seen: stamp of the state that it was made from, s.
        latency: how long it took to make, s.
        value: what the planner thinks of it; -inf or NaN if nothing could be valued.
        divergence: by how much the state it was made from is not what was forecast of it, rad or m.
    """

    start: float
    dt: float
    actions: Floats
    seen: float
    latency: float = 0.0
    value: float = 0.0
    divergence: float = 0.0

    @property
    def sound(self) -> bool:
        """Whether it may be followed: it is all numbers, and something could be valued."""
        numbers = np.isfinite(self.actions).all() and np.isfinite(self.start)
        return bool(numbers and self.value > -np.inf)

    def sample(self, time: float, sampling: Sampling = "zero") -> Floats:
        """The command ``[A]`` at ``time``; before the plan its first, after it its last.

        ``zero`` holds each command for ``dt``, which is what a planner assumes that plans by steps;
        ``linear`` and ``cubic`` go through the commands at the starts of their steps. ``cubic`` is
        the Hermite spline with finite differences as slopes, kept within what the plan commands
        anywhere.
        """
        position = min(max((time - self.start) / self.dt, 0.0), len(self.actions) - 1.0)
        left = int(position + 1e-9)  # a deadline may be short of the grid by rounding
        if sampling == "zero" or left == len(self.actions) - 1:
            held: Floats = self.actions[left].copy()
            return held
        if sampling == "linear":
            step = self.actions[left + 1] - self.actions[left]
            between: Floats = self.actions[left] + (position - left) * step
            return between
        first = max(left - 1, 0)
        near = self.actions[first : left + 3]
        slopes = np.gradient(near, axis=0)
        spline = CubicHermiteSpline(np.arange(first, first + len(near)), near, slopes)
        smooth: Floats = spline(position)
        return np.clip(smooth, self.actions.min(axis=0), self.actions.max(axis=0))
