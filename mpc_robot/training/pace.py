"""How fast an episode passes that somebody watches: in real time, slower, step by step, or not."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from time import monotonic

_POLL = 0.2
"""How often to look whether somebody still watches, s."""


class RestartedError(Exception):
    """The episode is to begin anew."""


class Pace:
    """Lets one thread go from control step to control step as other threads tell it to."""

    def __init__(self, period: float) -> None:
        """Begin in real time, where a control step takes ``period``, s."""
        self._period = period
        self._speed = 1.0
        self._paused = False
        self._steps = 0
        self._restart = False
        self._last = -math.inf
        self._changed = threading.Condition()

    def pause(self, paused: bool) -> None:
        """Stop before the next step, or go on."""
        with self._changed:
            self._paused, self._steps = paused, 0
            self._changed.notify_all()

    def step(self) -> None:
        """Let one more step pass while paused."""
        with self._changed:
            self._steps += self._paused
            self._changed.notify_all()

    def run_at(self, speed: float) -> None:
        """Pass at most ``speed`` times as fast as real time; infinity for no limit."""
        with self._changed:
            self._speed = speed
            self._changed.notify_all()

    def restart(self) -> None:
        """Begin the episode anew."""
        with self._changed:
            self._restart = True
            self._changed.notify_all()

    def wait(self) -> None:
        """Return when the next step may be taken.

        Raises:
            RestartedError: if the episode is to begin anew instead.
        """
        with self._changed:
            while (pause := self._pause()) != 0.0 and not self._restart:
                self._changed.wait(pause)
            if self._taken():
                raise RestartedError
            self._steps = max(0, self._steps - 1)
            self._last = monotonic()

    def again(self, watched: Callable[[], bool]) -> bool:
        """Wait while somebody watches; whether they want the episode to begin anew."""
        with self._changed:
            while watched() and not self._restart:
                self._changed.wait(_POLL)
            return self._taken()

    def _pause(self) -> float | None:
        """How long the next step must wait, s; None until somebody says so."""
        if self._paused:
            return 0.0 if self._steps > 0 else None
        return max(0.0, self._last + self._period / self._speed - monotonic())

    def _taken(self) -> bool:
        """Whether a restart was asked for, which now is taken care of."""
        asked, self._restart = self._restart, False
        return asked
