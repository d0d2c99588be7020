"""Controllers that do not think, to compare the others with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpc_robot.controllers.base import Plan
from mpc_robot.dynamics.base import Sensed


class RandomController:
    """Uniformly random actions within bounds."""

    observes: Sensed = "observation"
    plan: Plan | None = None

    def __init__(self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> None:
        """Act within ``low[A]`` and ``high[A]``; starts as after ``reset(0)``."""
        self.low, self.high = low, high
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start the random numbers anew."""
        self._rng = np.random.default_rng(seed)

    def act(self, sensed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """A random action ``[A]``, whatever was sensed."""
        return self._rng.uniform(self.low, self.high)


class ConstantController:
    """The same action always; zeros leave most robots to themselves."""

    observes: Sensed = "observation"
    plan: Plan | None = None

    def __init__(self, action: npt.NDArray[np.float64]) -> None:
        """Act by ``action [A]``."""
        self.action = np.array(action, dtype=np.float64)

    def reset(self, seed: int) -> None:
        """Nothing is random, and nothing remembered."""

    def act(self, sensed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The action ``[A]``, whatever was sensed."""
        return self.action.copy()
