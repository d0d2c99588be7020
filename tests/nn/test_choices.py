"""What may be done: candidates, their probabilities, and the units they come in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal

from mpc_robot.nn.choices import STD, Moves, Numbers

LOW, HIGH = np.array([-2.0, 0.0]), np.array([2.0, 1.0])


def policy(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_of_numbers_all_are_candidates_with_the_policy_as_prior() -> None:
    choices, said = Numbers(3), policy(4, 3)
    candidates, logits = choices.propose(said, np.random.default_rng(0))
    assert candidates[..., 0].tolist() == [[0.0, 1.0, 2.0]] * 4
    assert torch.equal(logits, said)
    known = Categorical(logits=said)
    for number in range(3):
        torch.testing.assert_close(
            choices.log_prob(said, candidates)[:, number], known.log_prob(torch.tensor(number))
        )
    torch.testing.assert_close(choices.entropy(said), known.entropy())
    assert choices.encode(candidates[0]).tolist() == torch.eye(3).tolist()


def gaussian(said: torch.Tensor) -> Normal:
    mean, spread = said.chunk(2, dim=-1)
    return Normal(mean.tanh(), STD[0] + (STD[1] - STD[0]) * torch.sigmoid(spread))


def test_moves_are_drawn_from_the_gaussian_that_values_them() -> None:
    choices, said = Moves(LOW, HIGH, 5_000), policy(3, 4)
    candidates, logits = choices.propose(said, np.random.default_rng(0))
    assert candidates.shape == (3, 5_000, 2) and not logits.any()
    known = gaussian(said)
    torch.testing.assert_close(candidates.mean(dim=1), known.mean, rtol=0.0, atol=0.05)
    torch.testing.assert_close(candidates.std(dim=1), known.stddev, rtol=0.05, atol=0.0)
    expected = known.log_prob(candidates.transpose(0, 1)).sum(dim=-1).T
    torch.testing.assert_close(choices.log_prob(said, candidates), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(choices.entropy(said), known.entropy().sum(dim=-1))


def test_the_same_seed_draws_the_same_moves() -> None:
    choices, said = Moves(LOW, HIGH, 4), policy(3, 4)
    one, again, other = (choices.propose(said, np.random.default_rng(s))[0] for s in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_moves_are_applied_within_bounds_and_read_back() -> None:
    choices = Moves(LOW, HIGH, 1)
    inside = np.array([[-1.0, -1.0], [0.5, 0.0], [1.0, 1.0]], np.float32)
    assert choices.apply(inside).tolist() == [[-2.0, 0.0], [1.0, 0.5], [2.0, 1.0]]
    np.testing.assert_allclose(choices.read(choices.apply(inside)), inside, atol=1e-6)
    beyond = np.array([[-7.0, 3.0]], np.float32)
    assert choices.apply(beyond).tolist() == [[-2.0, 1.0]]
    assert choices.encode(torch.from_numpy(beyond)).tolist() == [[-1.0, 1.0]]


def test_there_must_be_a_candidate() -> None:
    with pytest.raises(ValueError, match="candidates: expected at least 1, got 0"):
        Moves(LOW, HIGH, 0)
