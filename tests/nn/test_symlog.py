"""Symlog against its formula, two-hot targets against torch's own cross entropy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from mpc_robot.nn.symlog import TwoHot, symexp, symlog

NUMBERS = torch.tensor([0.0, 1e-6, -1e-3, 0.5, -1.0, 7.3, -123.4, 5e3, -2.2e6, 3.3e8])


def test_symlog_is_the_logarithm_of_one_more_on_both_sides() -> None:
    expected = np.sign(NUMBERS.numpy()) * np.log(1.0 + np.abs(NUMBERS.double().numpy()))
    np.testing.assert_allclose(symlog(NUMBERS).numpy(), expected, rtol=1e-6)


def test_symexp_is_its_inverse() -> None:
    torch.testing.assert_close(
        symexp(symlog(NUMBERS.double())), NUMBERS.double(), rtol=1e-9, atol=0
    )
    squashed = torch.linspace(-15, 15, 31, dtype=torch.float64)
    torch.testing.assert_close(symlog(symexp(squashed)), squashed)


def dense(two_hot: TwoHot, target: torch.Tensor) -> torch.Tensor:
    """The probabilities of all bins that a target stands for."""
    below, share = two_hot.locate(target)
    probs = torch.zeros(*target.shape, len(two_hot.values))
    probs.scatter_(-1, below[..., None], (1 - share)[..., None])
    return probs.scatter_(-1, below[..., None] + 1, share[..., None])


def test_bins_are_symmetric_and_even_in_symlog() -> None:
    values = TwoHot(255).values
    assert len(values) == 255 and values[127] == 0
    assert (values == -values.flip(0)).all()
    torch.testing.assert_close(symlog(values), torch.linspace(-20, 20, 255), atol=1e-4, rtol=1e-4)


def test_two_bins_share_a_target_so_that_their_mean_is_it() -> None:
    two_hot = TwoHot()
    probs = dense(two_hot, NUMBERS)
    assert (probs >= 0).all() and ((probs > 0).sum(dim=-1) <= 2).all()
    mean = (probs.double() * two_hot.values.double()).sum(dim=-1)
    torch.testing.assert_close(mean, NUMBERS.double(), rtol=1e-5, atol=1e-9)
    ends = dense(two_hot, torch.tensor([-1e12, 1e12]))
    assert (ends[0, 0], ends[1, -1]) == (1.0, 1.0)


def test_the_mean_of_what_was_encoded_is_the_number() -> None:
    two_hot = TwoHot()
    logits = dense(two_hot, NUMBERS).clamp(min=1e-38).log()
    torch.testing.assert_close(two_hot.mean(logits), NUMBERS, rtol=1e-4, atol=1e-6)


def test_equal_logits_stand_for_nothing() -> None:
    assert TwoHot().mean(torch.full((3, 255), 0.7)).tolist() == [0.0, 0.0, 0.0]


def test_the_loss_is_the_cross_entropy_of_torch() -> None:
    two_hot, rng = TwoHot(41), torch.Generator().manual_seed(0)
    logits = torch.randn(len(NUMBERS), 41, generator=rng)
    expected = functional.cross_entropy(logits, dense(two_hot, NUMBERS), reduction="none")
    torch.testing.assert_close(two_hot.loss(logits, NUMBERS), expected)


@pytest.mark.parametrize("target", [-250.0, 0.3, 4e4])
def test_what_is_fitted_to_a_number_says_it(target: float) -> None:
    two_hot = TwoHot(41)
    logits = torch.zeros(41, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(150):
        optimizer.zero_grad()
        two_hot.loss(logits, torch.tensor(target)).backward()
        optimizer.step()
    assert two_hot.mean(logits).item() == pytest.approx(target, rel=0.05, abs=0.05)
