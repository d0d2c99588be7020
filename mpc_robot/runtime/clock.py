"""Time: the world's, and that of a plant in lock step."""

from __future__ import annotations

import time

AWAKE = 0.2e-3
"""How long before a deadline the clock wakes up and watches, s: sleepers wake some 0.1 ms late."""


class RealClock:
    """The system's monotonic clock, which no change of the date moves."""

    def now(self) -> float:
        """Seconds since the machine started."""
        return time.monotonic()

    def wait_until(self, deadline: float) -> None:
        """Sleep until shortly before ``deadline``, then watch it come; delays do not add up."""
        self.sleep_until(deadline - AWAKE)
        while time.monotonic() < deadline:
            pass

    def sleep_until(self, deadline: float) -> None:
        """Sleep until ``deadline``, or a little longer: where that does no harm."""
        if (ahead := deadline - time.monotonic()) > 0:
            time.sleep(ahead)


class ManualClock:
    """A clock that stands still until it is moved.

    Attributes:
        time: what it shows, s.
    """

    def __init__(self) -> None:
        """Start at 0."""
        self.time = 0.0

    def now(self) -> float:
        """What it shows."""
        return self.time

    def wait_until(self, deadline: float) -> None:
        """Nothing to wait for: in lock step, whoever steps the plant moves the clock."""
