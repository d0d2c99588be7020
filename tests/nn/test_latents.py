"""Latents against torch's own distributions, and where gradients flow."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import distributions

from mpc_robot.nn.latents import CategoricalConfig, GaussianConfig, LatentConfig

GAUSSIAN = GaussianConfig(5)
CATEGORICAL = CategoricalConfig(3, 4, unimix=0.0)
MIXED = CategoricalConfig(3, 4, unimix=0.2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def raw(config: LatentConfig, seed: int) -> torch.Tensor:
    return torch.randn(6, config.outputs, generator=generator(seed))


def test_divergences_of_gaussians_are_those_of_torch() -> None:
    one, other = (GAUSSIAN.distribution(raw(GAUSSIAN, seed)) for seed in (1, 2))
    theirs = [
        distributions.Independent(distributions.Normal(d.mean, d.std), 1) for d in (one, other)
    ]
    torch.testing.assert_close(one.kl(other), distributions.kl_divergence(*theirs))


@pytest.mark.parametrize("config", [CATEGORICAL, MIXED])
def test_divergences_of_categoricals_are_those_of_torch(config: CategoricalConfig) -> None:
    one, other = (config.distribution(raw(config, seed)) for seed in (1, 2))
    theirs = [
        distributions.Independent(distributions.Categorical(logits=d.log_probs), 1)
        for d in (one, other)
    ]
    torch.testing.assert_close(one.kl(other), distributions.kl_divergence(*theirs))


@pytest.mark.parametrize("config", [GAUSSIAN, CATEGORICAL, MIXED])
def test_nothing_diverges_from_itself(config: LatentConfig) -> None:
    same = config.distribution(raw(config, 1))
    torch.testing.assert_close(same.kl(same), torch.zeros(6))


def test_unimix_keeps_every_class_possible() -> None:
    certain = torch.zeros(1, 12)
    certain[0, ::4] = 100.0
    probs = MIXED.distribution(certain).log_probs.exp()
    expected = torch.tensor([0.85, 0.05, 0.05, 0.05]).expand(1, 3, 4)
    torch.testing.assert_close(probs, expected)


def test_classes_are_drawn_as_often_as_is_likely() -> None:
    given = torch.tensor([[1.0, 0.0, -1.0, 2.0]]).expand(4000, 4)
    config = CategoricalConfig(1, 4, unimix=0.1)
    latent = config.distribution(given)
    drawn = latent.sample(config.noise((4000,), generator()))
    assert set(drawn.unique().tolist()) == {0.0, 1.0} and (drawn.sum(dim=-1) == 1).all()
    expected = 4000 * latent.log_probs[0, 0].exp().numpy()
    counts = drawn.sum(dim=0).numpy()
    assert scipy.stats.chisquare(counts, expected * 4000 / expected.sum()).pvalue > 1e-3


def test_gaussians_are_drawn_as_they_are() -> None:
    given = torch.tensor([[0.5, -1.0, 0.3, 1.0]]).expand(4000, 4)
    config = GaussianConfig(2)
    latent = config.distribution(given)
    drawn = latent.sample(config.noise((4000,), generator())).numpy()
    for column in range(2):
        normal = scipy.stats.norm(latent.mean[0, column].item(), latent.std[0, column].item())
        assert scipy.stats.kstest(drawn[:, column], normal.cdf).pvalue > 1e-3
    np.testing.assert_allclose(latent.std[0], np.log1p(np.exp([0.3, 1.0])) + 0.1, rtol=1e-5)


def test_gradients_go_straight_through_to_the_probabilities() -> None:
    given = raw(CATEGORICAL, 3).requires_grad_()
    weights = torch.randn(6, 12, generator=generator(4))
    drawn = CATEGORICAL.distribution(given).sample(CATEGORICAL.noise((6,), generator()))
    (through,) = torch.autograd.grad((weights * drawn).sum(), given)
    probs = given.unflatten(-1, (3, 4)).softmax(dim=-1).flatten(1)
    (expected,) = torch.autograd.grad((weights * probs).sum(), given)
    torch.testing.assert_close(through, expected)
    assert (through.abs() > 0).all()


@pytest.mark.parametrize("config", [GAUSSIAN, MIXED])
def test_detached_latents_stop_gradients(config: LatentConfig) -> None:
    given = raw(config, 5).requires_grad_()
    latent = config.distribution(given)
    assert latent.kl(config.distribution(raw(config, 6))).requires_grad
    detached = latent.detach()
    assert not detached.kl(detached).requires_grad
    assert not detached.sample(config.noise((6,), generator())).requires_grad


@pytest.mark.parametrize("config", [GAUSSIAN, MIXED])
def test_modes_and_samples_have_the_size_that_is_told(config: LatentConfig) -> None:
    latent = config.distribution(raw(config, 7))
    assert latent.mode().shape == (6, config.size)
    one, same = (latent.sample(config.noise((6,), generator(1))) for _ in range(2))
    assert one.shape == (6, config.size) and torch.equal(one, same)
    silent = torch.zeros_like(config.noise((6,), generator()))
    torch.testing.assert_close(latent.sample(silent), latent.mode())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianConfig(0), "size: expected at least 1, got 0"),
        (lambda: GaussianConfig(3, 0.0), "min_std: expected positive"),
        (lambda: CategoricalConfig(3, 1), "classes: expected at least 2"),
        (lambda: CategoricalConfig(3, 4, 1.0), r"unimix: expected in \[0, 1\)"),
    ],
)
def test_settings_that_make_no_sense(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_densities_and_entropies_of_gaussians_are_those_of_torch() -> None:
    one, value = GAUSSIAN.distribution(raw(GAUSSIAN, 1)), raw(GAUSSIAN, 2)[:, :5]
    theirs = distributions.Independent(distributions.Normal(one.mean, one.std), 1)
    torch.testing.assert_close(one.log_prob(value), theirs.log_prob(value))
    torch.testing.assert_close(one.entropy(), theirs.entropy())
