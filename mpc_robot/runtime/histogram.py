"""Distributions of times that a loop can count at every tick."""

from __future__ import annotations

import math

import numpy as np

_LEAST, _RATIO, _BINS = 1e-7, 1.01, 2_100  # 100 ns to two minutes, 1% wide
_SCALE = 1.0 / math.log(_RATIO)


class Histogram:
    """Counts of durations in bins that are 1% wide.

    Attributes:
        count: durations so far.
        greatest: the longest of them, s.
    """

    def __init__(self) -> None:
        """Empty."""
        self.count, self.greatest = 0, 0.0
        self._bins = np.zeros(_BINS, np.int64)  # one that a status is made of at once

    def add(self, seconds: float) -> None:
        """Count one; what is not positive counts as the least."""
        at = int(math.log(max(seconds, _LEAST) / _LEAST) * _SCALE)
        self._bins[min(at, _BINS - 1)] += 1
        self.count += 1
        self.greatest = max(self.greatest, float(seconds))

    def quantile(self, share: float) -> float:
        """The duration, s, that a ``share`` of them does not exceed, to 1%; 0 while empty."""
        if self.count == 0:
            return 0.0
        at = int(np.searchsorted(np.cumsum(self._bins), share * self.count))
        return min(float(_LEAST * _RATIO ** (at + 0.5)), self.greatest)

    def summary(self) -> dict[str, float]:
        """Count, median, 99% and greatest, s."""
        quantiles = {"p50": self.quantile(0.5), "p99": self.quantile(0.99)}
        return {"count": self.count, **quantiles, "max": self.greatest}
