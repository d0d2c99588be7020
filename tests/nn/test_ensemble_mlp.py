"""The batched networks against plain torch layers."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from mpc_robot.nn.ensemble_mlp import EnsembleMLP


def network(seed: int = 0) -> EnsembleMLP:
    return EnsembleMLP(3, [4, 16, 16, 2], torch.Generator().manual_seed(seed))


def plain(mlp: EnsembleMLP, member: int, x: torch.Tensor) -> torch.Tensor:
    """One member as ordinary linear layers."""
    for i in range(3):
        x = functional.linear(x, mlp.weights[i][member].T, mlp.biases[i][member, 0])
        x = x * torch.sigmoid(x) if i < 2 else x
    return x


@pytest.mark.parametrize("members", [None, [2, 0]])
def test_each_member_is_an_ordinary_network(members: list[int] | None) -> None:
    mlp = network()
    with torch.no_grad():
        for bias in mlp.biases:
            bias.normal_(generator=torch.Generator().manual_seed(1))
    chosen = [0, 1, 2] if members is None else members
    x = torch.randn(len(chosen), 5, 4, generator=torch.Generator().manual_seed(2))
    found = mlp(x, None if members is None else torch.tensor(members))
    for row, member in enumerate(chosen):
        torch.testing.assert_close(found[row], plain(mlp, member, x[row]))


def test_members_start_apart_with_the_published_spread() -> None:
    mlp = EnsembleMLP(50, [64, 64, 1], torch.Generator().manual_seed(0))
    weights = mlp.weights[0].detach()
    std = 1 / (2 * math.sqrt(64))
    inside = math.sqrt(0.7737413)  # variance of a standard normal truncated at two
    assert weights.std().item() == pytest.approx(std * inside, rel=0.01)
    assert weights.abs().max() <= 2 * std
    assert not torch.equal(weights[0], weights[1])


def test_same_seed_same_weights() -> None:
    first, second, other = network(0), network(0), network(1)
    assert torch.equal(first.weights[0], second.weights[0])
    assert not torch.equal(first.weights[0], other.weights[0])


def test_layer_norm_is_that_of_the_paper() -> None:
    """arXiv:1607.06450, eq. 3, after the activation, in hidden layers only."""
    mlp = EnsembleMLP(1, [4, 16, 2], torch.Generator().manual_seed(0), layer_norm=True)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    hidden = functional.silu(x @ mlp.weights[0][0])
    mean, variance = hidden.mean(1, keepdim=True), hidden.var(1, correction=0, keepdim=True)
    expected = (hidden - mean) / torch.sqrt(variance + 1e-5) @ mlp.weights[1][0]
    torch.testing.assert_close(mlp(x[None])[0], expected)


def test_dropout_drops_its_share_and_scales_up_the_rest() -> None:
    def identity(x: torch.Tensor) -> torch.Tensor:
        return x

    rng = torch.Generator().manual_seed(0)
    mlp = EnsembleMLP(2, [1, 400, 400], rng, activation=identity, dropout=0.2)
    with torch.no_grad():
        mlp.weights[0].fill_(3.0)
        mlp.weights[1].copy_(torch.eye(400).expand(2, -1, -1))
    x = torch.ones(2, 50, 1)
    dropped = mlp(x, dropping=rng)
    assert set(dropped.unique().tolist()) == {0.0, 3.75}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert not torch.equal(dropped[0], dropped[1])
    assert (mlp(x) == 3.0).all()
