"""Numbers as probabilities of evenly spaced bins, on a scale that shrinks great ones (MuZero)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mpc_robot.nn.bins import cross_entropy, mirrored

EPSILON = 1e-3
"""How fast :func:`shrink` goes on to grow where its root hardly does."""


def shrink(x: Tensor) -> Tensor:
    """``sign(x) (sqrt(|x| + 1) - 1) + EPSILON x`` (arXiv:1805.11593, section 3.2)."""
    return x / ((x.abs() + 1.0).sqrt() + 1.0) + EPSILON * x  # nothing cancels near 0


def unshrink(y: Tensor) -> Tensor:
    """The inverse of :func:`shrink`.

    ``w = sqrt(|x| + 1) - 1`` solves ``EPSILON w² + (1 + 2 EPSILON) w = |y|``, and ``|x|`` is
    ``w (w + 2)``.
    """
    linear, size = 1.0 + 2.0 * EPSILON, y.abs()
    w = 2.0 * size / (linear + (linear**2 + 4.0 * EPSILON * size).sqrt())
    return y.sign() * w * (w + 2.0)


class Support(nn.Module):
    """Bins from ``-most`` to ``most`` in terms of :func:`shrink` (arXiv:1911.08265, appendix F).

    A target lies between two neighbouring bins, which share its probability so that their mean is
    the target; beyond the outermost bin, it is that bin.
    """

    values: Tensor

    def __init__(self, most: float, bins: int) -> None:
        """An odd number of ``bins``, so that one of them is 0."""
        super().__init__()
        half = torch.linspace(0.0, most, bins // 2 + 1)
        self.register_buffer("values", mirrored(half), persistent=False)
        self.greatest = unshrink(torch.tensor(most, dtype=torch.float64)).item()

    def locate(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """The bin below each target ``[...]``, and the share in [0, 1] of the bin above it."""
        last = len(self.values) - 1
        shrunk = shrink(target.clamp(-self.greatest, self.greatest)).float()
        at = (0.5 * last * (shrunk / self.values[-1] + 1.0)).clamp(0.0, last)
        below = at.floor().clamp(max=last - 1)
        return below.long(), at - below

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross entropy ``[...]`` between ``logits [..., bins]`` and targets ``[...]``."""
        return cross_entropy(logits, *self.locate(target))

    def mean(self, logits: Tensor) -> Tensor:
        """The number ``[...]`` that ``logits [..., bins]`` stand for; 0 if all are equal."""
        return unshrink(logits.softmax(dim=-1) @ self.values)
