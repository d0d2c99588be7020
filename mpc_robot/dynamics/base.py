"""Seam 2, Dynamics: what happens next, for many candidates at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

State = TypeVar("State")
Sensed = Literal["observation", "state"]


@dataclass(frozen=True)
class Transition(Generic[State]):
    """One predicted step of B rows.

    Attributes:
        state: where the model now is, opaque to its users.
        reward: reward of the step ``[B]``.
        continues: probability that the episode goes on after the step ``[B]``, in [0, 1].
    """

    state: State
    reward: Tensor
    continues: Tensor


@dataclass(frozen=True)
class Trajectories:
    """Predicted futures of N candidates, each in P particles, over H steps.

    Attributes:
        observations: ``[N, P, H + 1, D]``, the first being where the plan starts.
        rewards: ``[N, P, H]``.
        continues: probability that the episode goes on after each step ``[N, P, H]``, in [0, 1].
    """

    observations: Tensor
    rewards: Tensor
    continues: Tensor

    def returns(self, discount: float = 1.0) -> Tensor:
        """Discounted return of every particle ``[N, P]``; nothing is earned after termination.

        The step that terminates still earns its reward, as in the environment.
        """
        horizon = self.rewards.shape[-1]
        if discount == 1.0 and bool((self.continues == 1.0).all()):  # so it is most of the time
            return self.rewards.sum(dim=-1)
        survived = torch.cumprod(self.continues, dim=-1)[..., :-1]
        alive = torch.cat([torch.ones_like(self.rewards[..., :1]), survived], dim=-1)
        weights = discount ** torch.arange(
            horizon, dtype=self.rewards.dtype, device=self.rewards.device
        )
        earned = torch.where(alive == 0, 0.0, self.rewards * alive)  # the dead may well be NaN
        return (earned * weights).sum(dim=-1)


class Dynamics(Protocol[State]):
    """A model of the world that can be asked "what if?" about many action sequences at once.

    ``observes`` says what ``start`` takes: the task's observation ``[D]``, or the plant's full
    physics state ``[S]`` (:func:`mpc_robot.envs.base.physics_state`).
    """

    @property
    def observes(self) -> Sensed:
        """Which of the two signals ``start`` takes."""
        ...

    def start(self, sensed: npt.NDArray[np.float64], num: int) -> State:
        """The state of ``num`` identical candidates that begin at what was sensed."""
        ...

    def step(self, state: State, action: Tensor, rng: torch.Generator) -> Transition[State]:
        """Advance B rows by one control period under ``action[B, A]``."""
        ...

    def rollout(self, state: State, actions: Tensor, rng: torch.Generator) -> Trajectories:
        """Follow ``actions[N, H, A]`` from ``state``, in as many particles as the model has."""
        ...
