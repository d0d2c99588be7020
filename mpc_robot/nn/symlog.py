"""Numbers of any size for networks: symlog, and two-hot targets (DreamerV3, arXiv:2301.04104)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mpc_robot.nn.bins import cross_entropy, mirrored


def symlog(x: Tensor) -> Tensor:
    """``sign(x) log(1 + |x|)`` (arXiv:2301.04104v2, eq. 9)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """The inverse of :func:`symlog`."""
    return x.sign() * x.abs().expm1()


class TwoHot(nn.Module):
    """A number as probabilities of bins, spaced evenly in symlog.

    A target lies between two neighbouring bins, which share its probability so that their mean is
    the target; beyond the outermost bin, it is that bin (arXiv:2301.04104v2, eq. 10 and 11).
    """

    values: Tensor

    def __init__(self, bins: int = 255, most: float = 20.0) -> None:
        """An odd number of ``bins`` from ``symexp(-most)`` to ``symexp(most)``."""
        super().__init__()
        half = symexp(torch.linspace(0.0, most, bins // 2 + 1))
        self.register_buffer("values", mirrored(half), persistent=False)

    def locate(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """The bin below each target ``[...]``, and the share in [0, 1] of the bin above it."""
        last = len(self.values) - 2
        below = (torch.searchsorted(self.values, target, right=True) - 1).clamp(0, last)
        least, most = self.values[below], self.values[below + 1]
        return below, ((target - least) / (most - least)).clamp(0.0, 1.0)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross entropy ``[...]`` between ``logits [..., bins]`` and targets ``[...]``."""
        return cross_entropy(logits, *self.locate(target))

    def mean(self, logits: Tensor) -> Tensor:
        """The number ``[...]`` that ``logits [..., bins]`` stand for; 0 if all are equal."""
        worth = logits.softmax(dim=-1) * self.values
        half = worth.shape[-1] // 2  # pairs of opposite bins first: large numbers cancel
        return (worth[..., :half].flip(-1) + worth[..., half + 1 :]).sum(dim=-1)
