"""Seams 3 and 4: optimizers that search for a plan, controllers that decide what to do now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.dynamics.base import Sensed
from mpc_robot.envs.base import physics_state

Score = Callable[[Tensor], Tensor]
"""Returns of candidates: ``actions[N, H, A] -> [N]``; higher is better."""


@dataclass(frozen=True)
class Plan:
    """What a controller intends, and the search distribution its next search starts from.

    Attributes:
        actions: the intended actions ``[H, A]``, within bounds.
        knots: mean of the search distribution, as spline knots ``[K, A]``. Its actions are the
            intended ones, except where an optimizer acts on the best candidate (iCEM).
        std: standard deviation of the search distribution at each knot ``[K, A]``.
        elites: knots of good candidates kept for the next search ``[E, K, A]``, best first; E may
            be 0.
        value: score of the best candidate seen, -inf before a search or if none was finite.
    """

    actions: Tensor
    knots: Tensor
    std: Tensor
    elites: Tensor
    value: float = -torch.inf


class TrajectoryOptimizer(Protocol):
    """A search over action sequences that knows no model, no task and no robot."""

    def initial(self) -> Plan:
        """The plan to start from when nothing is known."""
        ...

    def shift(self, plan: Plan) -> Plan:
        """The same plan one control step later: the warm start of the next search."""
        ...

    def optimize(self, score: Score, plan: Plan, rng: torch.Generator) -> Plan:
        """Search around ``plan``; NaN scores count as -inf, every candidate is within bounds."""
        ...


class Controller(Protocol):
    """Everything that can act: planners, tree search, trained policies, LQR."""

    @property
    def observes(self) -> Sensed:
        """Whether ``act`` takes the task's observation or the plant's full physics state."""
        ...

    @property
    def plan(self) -> Plan | None:
        """What it last intended; None for controllers that do not plan."""
        ...

    def reset(self, seed: int) -> None:
        """Forget the last episode; the same seed gives the same actions again."""
        ...

    def act(self, sensed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The action ``[A]`` to apply now, for an observation ``[D]`` or physics state ``[S]``."""
        ...


def sense(
    controller: Controller, env: gym.Env[Any, Any], observation: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """What ``controller.act`` takes: the observation just made, or the env's physics state."""
    return physics_state(env) if controller.observes == "state" else observation


def finite_or_worst(scores: Tensor) -> Tensor:
    """Scores with NaN and +inf as -inf: what nobody can value is never a good plan."""
    return torch.nan_to_num(scores, nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
