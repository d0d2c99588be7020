"""Heads: how wrong they are about several targets at once."""

from __future__ import annotations

import pytest
import torch

from mpc_robot.nn.heads import GaussianHead, TwoHotHead


@pytest.mark.parametrize("kind", [GaussianHead, TwoHotHead])
def test_losses_of_several_targets_add_up(kind: type[GaussianHead] | type[TwoHotHead]) -> None:
    rng = torch.Generator().manual_seed(0)
    head = kind(3, (8,), rng)
    with torch.no_grad():
        head.network[-1].weight.normal_(generator=rng)
    features, one, other = (torch.randn(4, n, generator=rng) for n in (3, 1, 1))
    both = head.loss(features, one[:, 0], other[:, 0])
    alone = head.loss(features, one[:, 0]) + head.loss(features, other[:, 0])
    torch.testing.assert_close(both, alone)
