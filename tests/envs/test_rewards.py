"""The tolerance against the formulas that dm_control publishes with it, and its closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpc_robot.envs.rewards import Sigmoid, tolerance

SIGMOIDS: tuple[Sigmoid, ...] = get_args(Sigmoid)


def dm_control(x: float, v: float, sigmoid: str) -> float:
    """``_sigmoids`` of dm_control/utils/rewards.py (Apache 2.0), of one number."""
    formulas: dict[str, Callable[[], float]] = {
        "gaussian": lambda: math.exp(-0.5 * (x * math.sqrt(-2 * math.log(v))) ** 2),
        "hyperbolic": lambda: 1 / math.cosh(x * math.acosh(1 / v)),
        "long_tail": lambda: 1 / ((x * math.sqrt(1 / v - 1)) ** 2 + 1),
        "reciprocal": lambda: 1 / (abs(x) * (1 / v - 1) + 1),
        "tanh_squared": lambda: 1 - math.tanh(x * math.atanh(math.sqrt(1 - v))) ** 2,
    }
    if sigmoid in formulas:
        return formulas[sigmoid]()
    if sigmoid == "cosine":
        scaled = x * math.acos(2 * v - 1) / math.pi
        return (1 + math.cos(math.pi * scaled)) / 2 if abs(scaled) < 1 else 0.0
    if sigmoid == "linear":
        scaled = x * (1 - v)
        return 1 - scaled if abs(scaled) < 1 else 0.0
    scaled = x * math.sqrt(1 - v)
    return 1 - scaled**2 if abs(scaled) < 1 else 0.0


@pytest.mark.parametrize("sigmoid", SIGMOIDS)
@given(
    x=st.floats(-20, 20),
    low=st.floats(-3, 3),
    width=st.floats(0, 2),
    margin=st.floats(0.5, 10),
    value=st.floats(0.01, 0.99),
)
def test_it_is_that_of_dm_control(
    *, sigmoid: Sigmoid, x: float, low: float, width: float, margin: float, value: float
) -> None:
    high = low + width
    inside = low <= x <= high
    distance = (low - x if x < low else x - high) / margin
    expected = 1.0 if inside else dm_control(distance, value, sigmoid)
    for array in (np.array([x]), torch.tensor([x], dtype=torch.float64)):
        got = tolerance(array, (low, high), margin, sigmoid, value)
        assert type(got) is type(array)
        np.testing.assert_allclose(np.asarray(got), [expected], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigmoid", SIGMOIDS)
def test_its_gradient_exists_at_the_bounds_and_is_zero_inside(sigmoid: Sigmoid) -> None:
    x = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
    tolerance(x, (0.0, 1.0), 2.0, sigmoid).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad[2] == 0
    assert x.grad[0] > 0 > x.grad[4]


def test_without_a_margin_it_is_a_step_and_bounds_may_be_infinite() -> None:
    x = np.array([-1e9, 0.9, 1.0, 1e9, np.nan])
    assert tolerance(x, (1.0, np.inf)).tolist() == [0, 0, 1, 1, 0]
    assert tolerance(x[:4], (1.0, np.inf), 1.0, "linear", 0.0)[1:] == pytest.approx([0.9, 1, 1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bounds": (1.0, 0.0)}, "bounds: expected the lower one first"),
        ({"margin": -1.0}, "margin: expected not negative"),
        ({"margin": np.nan}, "margin: expected not negative"),
        ({"sigmoid": "gauss"}, "sigmoid: expected one of"),
        ({"value_at_margin": 0.0}, r"value_at_margin: expected in \(0, 1\)"),
        ({"value_at_margin": 1.0, "sigmoid": "linear"}, "value_at_margin"),
    ],
)
def test_arguments_that_make_no_sense_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tolerance(np.zeros(1), **wrong)
