"""Mixtures against torch.distributions, and samples against what they are drawn from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions

from mpc_robot.nn.mixtures import Mixture


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixture(*rows: int) -> Mixture:
    return Mixture(*torch.randn(3, *rows, 4, 5, generator=generator()).unbind())


def noise(rows: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    rng = generator(seed)
    return torch.rand(rows, 4, generator=rng), torch.randn(rows, 4, generator=rng)


def test_likelihoods_are_those_of_torch_distributions() -> None:
    ours, value = mixture(3, 2), torch.randn(3, 2, 4, generator=generator(2))
    weights = distributions.Categorical(logits=ours.logits)
    parts = distributions.Normal(ours.mean, ours.log_std.exp())
    theirs = distributions.MixtureSameFamily(weights, parts).log_prob(value).sum(dim=-1)
    torch.testing.assert_close(ours.log_prob(value), theirs)


def test_an_unlikely_value_has_a_finite_likelihood_and_gradient() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)
    ours = Mixture(logits, torch.zeros(1, 2), torch.full((1, 2), -5.0))
    unlikely = ours.log_prob(torch.tensor([30.0]))
    unlikely.backward()  # type: ignore[no-untyped-call]
    assert unlikely.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_have_the_moments_of_the_mixture_at_that_temperature(temperature: float) -> None:
    """Weights of logits over the temperature, and variances times it."""
    ours, num = mixture(), 40_000
    everyone = Mixture(*(p.expand(num, 4, 5) for p in (ours.logits, ours.mean, ours.log_std)))
    drawn = everyone.sample(*noise(num), temperature)
    weights = (ours.logits / temperature).softmax(dim=-1)
    mean = (weights * ours.mean).sum(dim=-1)
    second = (weights * (ours.mean**2 + temperature * torch.exp(2.0 * ours.log_std))).sum(dim=-1)
    std = (second - mean**2).sqrt()
    assert ((drawn.mean(dim=0) - mean).abs() < 5.0 * std / math.sqrt(num)).all()
    torch.testing.assert_close(drawn.std(dim=0), std, rtol=0.05, atol=0.0)


def test_without_temperature_only_the_likeliest_mean_is_left() -> None:
    ours = mixture(100)
    likeliest = ours.mean.gather(-1, ours.logits.argmax(dim=-1, keepdim=True))[..., 0]
    torch.testing.assert_close(ours.sample(*noise(100), 1e-9), likeliest, atol=1e-3, rtol=0.0)


def test_a_great_temperature_makes_all_parts_equally_likely() -> None:
    means = torch.tensor([0.0, 1.0, 2.0, 3.0]).expand(10_000, 1, 4)
    logits = torch.tensor([9.0, 0.0, 0.0, -9.0]).expand_as(means)
    ours = Mixture(logits, means, torch.full_like(means, -40.0))
    drawn = ours.sample(torch.rand(10_000, 1, generator=generator()), torch.zeros(10_000, 1), 1e6)
    torch.testing.assert_close(
        torch.bincount(drawn[:, 0].long()) / 1e4, torch.full((4,), 0.25), atol=0.02, rtol=0.0
    )


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2.0**-24])
def test_the_ends_of_chance_pick_the_first_and_the_last_part(uniform: float) -> None:
    """Also where rounding leaves the sum of the weights below 1."""
    logits = torch.full((1, 7), 0.1)
    ours = Mixture(logits, torch.arange(7.0)[None], torch.full((1, 7), -40.0))
    drawn = ours.sample(torch.tensor([uniform]), torch.zeros(1))
    assert drawn.item() == (0.0 if uniform == 0.0 else 6.0)
