"""The range of returns against the moving average that it is."""

from __future__ import annotations

import pytest
import torch

from mpc_robot.nn.return_scale import ReturnScale

RETURNS = torch.linspace(-100.0, 900.0, 1001).reshape(7, 143)
"""Its percentiles 5 and 95 are -50 and 850."""


def test_it_is_the_moving_average_of_the_range_between_percentiles() -> None:
    scale = ReturnScale()
    for n in range(1, 40):
        expected = 900.0 * (1.0 - 0.99**n)
        assert scale.follow(RETURNS).item() == pytest.approx(expected, rel=1e-4)


def test_outliers_count_for_nothing() -> None:
    wild = RETURNS.clone()
    wild[0, :10], wild[-1, -10:] = -1e9, 1e9
    assert ReturnScale().follow(wild).item() == pytest.approx(ReturnScale().follow(RETURNS).item())


def test_small_returns_are_not_scaled_up() -> None:
    scale = ReturnScale(rate=1.0)
    assert scale.follow(1e-3 * RETURNS).item() == 1.0
    assert scale.follow(torch.full((5,), 7e3)).item() == 1.0
    assert scale.follow(RETURNS).item() == pytest.approx(900.0)


def test_what_is_not_finite_changes_nothing() -> None:
    scale = ReturnScale(rate=1.0)
    scale.follow(RETURNS)
    assert scale.follow(torch.full((5,), torch.nan)).item() == pytest.approx(900.0)


def test_it_is_part_of_a_state() -> None:
    one, other = ReturnScale(), ReturnScale()
    one.follow(RETURNS)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.follow(RETURNS), other.follow(RETURNS))
