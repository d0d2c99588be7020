"""Linear controllers, and dreams whose returns are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.agents.evolution import CMAES
from mpc_robot.agents.linear_controller import from_rest, linear_actions
from mpc_robot.agents.world_models import dream
from mpc_robot.dynamics.base import Transition
from mpc_robot.dynamics.mdn_rnn import MDNRNNState


def test_a_controller_is_a_matrix_and_biases_within_bounds() -> None:
    rng = np.random.default_rng(0)
    low, high = np.array([-3.0, 0.0, 0.5]), np.array([1.0, 2.0, 0.9])
    weights, features = rng.normal(size=(5, 3 * 4)), rng.normal(size=(5, 7, 3))
    parts = (torch.from_numpy(each) for each in (weights, features, low, high))
    actions = linear_actions(*parts)
    for candidate, rollout in np.ndindex(5, 7):
        matrix = weights[candidate].reshape(3, 4)
        said = np.tanh(matrix[:, :3] @ features[candidate, rollout] + matrix[:, 3])
        first = np.interp(said[0], [-1, 0, 1], [-3, 0, 1])
        expected = [first, 2 * max(said[1], 0.0), 0.5 + 0.4 * max(said[2], 0.0)]
        np.testing.assert_allclose(actions[candidate, rollout], expected)


@pytest.mark.parametrize(
    ("low", "high"), [(-3.0, 1.0), (0.0, 2.0), (-2.0, 0.0), (0.5, 0.9), (-9, -8)]
)
def test_a_share_of_zero_is_the_action_nearest_to_zero(low: float, high: float) -> None:
    shares = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0], dtype=torch.float64)[:, None]
    bounds = (torch.tensor([bound], dtype=torch.float64) for bound in (low, high))
    rest = float(np.clip(0.0, low, high))
    expected = [low, (low + rest) / 2, rest, (rest + high) / 2, high]
    np.testing.assert_allclose(from_rest(shares, *bounds)[:, 0], expected)


def point(z: Tensor) -> MDNRNNState:
    """The state ``z [B, 1]``, of which nothing is remembered and a controller sees all."""
    nothing = z.new_zeros(len(z), 0)
    return MDNRNNState(z, nothing, nothing)


class PointModel:
    """``z' = z + a + noise / 10``; a step earns ``-z'^2``, and the episode goes on by chance."""

    low, high = -torch.ones(1), torch.ones(1)

    def __init__(self, continues: float = 1.0) -> None:
        self.goes_on = continues

    def noise(self, rows: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.rand(rows, 1, generator=rng), torch.randn(rows, 1, generator=rng)

    def imagine(
        self, state: MDNRNNState, action: Tensor, noise: tuple[Tensor, Tensor]
    ) -> Transition[MDNRNNState]:
        latent = state.latent + action + 0.1 * noise[1]
        goes_on = torch.full((len(latent),), self.goes_on)
        return Transition(point(latent), -(latent[:, 0] ** 2), goes_on)


@pytest.mark.parametrize("continues", [1.0, 0.8])
def test_dreams_are_the_same_for_all_and_earn_while_they_go_on(continues: float) -> None:
    model: Any = PointModel(continues)
    rng = torch.Generator().manual_seed(0)
    weights, start = torch.randn(3, 2, generator=rng), torch.randn(4, 1, generator=rng)
    returns = dream(model, weights, point(start), 5, torch.Generator().manual_seed(1))
    again = torch.Generator().manual_seed(1)
    noise = torch.stack([model.noise(4, again)[1][:, 0] for _ in range(5)])
    for candidate, rollout in np.ndindex(3, 4):
        z, expected = start[rollout, 0], 0.0
        for t in range(5):
            action = torch.tanh(weights[candidate, 0] * z + weights[candidate, 1])
            z = z + action + 0.1 * noise[t, rollout]
            expected = expected - continues**t * float(z**2)
        assert returns[candidate, rollout].item() == pytest.approx(expected, rel=1e-4)


def test_the_best_controller_of_a_known_dream_is_found() -> None:
    """Nothing is better than to go straight to 0: what is lost is the noise, and the way."""
    model: Any = PointModel()
    rng = torch.Generator().manual_seed(0)
    search, start = CMAES(np.zeros(2), 0.3, 8, rng), point(torch.linspace(-0.8, 0.8, 8)[:, None])
    for _ in range(40):
        search.evolve(lambda found: dream(model, found, start, 10, rng).mean(dim=1))
    weights = torch.from_numpy(search.mean).float()[None]
    found = dream(model, weights, start, 10, rng).mean().item()
    assert found > -10 * 0.01 - 0.1  # the noise of each step, and little more
