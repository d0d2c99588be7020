"""Supports of values against the formula of the transform, and against means worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mpc_robot.nn.support import Support, shrink, unshrink

SIZES = torch.cat([torch.zeros(1), torch.logspace(-6, 6, 400)])
NUMBERS = torch.cat([-SIZES, SIZES])


def test_the_transform_is_that_of_the_paper() -> None:
    """By Python's own floats, in the closed forms of arXiv:1805.11593, proposition A.2."""
    e = 0.001
    for x in NUMBERS.double():
        size, sign = abs(x.item()), math.copysign(1.0, x.item())
        shrunk = sign * (math.sqrt(size + 1.0) - 1.0 + e * size)
        assert shrink(x).item() == pytest.approx(shrunk, abs=1e-12)
        root = (math.sqrt(1.0 + 4.0 * e * (size + 1.0 + e)) - 1.0) / (2.0 * e)
        assert unshrink(x).item() == pytest.approx(sign * (root**2 - 1.0), rel=1e-9, abs=1e-9)


def test_there_and_back() -> None:
    torch.testing.assert_close(unshrink(shrink(NUMBERS)), NUMBERS, rtol=1e-5, atol=0.0)


def test_a_target_is_the_mean_of_the_bins_it_lies_between() -> None:
    support, target = Support(20.0, 41), torch.linspace(-300.0, 300.0, 101)
    below, share = support.locate(target)
    logits = torch.full((101, 41), -torch.inf)
    logits.scatter_(1, below[:, None], (1.0 - share).log()[:, None])
    logits.scatter_(1, below[:, None] + 1, share.log()[:, None])
    torch.testing.assert_close(support.mean(logits), target, rtol=1e-4, atol=1e-4)


def test_the_loss_by_hand() -> None:
    """On the scale of the transform bins are 1 apart, and ``x`` is at 1.25 of them from 0."""
    support = Support(2.0, 5)
    x, logits = unshrink(torch.tensor(1.25)), torch.tensor([0.3, -0.1, 0.2, 1.0, -2.0])
    log_probs = logits.log_softmax(dim=0)
    expected = -(0.75 * log_probs[3] + 0.25 * log_probs[4])
    torch.testing.assert_close(support.loss(logits, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("beyond", "bin_number"), [(1e30, 4), (-1e30, 0), (torch.inf, 4)])
def test_beyond_the_outermost_bin_it_is_that_bin(beyond: float, bin_number: int) -> None:
    support, logits = Support(2.0, 5), torch.tensor([0.3, -0.1, 0.2, 1.0, -2.0])
    expected = -logits.log_softmax(dim=0)[bin_number]
    torch.testing.assert_close(support.loss(logits, torch.tensor(beyond)), expected)


def test_equal_logits_say_nothing() -> None:
    support = Support(50.0, 101)
    torch.testing.assert_close(support.mean(torch.zeros(3, 101)), torch.zeros(3), atol=1e-4, rtol=0)
    assert support.greatest == pytest.approx(unshrink(torch.tensor(50.0)).item())
