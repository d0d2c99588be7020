"""The gate that states of a plant pass before anybody acts on them."""

from __future__ import annotations

import numpy as np

from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.events import EventLog
from mpc_robot.runtime.sensing import Sensing

AHEAD = 0.01
"""How far a stamp may be ahead of the clock, s: clocks of two machines never agree quite."""


class StateGate:
    """Lets sound, newer states pass; the others are logged and otherwise ignored.

    Attributes:
        newest: the last state that passed; None before.
    """

    def __init__(self, events: EventLog, sensing: Sensing | None = None) -> None:
        """Log to ``events``; let only states of that robot pass, if it is known."""
        self.newest: RobotState | None = None
        self._events, self._sensing = events, sensing
        self._seen: RobotState | None = None

    def pass_on(self, now: float, state: RobotState | None) -> RobotState | None:
        """``state`` if it is new and sound, None otherwise; ``now`` is for the log, s."""
        if state is None or state is self._seen:
            return None
        seen, self._seen = self._seen, state
        if seen is not None and (state.stamp, state.number) == (seen.stamp, seen.number):
            return None
        if (fault := self._fault(now, state)) is not None:
            self._events.add(now, "state refused", fault)
            return None
        self.newest = state
        return state

    def _fault(self, now: float, state: RobotState) -> str | None:
        """What is wrong with a state, if anything."""
        if not np.isfinite(state.stamp):
            return "stamp is not finite"
        if state.stamp > now + AHEAD:
            return "from the future"
        if self.newest is not None and state.stamp <= self.newest.stamp:
            return "out of order"
        return self._unsound(state)

    def _unsound(self, state: RobotState) -> str | None:
        """What is wrong with what it says, if anything."""
        parts = [part for part in (state.physics, state.observation) if part is not None]
        if not parts:
            return "empty"
        if not all(np.isfinite(part).all() for part in parts):
            return "not finite"
        if self._sensing is not None:
            try:
                self._sensing.check(state)
            except ValueError as error:
                return str(error)
        return None
