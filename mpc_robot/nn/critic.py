"""Several estimates of what an action is worth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from mpc_robot.nn.ensemble_mlp import EnsembleMLP


class QEnsemble(nn.Module):
    """M networks, each of which values actions, ``[B, F], [B, A] -> [M, B]``.

    A value is ``center`` plus ``width`` times what a network says.
    """

    center: Tensor
    width: Tensor

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
        self.register_buffer("center", torch.tensor(0.0))
        self.register_buffer("width", torch.tensor(1.0))

    @torch.no_grad()
    def rescale(self, center: Tensor, width: Tensor) -> None:
        """Say values in other units; they stay what they are (Pop-Art, arXiv:1602.07714)."""
        weight, bias = self.network.weights[-1], self.network.biases[-1]
        weight.mul_(self.width / width)
        bias.mul_(self.width).add_(self.center - center).div_(width)
        self.center.copy_(center)
        self.width.copy_(width)

    def forward(
        self, seen: Tensor, action: Tensor, dropping: torch.Generator | None = None
    ) -> Tensor:
        """Each member's value of each row; ``dropping`` draws what training drops out."""
        rows = torch.cat([seen, action], dim=-1).expand(self.network.members, -1, -1)
        return self._scaled(self.network(rows, dropping=dropping))

    def least(
        self,
        seen: Tensor,
        action: Tensor,
        subset: int,
        rng: torch.Generator,
        dropping: torch.Generator | None = None,
    ) -> Tensor:
        """The least value ``[B]`` of ``subset`` members drawn at random (REDQ, arXiv:2101.05982).

        With as many as there are it is that of SAC; with ``dropping`` that of DroQ.
        """
        chosen = torch.randperm(self.network.members, generator=rng)[:subset]
        rows = torch.cat([seen, action], dim=-1).expand(subset, -1, -1)
        return self._scaled(self.network(rows, chosen, dropping=dropping)).amin(dim=0)

    def _scaled(self, said: Tensor) -> Tensor:
        """Values ``[M, B]`` of what networks said, ``[M, B, 1]``."""
        return self.center + self.width * said[..., 0]
