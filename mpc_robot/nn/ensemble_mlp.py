"""M multilayer perceptrons of one shape, evaluated together as batched matrix products."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class EnsembleMLP(nn.Module):
    """``[M, B, sizes[0]] -> [M, B, sizes[-1]]``, member m with weights of its own; SiLU between.

    Weights start as a normal truncated at two standard deviations of ``1 / (2 sqrt(inputs))``
    (PETS, arXiv:1805.12114), biases at zero.
    """

    def __init__(self, members: int, sizes: Sequence[int], rng: torch.Generator) -> None:
        """``sizes``: width of the input, of each hidden layer and of the output."""
        super().__init__()
        self.members = members
        pairs = list(itertools.pairwise(sizes))
        self.weights = nn.ParameterList(_initial(members, *pair, rng) for pair in pairs)
        self.biases = nn.ParameterList(torch.zeros(members, 1, out) for _, out in pairs)

    def forward(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """Each member's answer to its own rows, ``[M, B, in] -> [M, B, out]``.

        ``members [E]``: only these, with ``x [E, B, in]``.
        """
        last = len(self.weights) - 1
        chosen = slice(None) if members is None else members
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias[chosen], x, weight[chosen])
            if i < last:
                x = functional.silu(x)
        return x


def _initial(members: int, fan_in: int, fan_out: int, rng: torch.Generator) -> Tensor:
    std = 1.0 / (2.0 * math.sqrt(fan_in))
    weight = torch.empty(members, fan_in, fan_out)
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=rng)
