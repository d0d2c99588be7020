"""What a policy may do: one of some numbers, or anything within bounds.

A search tries K candidates per state. Of numbers these are all, with the policy as their prior; of
continuous actions they are drawn from the policy, so that each has the prior 1 / K (Sampled MuZero,
arXiv:2104.06303, section 5.1). Networks take and give actions in units of their own.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.errors import require

STD = (0.1, 1.0)
"""Least and greatest standard deviation of a continuous action, where bounds are -1 and 1."""


class Choices(Protocol):
    """Actions ``[A]``, and what ``outputs`` numbers of a network say of which to take.

    Attributes:
        num: K, candidates in a state.
        size: A, entries of an action.
        outputs: numbers that describe a policy.
        inputs: entries of an action as a network sees it.
    """

    num: int
    size: int
    outputs: int
    inputs: int

    def propose(self, policy: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Candidates ``[B, K, A]`` and the logits of their priors ``[B, K]``."""
        ...

    def log_prob(self, policy: Tensor, candidates: Tensor) -> Tensor:
        """Log-probabilities ``[..., K]``, by ``policy [..., outputs]``, of ``[..., K, A]``."""
        ...

    def entropy(self, policy: Tensor) -> Tensor:
        """Of each policy ``[...]``, nats."""
        ...

    def encode(self, action: Tensor) -> Tensor:
        """Actions ``[..., A]`` as a network sees them ``[..., inputs]``."""
        ...

    def apply(self, action: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Actions ``[..., A]`` in the units of the environment."""
        ...

    def read(self, applied: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Applied actions ``[..., A]`` in our units, the inverse of :meth:`apply`."""
        ...


class Numbers:
    """Actions are numbers from 0, vectors of one entry; a policy is their logits."""

    size = 1

    def __init__(self, num: int) -> None:
        """``num``: K, how many there are."""
        self.num = self.outputs = self.inputs = num
        self._all, self._codes = torch.arange(num, dtype=torch.float32)[:, None], torch.eye(num)

    def propose(self, policy: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """All of them, in order."""
        return self._all.expand(len(policy), -1, -1), policy

    def log_prob(self, policy: Tensor, candidates: Tensor) -> Tensor:
        """Of each candidate's number."""
        return policy.log_softmax(dim=-1).gather(-1, candidates[..., 0].long())

    def entropy(self, policy: Tensor) -> Tensor:
        """Over all numbers."""
        log_probs = policy.log_softmax(dim=-1)
        return -(log_probs.exp() * log_probs).sum(dim=-1)

    def encode(self, action: Tensor) -> Tensor:
        """One-hot."""
        return self._codes[action[..., 0].long()]

    def apply(self, action: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """As they are."""
        return action.astype(np.float64)

    def read(self, applied: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """As they are."""
        return applied.astype(np.float32)


class Moves:
    """Actions within bounds, which are -1 and 1 here; a policy is a Gaussian, clipped to them.

    A candidate may lie beyond: it is a sample of the Gaussian, and what is done is the bound.
    """

    def __init__(
        self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], num: int
    ) -> None:
        """Between bounds ``[A]``, with K = ``num`` candidates; ValueError if there are none."""
        require(num >= 1, "candidates", "at least 1", num)
        self.num, self.size = num, len(low)
        self.outputs, self.inputs = 2 * self.size, self.size
        self._low, self._range = low, high - low

    def propose(self, policy: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Drawn anew for each state."""
        mean, std = self._moments(policy)
        shape = (len(policy), self.num, self.size)
        noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
        return mean[:, None] + std[:, None] * noise, policy.new_zeros(shape[:2])

    def log_prob(self, policy: Tensor, candidates: Tensor) -> Tensor:
        """Density of the Gaussian."""
        mean, std = (part[..., None, :] for part in self._moments(policy))
        log_density = -0.5 * ((candidates - mean) / std) ** 2 - std.log()
        return (log_density - 0.5 * math.log(2.0 * math.pi)).sum(dim=-1)

    def entropy(self, policy: Tensor) -> Tensor:
        """Of the Gaussian, in closed form."""
        _, std = self._moments(policy)
        return (std.log() + 0.5 * math.log(2.0 * math.pi * math.e)).sum(dim=-1)

    def encode(self, action: Tensor) -> Tensor:
        """What is done of them."""
        return action.clamp(-1.0, 1.0)

    def apply(self, action: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Within the environment's bounds."""
        share = 0.5 * (action.astype(np.float64).clip(-1.0, 1.0) + 1.0)
        scaled: npt.NDArray[np.float64] = self._low + share * self._range
        return scaled

    def read(self, applied: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """From -1 to 1."""
        return (2.0 * (applied - self._low) / self._range - 1.0).astype(np.float32)

    def _moments(self, policy: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation ``[..., A]``."""
        mean, spread = policy.chunk(2, dim=-1)
        least, most = STD
        return mean.tanh(), least + (most - least) * spread.sigmoid()
