"""The squashed Gaussian against torch's own distributions and against quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from mpc_robot.nn.policy import LOG_STD, SquashedGaussian

LOW, HIGH = np.array([-1.0, 0.25, -7.5]), np.array([1.0, 3.0, -0.5])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def policy(low: np.ndarray = LOW, high: np.ndarray = HIGH) -> SquashedGaussian:
    return SquashedGaussian(4, (low, high), (16,), generator())


def constant(mean: float, spread: float = 0.0) -> SquashedGaussian:
    """A policy of one action in [-1, 1] that sees nothing: its outputs are as given."""
    one = policy(-np.ones(1), np.ones(1))
    with torch.no_grad():
        for weight in one.network.weights:
            weight.zero_()
        one.network.biases[-1].copy_(torch.tensor([mean, spread]))
    return one


def squashed(action: Tensor) -> Tensor:
    """From the bounds to [-1, 1]."""
    low, high = torch.from_numpy(LOW), torch.from_numpy(HIGH)
    return 2 * (action - low) / (high - low) - 1


def test_log_probabilities_are_those_of_a_transformed_normal() -> None:
    ours, seen = policy().double(), torch.randn(500, 4, generator=generator(1)).double()
    action, log_prob = ours.sample(seen, generator(2))
    mean, log_std = ours(seen)
    theirs = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform()])
    expected = theirs.log_prob(squashed(action)).sum(dim=-1)
    torch.testing.assert_close(log_prob, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mean", [-40.0, -15.0, 15.0, 40.0])
def test_log_probabilities_hold_where_tanh_is_flat(mean: float) -> None:
    """There ``log(1 - tanh²x)`` is ``log 4 - 2 |x|``, though float32 knows no such ``tanh x``."""
    action, log_prob = constant(mean).sample(torch.zeros(100, 4), generator(3))
    noise = torch.randn(100, 1, generator=generator(3))
    log_std = sum(LOG_STD) / 2
    raw = mean + math.exp(log_std) * noise
    normal = Normal(torch.tensor(mean), math.exp(log_std)).log_prob(raw)
    expected = normal - math.log(4.0) + 2 * raw.abs()
    torch.testing.assert_close(log_prob, expected[:, 0], rtol=1e-5, atol=1e-5)
    assert (action == math.copysign(1, mean)).all()


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.0), (1.5, 0.4), (-0.5, 1.0)])
def test_the_entropy_of_samples_is_that_of_the_distribution(mean: float, spread: float) -> None:
    """Entropy of ``tanh x``: that of x plus the mean of ``log(1 - tanh²x)``, by quadrature."""
    one = constant(mean, spread)
    _, log_prob = one.sample(torch.zeros(40_000, 4), generator(4))
    std = one(torch.zeros(1, 4))[1].exp().item()
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    x = mean + std * nodes
    slope = 2 * (math.log(2) - np.abs(x) - np.log1p(np.exp(-2 * np.abs(x))))
    entropy = 0.5 * math.log(2 * math.pi * math.e * std**2) + weights @ slope / weights.sum()
    error = 4 * log_prob.std().item() / math.sqrt(len(log_prob))
    assert -log_prob.mean().item() == pytest.approx(entropy, abs=error)


def test_the_spread_has_bounds() -> None:
    least, most = (constant(0.0, s)(torch.zeros(1, 4))[1].item() for s in (-50.0, 50.0))
    assert (least, most) == LOG_STD


def test_the_mode_is_the_scaled_squashed_mean() -> None:
    ours, seen = policy(), 3 * torch.randn(50, 4, generator=generator(5))
    mean = ours(seen)[0].detach().double().numpy()
    expected = LOW + (np.tanh(mean) + 1) / 2 * (HIGH - LOW)
    np.testing.assert_allclose(ours.mode(seen).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


bound = st.floats(-100, 100, width=32)


@settings(max_examples=200, deadline=None)
@given(bounds=st.tuples(bound, bound), push=st.sampled_from([-90.0, 0.0, 90.0]))
@example(bounds=(-8.8744, -0.4376), push=90.0)
def test_no_action_is_out_of_bounds_by_even_a_bit(bounds: tuple[float, float], push: float) -> None:
    low, high = np.sort(np.array(bounds, dtype=np.float32)).tolist()
    one = policy(np.array([low]), np.array([high]))
    with torch.no_grad():
        one.network.biases[-1][..., 0] += push
    seen = torch.randn(30, 4, generator=generator(6))
    actions = torch.cat([one.mode(seen), one.sample(seen, generator(7))[0]])
    assert actions.min() >= low and actions.max() <= high
    if push:
        assert (actions == (low if push < 0 else high)).all()


def test_actions_can_be_differentiated() -> None:
    """``d action / d mean`` is the slope of tanh."""
    one, seen = constant(0.3), torch.zeros(5, 4)
    action, _ = one.sample(seen, generator(8))
    (slope,) = torch.autograd.grad(action.sum(), [one.network.biases[-1]])
    expected = (1 - action.detach() ** 2).sum()
    assert slope[0, 0, 0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_same_seed_same_actions() -> None:
    seen = torch.zeros(3, 4)
    first, second, other = (policy().sample(seen, generator(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)
