"""Seam 6, Plant: where commands go and where states come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RobotState:
    """What a plant reports of itself.

    Attributes:
        stamp: when it was measured, s on the plant's clock.
        number: counts the reports; one that comes after a higher number is out of order. A plant
            that restarts begins again at 0.
        physics: integration state ``[S]`` (``mjSTATE_INTEGRATION``; see
            :func:`mpc_robot.envs.base.sensed_state`), which holds the plant's own time, or None
            for a plant without a MuJoCo model.
        observation: the task's observation ``[D]``, or None where it follows from ``physics``.
    """

    stamp: float
    number: int
    physics: Floats | None = None
    observation: Floats | None = None


class Clock(Protocol):
    """Time as a plant has it: that of the world, or its own in lock step."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def wait_until(self, deadline: float) -> None:
        """Return at ``deadline``, s, or at once if it is past."""
        ...


class Plant(Protocol):
    """A robot, simulated or real. Neither ``read`` nor ``write`` ever waits for it."""

    @property
    def clock(self) -> Clock:
        """What stamps are counted on."""
        ...

    @property
    def over(self) -> bool:
        """Whether nothing more can happen: the episode ended, or the plant was closed."""
        ...

    def read(self) -> RobotState | None:
        """The newest state, whether read before or not; None while there is none."""
        ...

    def write(self, command: Floats) -> None:
        """Send the command ``[A]``, in the units of the actuators (N·m, rad, ...)."""
        ...

    def close(self) -> None:
        """Let go of it; a plant with a say leaves the robot in its safe state."""
        ...
