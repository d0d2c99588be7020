"""Plans are sampled as interpolation is defined, and never beyond what they command."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from mpc_robot.runtime.plan import SAMPLINGS, Sampling, TimedPlan

ACTIONS = np.array([[0.0, 1.0], [2.0, -1.0], [1.0, 0.5], [-3.0, 0.25]])
PLAN = TimedPlan(start=10.0, dt=0.1, actions=ACTIONS, seen=9.9)


def test_zero_order_holds_each_command_for_a_step() -> None:
    times = 10.0 + np.array([0.0, 0.05, 0.0999, 0.1, 0.25, 0.3, 0.7])
    held = np.array([PLAN.sample(time) for time in times])
    np.testing.assert_array_equal(held, ACTIONS[[0, 0, 0, 1, 2, 3, 3]])


def test_a_deadline_on_the_grid_belongs_to_the_later_step_whatever_the_rounding() -> None:
    plan = TimedPlan(start=1e5, dt=0.02, actions=np.arange(50.0)[:, None], seen=0.0)
    steps = [plan.sample(1e5 + k * 0.02)[0] for k in range(50)]
    assert steps == list(range(50))


@given(st.floats(9.0, 11.0))
def test_linear_is_numpys(time: float) -> None:
    expected = [np.interp(time, 10.0 + 0.1 * np.arange(4), column) for column in ACTIONS.T]
    np.testing.assert_allclose(PLAN.sample(time, "linear"), expected, atol=1e-9)


def test_cubic_goes_through_the_commands_and_follows_a_smooth_curve() -> None:
    times = np.arange(30)
    curve = np.cos(np.pi * times / 10)[:, None]  # its peaks are commands
    plan = TimedPlan(0.0, 1.0, curve, 0.0)
    np.testing.assert_allclose([plan.sample(t, "cubic") for t in times], curve, atol=1e-12)
    between = np.linspace(2.0, 27.0, 200)
    exact = CubicSpline(times, curve)(between)
    cubic = np.array([plan.sample(t, "cubic") for t in between])
    linear = np.array([plan.sample(t, "linear") for t in between])
    assert np.abs(cubic - exact).max() < np.abs(linear - exact).max() / 4


@pytest.mark.parametrize("sampling", SAMPLINGS)
@given(time=st.floats(-1e6, 1e6))
def test_no_sample_exceeds_the_plan(sampling: Sampling, time: float) -> None:
    command = PLAN.sample(time, sampling)
    assert (ACTIONS.min(axis=0) <= command).all()
    assert (command <= ACTIONS.max(axis=0)).all()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_plan_of_one_command_is_held(sampling: Sampling) -> None:
    plan = TimedPlan(0.0, 0.1, np.array([[3.0]]), 0.0)
    assert [plan.sample(time, sampling)[0] for time in (-1.0, 0.05, 2.0)] == [3.0] * 3


def test_a_sample_is_the_callers_own() -> None:
    PLAN.sample(10.0)[:] = 99.0
    assert (PLAN.sample(10.0) == ACTIONS[0]).all()
