"""Several estimates of what an action is worth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from mpc_robot.nn.ensemble_mlp import EnsembleMLP


class QEnsemble(nn.Module):
    """M networks, each of which values actions, ``[B, F], [B, A] -> [M, B]``."""

    def __init__(
        self,
        sizes: tuple[int, int],
        members: int,
        hidden: tuple[int, ...],
        rng: torch.Generator,
        *,
        activation: Callable[[Tensor], Tensor] = functional.silu,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """``sizes``: F, features of a state, and A; the rest is as in :class:`EnsembleMLP`."""
        super().__init__()
        self.network = EnsembleMLP(
            members,
            [sum(sizes), *hidden, 1],
            rng,
            activation=activation,
            layer_norm=layer_norm,
            dropout=dropout,
        )

    def forward(
        self, seen: Tensor, action: Tensor, dropping: torch.Generator | None = None
    ) -> Tensor:
        """Each member's value of each row; ``dropping`` draws what training drops out."""
        rows = torch.cat([seen, action], dim=-1).expand(self.network.members, -1, -1)
        values: Tensor = self.network(rows, dropping=dropping)
        return values[..., 0]

    def least(self, seen: Tensor, action: Tensor, subset: int, rng: torch.Generator) -> Tensor:
        """The least value ``[B]`` of ``subset`` members drawn at random (REDQ, arXiv:2101.05982).

        With as many as there are it is that of SAC.
        """
        chosen = torch.randperm(self.network.members, generator=rng)[:subset]
        rows = torch.cat([seen, action], dim=-1).expand(subset, -1, -1)
        values: Tensor = self.network(rows, chosen)
        return values[..., 0].amin(dim=0)
