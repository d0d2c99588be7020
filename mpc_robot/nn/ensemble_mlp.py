"""M multilayer perceptrons of one shape, evaluated together as batched matrix products."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class EnsembleMLP(nn.Module):
    """``[M, B, sizes[0]] -> [M, B, sizes[-1]]``, member m with weights of its own.

    Weights start as a normal truncated at two standard deviations of ``1 / (2 sqrt(inputs))``
    (PETS, arXiv:1805.12114), biases at zero.
    """

    def __init__(
        self,
        members: int,
        sizes: Sequence[int],
        rng: torch.Generator,
        *,
        activation: Callable[[Tensor], Tensor] = functional.silu,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """Initial weights are drawn from ``rng``.

        Args:
            members: M.
            sizes: width of the input, of each hidden layer and of the output.
            rng: draws the initial weights.
            activation: between layers.
            layer_norm: normalise what each hidden layer gives (arXiv:1607.06450, not affine).
            dropout: share of hidden values that training drops (DroQ, arXiv:2110.02034).
        """
        super().__init__()
        self.members, self.activation = members, activation
        self.layer_norm, self.dropout = layer_norm, dropout
        pairs = list(itertools.pairwise(sizes))
        self.weights = nn.ParameterList(_initial(members, *pair, rng) for pair in pairs)
        self.biases = nn.ParameterList(torch.zeros(members, 1, out) for _, out in pairs)

    def forward(
        self, x: Tensor, members: Tensor | None = None, dropping: torch.Generator | None = None
    ) -> Tensor:
        """Each member's answer to its own rows, ``[M, B, in] -> [M, B, out]``.

        ``members [E]``: only these, with ``x [E, B, in]``. ``dropping`` draws what is dropped out
        while training; without it nothing is.
        """
        last = len(self.weights) - 1
        for i, layer in enumerate(zip(self.weights, self.biases, strict=True)):
            weight, bias = layer if members is None else (part[members] for part in layer)
            x = _affine(x, weight, bias)
            if i < last:
                x = self._hidden(x, dropping)
        return x

    def _hidden(self, x: Tensor, dropping: torch.Generator | None) -> Tensor:
        """What the next layer sees."""
        if self.dropout > 0 and dropping is not None:
            kept = torch.empty_like(x).bernoulli_(1.0 - self.dropout, generator=dropping)
            x = x * kept / (1.0 - self.dropout)
        x = self.activation(x)
        return functional.layer_norm(x, x.shape[-1:]) if self.layer_norm else x


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``[M, B, in] -> [M, B, out]``; a product with a single column is no work for a GEMM."""
    if weight.shape[-1] == 1:
        return bias + (x * weight.mT).sum(dim=-1, keepdim=True)
    return torch.baddbmm(bias, x, weight)


def _initial(members: int, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    std = 1.0 / (2.0 * math.sqrt(fan_in))
    weight = torch.empty(members, fan_in, fan_out)
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=rng)
