"""Controllers that act on what a filter believes, for models whose state is not observed."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mpc_robot.controllers.base import Controller, Plan
from mpc_robot.dynamics.base import Sensed

Floats = npt.NDArray[np.float64]


class Filter(Protocol):
    """Turns observations over time into what a controller may act on."""

    def reset(self, seed: int) -> None:
        """Forget all that was seen."""
        ...

    def update(self, observation: Any, action: Floats | None) -> Floats:
        """The belief ``[D]`` after an observation that followed ``action``, None at first."""
        ...


class FilteredController:
    """A Controller of observations, made of one that takes a filter's beliefs for observations.

    With an MPC in a recurrent model it is PlaNet's planner (arXiv:1811.04551, algorithm 2), but
    that a search goes on from the last plan, and that chance is the same for all candidates.
    """

    observes: Sensed = "observation"

    def __init__(self, belief: Filter, controller: Controller) -> None:
        """Ask ``controller`` what to do in ``belief``; starts as after ``reset(0)``."""
        self.belief, self.controller = belief, controller
        self.reset(0)

    @property
    def plan(self) -> Plan | None:
        """What the controller last intended."""
        return self.controller.plan

    def reset(self, seed: int) -> None:
        """Forget the last episode; the same seed gives the same actions again."""
        self.belief.reset(seed)
        # With the same seed, candidates would be drawn by the same numbers as beliefs.
        self.controller.reset(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        self._done: Floats | None = None

    def act(self, sensed: Any) -> Floats:
        """The action ``[A]`` for an observation, which may be a frame."""
        self._done = self.controller.act(self.belief.update(sensed, self._done))
        return self._done
