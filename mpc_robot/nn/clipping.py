"""Gradients that are not allowed to be too large."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def clip_adaptively(parameters: Iterable[Tensor], most: float, least_norm: float = 1e-3) -> Tensor:
    """Scale each gradient down to ``most`` times the norm of what it changes, where it is greater.

    Adaptive gradient clipping (arXiv:2102.06171, eq. 3) as in DreamerV3 (arXiv:2301.04104): tensor
    by tensor, with norms of tensors counted as ``least_norm`` at least.

    Returns:
        The norm of all gradients together, as they were.
    """
    pairs = [(each.detach(), each.grad) for each in parameters if each.grad is not None]
    gradients = [gradient for _, gradient in pairs]
    norms = torch.stack([gradient.norm() for gradient in gradients])
    sizes = torch.stack([parameter.norm() for parameter, _ in pairs])
    shares = (most * sizes.clamp(min=least_norm) / norms).clamp(max=1.0)
    for gradient, share in zip(gradients, shares, strict=True):
        gradient.mul_(share)
    whole: Tensor = norms.norm()
    return whole
