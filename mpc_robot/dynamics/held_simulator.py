"""The simulator in longer strides: each step holds its action for several control steps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mpc_robot.dynamics.base import Sensed, Trajectories, Transition
from mpc_robot.dynamics.simulator import Floats, Simulator, SimulatorState
from mpc_robot.errors import require


class HeldSimulator:
    """A Dynamics: a step is ``hold`` control steps of a simulator under one action.

    The reward of a step is the discounted return of its control steps. What comes after it counts
    less by as many discounts: all of them but the last, which users of a model apply themselves,
    are part of ``continues``.
    """

    def __init__(self, simulator: Simulator, hold: int, discount: float = 1.0) -> None:
        """Take strides in ``simulator``.

        Args:
            simulator: the model, without randomised variants.
            hold: control steps that an action is held for.
            discount: of rewards per control step, in (0, 1].

        Raises:
            ValueError: if a setting makes no sense.
        """
        require(hold >= 1, "hold", "at least 1", hold)
        require(0 < discount <= 1, "discount", "in (0, 1]", discount)
        variants = len(simulator.variants)
        require(variants == 1, "simulator", "one without randomised variants", f"{variants}")
        self.simulator, self.hold, self.discount = simulator, hold, discount

    @property
    def observes(self) -> Sensed:
        """The plant's full physics state."""
        return self.simulator.observes

    def start(self, sensed: Floats, num: int) -> SimulatorState:
        """``num`` simulations at the physics state ``sensed[S]``."""
        return self.simulator.start(sensed, num)

    def step(
        self, state: SimulatorState, action: Tensor, rng: torch.Generator
    ) -> Transition[SimulatorState]:
        """Advance B simulations by ``hold`` control periods under ``action[B, A]``."""
        future, after = self._stride(state, action[:, None])
        return Transition(after, future.rewards[:, 0, 0], future.continues[:, 0, 0])

    def rollout(self, state: SimulatorState, actions: Tensor, rng: torch.Generator) -> Trajectories:
        """Follow ``actions[N, H, A]`` from N states, each action for ``hold`` control steps."""
        return self._stride(state, actions)[0]

    def _stride(
        self, state: SimulatorState, actions: Tensor
    ) -> tuple[Trajectories, SimulatorState]:
        """The steps under ``actions[N, H, A]``, and where they end."""
        fine, after = self.simulator.follow(state, actions.repeat_interleave(self.hold, dim=1))
        strides = (*fine.rewards.shape[:2], -1, self.hold)
        weights = torch.from_numpy(self.discount ** np.arange(self.hold))
        rewards = (fine.rewards.reshape(strides) * weights).sum(dim=-1)  # the dead earn nothing
        survived = fine.continues.reshape(strides).prod(dim=-1)
        continues = self.discount ** (self.hold - 1) * survived
        return Trajectories(fine.observations[:, :, :: self.hold], rewards, continues), after
