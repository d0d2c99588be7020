from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.interpolate
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_robot.controllers import Interpolation
from mpc_robot.controllers.parameterization import ActionSpline, spline_for
from mpc_robot.envs import EnvSpec

FAR = ([-1e3, -1e3], [1e3, 1e3])


def sample_knots(num: int, knots: int, dim: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, knots, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("interpolation", ["zero", "linear", "cubic"])
def test_one_knot_per_step_is_one_free_action_per_step(interpolation: Interpolation) -> None:
    spline = ActionSpline(7, *FAR, interpolation=interpolation)
    knots = sample_knots(3, 7)
    assert torch.equal(spline.decode(knots), knots)
    later = torch.cat([knots[:, 1:], knots[:, -1:]], dim=1)
    torch.testing.assert_close(spline.shift(knots), later, atol=1e-5, rtol=0)


def test_linear_is_scipys_linear() -> None:
    knots = sample_knots(1, 5)
    oracle = scipy.interpolate.make_interp_spline(np.arange(5), knots[0].numpy(), k=1)
    expected = oracle(np.linspace(0, 4, 18))
    got = ActionSpline(18, *FAR, knots=5, interpolation="linear").decode(knots)[0]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_cubic_is_scipys_hermite_spline() -> None:
    knots = sample_knots(1, 5)[0].double().numpy()
    slopes = np.empty_like(knots)
    slopes[1:-1] = (knots[2:] - knots[:-2]) / 2
    slopes[0] = (-3 * knots[0] + 4 * knots[1] - knots[2]) / 2
    slopes[-1] = (3 * knots[-1] - 4 * knots[-2] + knots[-3]) / 2
    expected = scipy.interpolate.CubicHermiteSpline(np.arange(5), knots, slopes)(
        np.linspace(0, 4, 18)
    )
    spline = ActionSpline(18, *FAR, knots=5, interpolation="cubic")
    got = spline.decode(torch.tensor(knots, dtype=torch.float32)[None])[0]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_cubic_draws_a_parabola_through_its_knots() -> None:
    steps, at_knots = np.linspace(-1, 2, 25), np.linspace(-1, 2, 6)
    spline = ActionSpline(25, [-50.0], [50.0], knots=6, interpolation="cubic")
    knots = torch.tensor(at_knots**2 - at_knots, dtype=torch.float32)[:, None]
    np.testing.assert_allclose(spline.decode(knots)[:, 0], steps**2 - steps, atol=1e-5)


def test_zero_holds_each_knot_for_its_share_of_the_horizon() -> None:
    spline = ActionSpline(6, [-9.0], [9.0], knots=3)
    held = spline.decode(torch.tensor([[1.0], [2.0], [3.0]]))
    assert held[:, 0].tolist() == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("interpolation", ["zero", "linear", "cubic"])
@pytest.mark.parametrize("knots", [3, 5, 8])
def test_shift_is_the_nearest_spline_to_the_later_actions(
    interpolation: Interpolation, knots: int
) -> None:
    spline = ActionSpline(16, *FAR, knots=knots, interpolation=interpolation)
    before = sample_knots(1, knots)[0]
    actions = spline.decode(before)
    later = torch.cat([actions[1:], actions[-1:]])
    shifted = spline.shift(before)
    error = (spline.decode(shifted) - later).square().sum()
    for nudge in 0.05 * sample_knots(50, knots, seed=1):
        assert (spline.decode(shifted + nudge) - later).square().sum() > error


@pytest.mark.parametrize("interpolation", ["zero", "linear", "cubic"])
def test_shifting_moves_a_plan_even_when_knots_are_far_apart(interpolation: Interpolation) -> None:
    spline = ActionSpline(24, [-1.0], [1.0], knots=4, interpolation=interpolation)
    plan = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
    rises = []
    for _ in range(13):
        rises.append(int((spline.decode(plan)[:, 0] > 0).float().argmax()))
        plan = spline.shift(plan)
    assert rises[0] == 12
    assert rises[-1] <= 3


@settings(max_examples=80, deadline=None)
@given(
    horizon=st.integers(3, 30),
    data=st.data(),
    interpolation=st.sampled_from(["zero", "linear", "cubic"]),
    low=st.floats(-1e3, 1e3),
    width=st.floats(1e-2, 1e3),
)
def test_every_action_is_within_the_float64_bounds(
    horizon: int, data: st.DataObject, interpolation: Interpolation, low: float, width: float
) -> None:
    knots = data.draw(st.integers(3, horizon))
    numbers = st.floats(-1e4, 1e4, width=32)
    values = data.draw(st.lists(numbers, min_size=knots, max_size=knots))
    spline = ActionSpline(horizon, [low], [low + width], knots, interpolation)
    at_knots = torch.tensor(values)[:, None]
    for within in (spline.decode(at_knots), spline.clamp(at_knots), spline.shift(at_knots)):
        inside = within.double().numpy()
        assert (inside >= low).all()
        assert (inside <= low + width).all()
    assert spline.decode(at_knots).shape == (horizon, 1)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("horizon", {"horizon": 0}),
        ("knots", {"knots": 0}),
        ("knots", {"knots": 11}),
        ("knots", {"knots": 2, "interpolation": "cubic"}),
        ("interpolation", {"interpolation": "quintic"}),
        ("low", {"low": [1.0]}),
        ("low", {"low": [2.0]}),
        ("low", {"low": [np.nan]}),
        ("low", {"low": -1.0}),
        ("low", {"low": [-1.0, -1.0]}),
        ("high", {"high": [np.inf]}),
    ],
)
def test_impossible_splines_are_refused_by_name(field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{field}: expected"):
        ActionSpline(**{"horizon": 10, "low": [-1.0], "high": [1.0], **arguments})


def test_a_horizon_in_seconds_is_so_many_steps() -> None:
    spec = EnvSpec(2, -np.ones(1), np.ones(1), 0.05, None)
    assert spline_for(spec, 0.6).horizon == 12
    assert spline_for(spec, 0.6, 4, "linear").knots == 4


@pytest.mark.parametrize("horizon", [0.0, -1.0, 0.02, float("nan"), float("inf")])
def test_a_horizon_below_one_control_period_is_refused(horizon: float) -> None:
    spec = EnvSpec(2, -np.ones(1), np.ones(1), 0.05, None)
    with pytest.raises(ValueError, match=r"horizon: expected at least one control period of 0\.05"):
        spline_for(spec, horizon)


def test_a_plan_begins_at_rest_which_is_half_way_unless_said() -> None:
    assert ActionSpline(3, [-1.0, 0.0], [3.0, 1.0]).rest.tolist() == [1.0, 0.5]
    assert ActionSpline(3, [-1.0, 0.0], [3.0, 1.0], rest=[0.0, 1.0]).rest.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("rest", [[0.0], [0.0, 1.1], [0.0, float("nan")]])
def test_a_rest_that_is_no_action_is_refused(rest: list[float]) -> None:
    with pytest.raises(ValueError, match="rest: expected"):
        ActionSpline(3, [-1.0, 0.0], [3.0, 1.0], rest=rest)
