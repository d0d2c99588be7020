"""Risk against sums by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mpc_robot.controllers.risk import CVaR, mean, worst

RETURNS = torch.tensor([[4.0, 1.0, 3.0, 2.0], [0.0, 8.0, 8.0, 8.0]])


def test_mean_worst_and_what_lies_between() -> None:
    assert mean(RETURNS).tolist() == [2.5, 6.0]
    assert worst(RETURNS).tolist() == [1.0, 0.0]
    assert CVaR(0.5)(RETURNS).tolist() == [1.5, 4.0]
    assert torch.equal(CVaR(1.0)(RETURNS), mean(RETURNS))
    assert torch.equal(CVaR(0.01)(RETURNS), worst(RETURNS))


@pytest.mark.parametrize("risk", [mean, worst, CVaR(0.25), CVaR(1.0)])
def test_one_particle_that_nobody_can_value_spoils_the_candidate(risk: object) -> None:
    returns = RETURNS.clone()
    returns[1, 2] = math.nan
    worths = risk(returns)  # type: ignore[operator]
    assert math.isfinite(worths[0])
    assert math.isnan(worths[1])


@pytest.mark.parametrize("alpha", [0.0, 1.1, math.nan])
def test_a_share_must_be_one(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha: expected in \(0, 1\]"):
        CVaR(alpha)
