"""Caution where a model does not know: what its particles disagree on counts for less."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mpc_robot.dynamics.base import Trajectories
from mpc_robot.errors import require


@dataclass(frozen=True)
class Caution:
    """Plans lose by what the model's particles disagree on, or are not looked at that far.

    The disagreement at a step is the standard deviation of the particles' observations, each entry
    relative to its scale, as root mean square over the entries. A model that is certain, such as a
    simulator, loses nothing.

    Attributes:
        penalty: return that a unit of disagreement costs at every step, as in MOPO
            (arXiv:2005.13239).
        trust: disagreement up to which the model is believed. All candidates are judged over the
            same steps, those before their mean disagreement exceeds it: were each cut off by
            itself, a costly one would gain by being uncertain.
        scale: what deviations of the observation's entries are measured in ``[D]``, say their
            spread in the data; empty for their own units.
    """

    penalty: float = 0.0
    trust: float = math.inf
    scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require(0 <= self.penalty < math.inf, "penalty", "not negative", self.penalty)
        require(self.trust > 0, "trust", "positive", self.trust)
        require(all(entry > 0 for entry in self.scale), "scale", "positive entries", self.scale)

    def __call__(self, futures: Trajectories) -> Trajectories:
        """The same futures over the steps to be believed, at least one, less the penalty."""
        disagreement = self.disagreement(futures.observations[:, :, 1:])
        expected = disagreement.nanmean(dim=0)
        believed = int((expected <= self.trust).long().cumprod(dim=0).sum())
        steps = max(believed, 1)
        return Trajectories(
            futures.observations[:, :, : steps + 1],
            futures.rewards[:, :, :steps] - self.penalty * disagreement[:, None, :steps],
            futures.continues[:, :, :steps],
        )

    def disagreement(self, observations: Tensor) -> Tensor:
        """Disagreement ``[N, H]`` of ``observations[N, P, H, D]``; 0 for a single particle."""
        scale = torch.tensor(self.scale or (1.0,), dtype=observations.dtype)
        spread = (observations / scale).std(dim=1, correction=0)
        return spread.square().mean(dim=-1).sqrt()
