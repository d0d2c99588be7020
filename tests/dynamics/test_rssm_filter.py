"""Beliefs: what is seen over time, as a recurrent state-space model understands it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.dynamics.rssms import BOUNDS, SMALL, VERSIONS, generator, model, sequences

from mpc_robot.controllers import MPC, CEMConfig, make_optimizer
from mpc_robot.controllers.filtered import FilteredController
from mpc_robot.controllers.parameterization import spline_for
from mpc_robot.dynamics.rssm import RSSM
from mpc_robot.dynamics.rssm_filter import LatentFilter, LatentFilters
from mpc_robot.envs.base import EnvSpec
from mpc_robot.nn.latents import GaussianConfig


def test_a_planner_acts_on_what_a_filter_believes() -> None:
    """PlaNet: observations make a belief, in which CEM plans; the same seed acts the same."""
    ours, spec = model(), EnvSpec(2, *BOUNDS, dt=0.1, max_episode_steps=None)
    cem = make_optimizer(
        spline_for(spec, 0.4), CEMConfig(num_samples=20, num_elites=4, iterations=2)
    )
    controller = FilteredController(LatentFilter(ours), MPC(ours, cem))
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(4, 2))

    def acted(seed: int) -> list[float]:
        controller.reset(seed)
        return [float(controller.act(each)[0]) for each in observations]

    one, same, other = acted(1), acted(1), acted(2)
    assert one == same != other
    assert all(-2 <= action <= 2 for action in one)
    assert controller.plan is not None and controller.observes == "observation"


def test_a_filter_is_the_model_observing() -> None:
    """Step by step with the action between, as over the whole sequence with Gaussian means."""
    ours = model(replace(VERSIONS["v1"], latent=GaussianConfig(6, min_std=1e-6)))
    with torch.no_grad():
        last = ours.posterior_out[1]
        last.bias[6:] -= 30.0  # next to no spread, so that nothing random matters
        last.weight[6:] = 0.0
    seen, belief = sequences(rows=1), LatentFilter(ours)
    assert seen.vector is not None
    for t in range(5):
        action = None if t == 0 else seen.action[0, t].numpy()
        features = belief.update(seen.vector[0, t].numpy(), action)
    expected = ours.observe(seen, generator())[0].features[0, -1]
    np.testing.assert_allclose(features, expected.detach().numpy(), atol=1e-4)


def test_filters_go_on_to_the_bit() -> None:
    ours, seen = model(), sequences(rows=1).vector
    assert seen is not None
    observations = seen[0].numpy()

    def updated(filters: LatentFilters, t: int) -> np.ndarray:
        return filters.update([0, 1], [observations[t], observations[4 - t]], 2 * [np.ones(1)])

    one, other = LatentFilters(ours, 2), LatentFilters(ours, 2)
    one.begin(0, 3)
    for t in range(3):
        updated(one, t)
    other.load_state_dict(one.state_dict())
    for t in range(3, 5):
        np.testing.assert_array_equal(updated(one, t), updated(other, t))
    fresh = LatentFilters(ours, 2)
    other.load_state_dict(fresh.state_dict())
    np.testing.assert_array_equal(updated(fresh, 0), updated(other, 0))


def test_what_was_done_before_the_first_observation_is_nothing() -> None:
    """Also where doing nothing is no middle: of pedals, half is."""
    bounds = (np.zeros(1), np.ones(1))
    ours = RSSM(bounds, SMALL, generator(), vector_dim=2)
    seen = replace(sequences(rows=1, length=1), action=torch.full((1, 1, 1), 0.9))
    assert seen.vector is not None
    belief = LatentFilter(ours)
    features = belief.update(seen.vector[0, 0].numpy(), None)
    expected = ours.observe(seen, generator())[0].features[0, 0]
    np.testing.assert_allclose(features, expected.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("bad", "action", "told"),
    [
        (np.array([np.nan, 0.0]), 1.0, r"vector\[0\]: expected a finite number, got nan"),
        (np.array([0.0, 1e39]), 1.0, r"vector\[1\]: expected a finite number, got 1e\+39"),
        (np.zeros(5), 1.0, r"vector: expected shape \(2,\)"),
        (np.zeros(2), np.nan, r"action\[0\]: expected a finite number, got nan"),
    ],
    ids=["nan", "more than float32", "size", "action"],
)
def test_a_reading_that_is_refused_leaves_no_trace(
    bad: np.ndarray, action: float, told: str
) -> None:
    one, other, good = LatentFilter(model()), LatentFilter(model()), np.array([0.3, -0.2])
    for each in (one, other):
        each.update(good, None)
    with pytest.raises(ValueError, match=told):
        one.update(bad, np.full(1, action))
    following = (each.update(-good, np.ones(1)) for each in (one, other))
    np.testing.assert_array_equal(*following)
