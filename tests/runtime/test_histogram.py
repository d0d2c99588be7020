"""Quantiles are NumPy's, to the width of a bin."""

import numpy as np
import pytest

from mpc_robot.runtime.histogram import Histogram


@pytest.mark.parametrize("scale", [2e-6, 1e-3, 5.0])
def test_quantiles(scale: float) -> None:
    times = np.random.default_rng(0).lognormal(0.0, 1.0, 10_000) * scale
    histogram = Histogram()
    for seconds in times:
        histogram.add(seconds)
    for share in (0.01, 0.5, 0.99):
        assert histogram.quantile(share) == pytest.approx(
            np.quantile(times, share, method="inverted_cdf"), rel=0.011
        )
    assert histogram.summary()["max"] == times.max()
    assert histogram.summary()["count"] == 10_000


def test_extremes_are_counted() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.5) == 0.0
    for seconds in (-1.0, 0.0, 1e9):
        histogram.add(seconds)
    assert histogram.count == 3
    assert histogram.greatest == 1e9
    assert histogram.quantile(0.5) <= 1.1e-7
