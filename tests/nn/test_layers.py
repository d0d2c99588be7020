"""Layers against torch's own, and weights against what they should be drawn from."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from mpc_robot.nn.layers import MLP, NormedGRU, linear


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_weights_keep_the_variance_of_what_comes_in() -> None:
    layer = linear(400, 300, generator())
    assert layer.weight.std().item() == pytest.approx(1 / 20, rel=0.02)
    assert layer.weight.abs().max() <= 2 / 20 / 0.8796 and not layer.bias.any()
    assert torch.equal(layer.weight, linear(400, 300, generator()).weight)


def test_an_mlp_is_its_layers() -> None:
    mlp, x = MLP((3, 8, 2), generator()), torch.randn(5, 3, generator=generator(1))
    first, last = mlp[0], mlp[2]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    hidden = x @ first.weight.T
    mean, variance = hidden.mean(1, keepdim=True), hidden.var(1, correction=0, keepdim=True)
    normed = (hidden - mean) / (variance + 1e-3).sqrt()
    expected = (normed * torch.sigmoid(normed)) @ last.weight.T
    torch.testing.assert_close(mlp(x), expected)
    assert not MLP((3, 8, 2), generator(), zero=True)(x).any()


@pytest.mark.parametrize("blocks", [1, 4])
def test_a_gru_by_hand(blocks: int) -> None:
    """With a dense matrix that is zero beside its blocks."""
    gru = NormedGRU(3, 8, blocks, generator())
    x, state = (torch.randn(5, n, generator=generator(n)) for n in (3, 8))
    each = 8 // blocks
    dense = torch.zeros(8, 24)
    for block in range(blocks):
        rows = slice(block * each, (block + 1) * each)
        for gate in range(3):
            columns = slice(8 * gate + block * each, 8 * gate + (block + 1) * each)
            dense[rows, columns] = gru.own[block, :, gate * each : (gate + 1) * each].detach()
    both = functional.layer_norm(x @ gru.input.weight.T + state @ dense, (24,), eps=1e-3)
    reset, candidate, update = both.split(8, dim=1)
    candidate = torch.tanh(torch.sigmoid(reset) * candidate)
    update = torch.sigmoid(update - 1)
    expected = update * candidate + (1 - update) * state
    torch.testing.assert_close(gru(x, state), expected)


def test_blocks_of_a_gru_share_the_input_but_not_the_state() -> None:
    """Layer norm is over all, so what is shared goes through its two numbers; take it away."""
    gru = NormedGRU(3, 8, 2, generator())
    gru.norm = nn.Identity()  # type: ignore[assignment]
    x = torch.randn(1, 3, generator=generator(1))
    jacobian = torch.autograd.functional.jacobian(lambda s: gru(x, s)[0], torch.zeros(1, 8))[:, 0]
    assert not jacobian[:4, 4:].any() and not jacobian[4:, :4].any()
    assert jacobian[:4, :4].abs().sum() > 0
