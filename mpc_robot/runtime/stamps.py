"""Time across the wire: the stamps of another clock, and the clock of a simulator."""

from __future__ import annotations

import math
import mmap
import time
from typing import Any

import numpy as np

from mpc_robot.runtime.base import Clock
from mpc_robot.runtime.clock import RealClock
from mpc_robot.runtime.topics import Topics

_POLL = 2e-4  # s between looks at a clock that somebody else moves


class StampMap:
    """What stamps of a sender's clock are on the clock here.

    A message takes a time to arrive that varies, but the least delay among many is nearly always
    the same. So the clocks are apart by the least difference of arrival and stamp seen lately, and
    what a message was late beyond that is part of its age. A sender's clock that drifts is followed
    within two windows, one that is set forward at once, one that is set back after ``patience``
    messages: until then they look as if they were out of order.

    Attributes:
        restarts: how often the sender's clock was set back, or the sender began anew.
    """

    def __init__(self, window: float = 10.0, patience: int = 10) -> None:
        """Know nothing yet.

        Args:
            window: how long a least delay is remembered, s, and again as long.
            patience: old stamps in a row, rising among themselves, that are believed.
        """
        self.restarts = 0
        self._window, self._patience = window, patience
        self._last = self._suspect = -math.inf
        self._late, self._turn = 0, -math.inf
        self._before = self._least = math.inf

    def local(self, stamp: float, arrival: float) -> float | None:
        """When that was here, s, at most ``arrival``; None if it is not newer than one before."""
        if stamp <= self._last:
            self._late = self._late + 1 if stamp > self._suspect else 1
            self._suspect = stamp
            if self._late < self._patience:
                return None
            self.restarts += 1
            self._before = self._least = math.inf
        self._last, self._late = stamp, 0
        if arrival >= self._turn:
            self._before, self._least, self._turn = self._least, math.inf, arrival + self._window
        self._least = min(self._least, arrival - stamp)
        return stamp + min(self._before, self._least)


def split(seconds: float) -> tuple[int, int]:
    """A time as messages have it: whole seconds, and nanoseconds."""
    whole = int(seconds)
    return whole, min(int((seconds - whole) * 1e9), 999_999_999)


def joined(stamp: Any) -> float:
    """The ``sec`` and ``nanosec`` of a message in s."""
    return float(stamp.sec + 1e-9 * stamp.nanosec)


class SimulatedClock:
    """The time that a simulator publishes; processes forked after it was made see it, too."""

    def __init__(self) -> None:
        """Show 0."""
        memory = mmap.mmap(-1, 24)
        self._time, self._skipped, self._ended = np.frombuffer(memory, np.float64, 3).reshape(3, 1)

    def set(self, now: float) -> None:
        """The simulator's time, s; one that goes back, as in a reset, only stops the clock here."""
        if now < self._time[0]:
            self._skipped[0] += self._time[0] - now
        self._time[0] = now

    def now(self) -> float:
        """What it shows, s."""
        return self.of(self._time[0])

    def of(self, stamp: float) -> float:
        """What it shows when the simulator's time is ``stamp``, s."""
        return float(stamp + self._skipped[0])

    def wait_until(self, deadline: float) -> None:
        """Return when it shows ``deadline``, or when it was closed."""
        while self.now() < deadline and not self._ended[0]:
            time.sleep(_POLL)

    def close(self) -> None:
        """Let nobody wait any more."""
        self._ended[0] = 1.0


def clock_of(topics: Topics) -> Clock:
    """The clock that stamps are counted on over such topics."""
    return SimulatedClock() if topics.sim_time else RealClock()
