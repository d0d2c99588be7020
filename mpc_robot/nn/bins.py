"""Numbers as probabilities of bins: what targets of DreamerV3 and of MuZero have in common."""

from __future__ import annotations

import torch
from torch import Tensor


def mirrored(half: Tensor) -> Tensor:
    """Bins ``[2 n - 1]`` from ``half [n]``, which begins with 0 and grows, and its negative."""
    return torch.cat([-half.flip(0), half[1:]])


def cross_entropy(logits: Tensor, below: Tensor, share: Tensor) -> Tensor:
    """Between ``logits [..., bins]`` and targets ``[...]`` that two neighbouring bins share.

    Args:
        logits: of the bins.
        below: the lower of the two bins of each target.
        share: of the upper one, in [0, 1].
    """
    log_probs = logits.log_softmax(dim=-1)
    pair = log_probs.gather(-1, torch.stack([below, below + 1], dim=-1))
    return -torch.lerp(pair[..., 0], pair[..., 1], share)
