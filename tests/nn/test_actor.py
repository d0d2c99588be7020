"""Policies over bounded actions: where their actions lie, and where gradients go."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from mpc_robot.nn.actor import Actor, ActorConfig

LOW, HIGH = np.array([-2.0, 0.5]), np.array([2.0, 1.5])
Squash = Literal["clip", "tanh"]
both = pytest.mark.parametrize("squash", ["clip", "tanh"])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def actor(squash: Squash, exploration: float = 0.0) -> Actor:
    return Actor(3, (LOW, HIGH), ActorConfig((8,), squash, exploration), generator())


def saying(one: Actor, mean: float, spread: float) -> Actor:
    """The actor with these outputs for whatever it sees."""
    with torch.no_grad():
        one.network[-1].bias.copy_(torch.tensor([mean, mean, spread, spread]))
    return one


def far(squash: Squash) -> tuple[Actor, torch.Tensor]:
    """One whose outputs are large, and features."""
    one = actor(squash)
    with torch.no_grad():
        one.network[-1].weight.normal_(std=20.0, generator=generator(1))
    return one, torch.randn(500, 3, generator=generator(2))


@both
def test_actions_are_within_bounds_and_fill_them(squash: Squash) -> None:
    one, features = far(squash)
    for action in (one.explore(features, generator()), one.mode(features)):
        assert (action >= one.low).all() and (action <= one.high).all()
        assert ((action - one.low) < 0.05 * (one.high - one.low)).any(dim=0).all()
        assert ((one.high - action) < 0.05 * (one.high - one.low)).any(dim=0).all()


def test_clipped_ones_have_means_in_bounds_and_bounded_deviations() -> None:
    one, features = far("clip")
    policy = one(features)
    assert policy.mean.abs().max() <= 1.0
    assert 0.1 <= policy.std.min() < 0.11 and 0.99 < policy.std.max() <= 1.0


def test_squashed_ones_are_wide_at_first() -> None:
    """Of a Gaussian with deviation 5, 84 % lie beyond 1, where tanh is nearly flat."""
    policy = actor("tanh")(torch.zeros(1, 3))
    assert policy.mean.tolist() == [[0.0, 0.0]]
    assert policy.std.tolist() == [pytest.approx([5.0001, 5.0001])]


def test_raw_actions_stand_for_scaled_ones() -> None:
    raw = torch.tensor([[-0.5, 0.0], [-7.0, 3.0]])
    expected = torch.tensor([[-1.0, 1.0], [-2.0, 1.5]])
    torch.testing.assert_close(actor("clip").bounded(raw), expected)
    squashed = torch.stack([2 * raw[:, 0].tanh(), 1 + 0.5 * raw[:, 1].tanh()], dim=1)
    torch.testing.assert_close(actor("tanh").bounded(raw), squashed)


def test_gradients_pass_where_actions_are_cut_off() -> None:
    raw = torch.tensor([[-7.0, 0.3]], requires_grad=True)
    actor("clip").bounded(raw).sum().backward()
    assert raw.grad is not None
    torch.testing.assert_close(raw.grad, torch.tensor([[2.0, 0.5]]))  # half of the ranges


@both
def test_samples_are_of_the_distribution_it_tells(squash: Squash) -> None:
    one = saying(actor(squash), 0.3, -1.0)
    policy = one(torch.zeros(1, 3))
    raw = one.sample(torch.zeros(40_000, 3), generator())
    torch.testing.assert_close(raw.mean(dim=0), policy.mean[0], rtol=0.0, atol=0.06)
    torch.testing.assert_close(raw.std(dim=0), policy.std[0], rtol=0.02, atol=0.0)
    torch.testing.assert_close(one.mode(torch.zeros(1, 3)), one.bounded(policy.mean))


def test_exploration_adds_noise_to_real_actions() -> None:
    one = saying(actor("tanh", exploration=0.1), 0.0, -30.0)  # hardly random by itself
    assert one.bounded(one.sample(torch.zeros(100, 3), generator())).std() < 0.6
    action = one.explore(torch.zeros(20_000, 3), generator())
    torch.testing.assert_close(action.mean(dim=0), torch.tensor([0.0, 1.0]), rtol=0.0, atol=0.01)
    torch.testing.assert_close(action.std(dim=0), torch.tensor([0.2, 0.05]), rtol=0.03, atol=0.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"hidden": ()}, "hidden: expected positive"), ({"exploration": -1.0}, "exploration: ")],
)
def test_settings_that_make_no_sense(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActorConfig(**setting)  # type: ignore[arg-type]
