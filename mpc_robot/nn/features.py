"""What a network sees of an observation: some of its entries, scaled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mpc_robot.nn.normalizer import Normalizer


class Features(nn.Module):
    """``[..., D] -> [..., F]``: chosen entries, of zero mean and unit variance once fitted."""

    indices: Tensor

    def __init__(self, indices: Sequence[int]) -> None:
        """``indices``: entries that are seen, F of them."""
        super().__init__()
        self.register_buffer("indices", torch.tensor(indices, dtype=torch.long), persistent=False)
        self.normalizer = Normalizer(len(indices))

    @property
    def dim(self) -> int:
        """F, how many there are."""
        return len(self.indices)

    def fit(self, observation: Tensor) -> None:
        """Take the statistics of ``observation [n, D]``."""
        self.normalizer.fit(observation[:, self.indices])

    def forward(self, observation: Tensor) -> Tensor:
        """Scaled entries of ``observation [..., D]``."""
        scaled: Tensor = self.normalizer(observation.index_select(-1, self.indices))
        return scaled
