"""Model predictive control: ask the model what follows, act on the best answer, ask again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.controllers.base import Plan, Score, TrajectoryOptimizer
from mpc_robot.controllers.caution import Caution
from mpc_robot.controllers.risk import Risk, mean
from mpc_robot.dynamics.base import Dynamics, Sensed, Trajectories
from mpc_robot.errors import require

TerminalValue = Callable[[Tensor], Tensor]
"""Return to expect after the horizon: last observations ``[..., D] -> [...]``."""

Propose = Callable[[npt.NDArray[np.float64], Plan, torch.Generator], Plan]
"""A better plan to search from, given what was sensed and the plan so far; candidates of its own
are among its elites."""


class MPC:
    """A Controller that searches a plan in a model at every step and applies its first action.

    Attributes:
        plan: what it last intended, None after a reset; the next search starts from it.
        rng: random numbers of the search and the model; with ``plan``, all that ``act`` changes
            where every step is planned.
    """

    def __init__(
        self,
        dynamics: Dynamics[Any],
        optimizer: TrajectoryOptimizer,
        discount: float = 1.0,
        terminal_value: TerminalValue | None = None,
        *,
        risk: Risk = mean,
        replan_every: int = 1,
        budget: float = math.inf,
        caution: Caution | None = None,
        propose: Propose | None = None,
    ) -> None:
        """Plan in ``dynamics`` by ``optimizer``; starts as after ``reset(0)``.

        Args:
            dynamics: the model.
            optimizer: the search, which also knows the horizon and the action bounds.
            discount: of rewards per control step, in (0, 1].
            terminal_value: worth of where a plan ends; None for nothing.
            risk: what the returns of a candidate's particles are worth together.
            replan_every: control steps that a plan is followed for, where the control rate is
                higher than plans need be made.
            budget: time after which a search begins no further iteration, s; the plan is then the
                best so far. The first iteration is always done.
            caution: how to judge what the model does not know; None for as it comes.
            propose: where else to search, say around what a policy would do; None for only around
                the last plan.

        Raises:
            ValueError: if the discount is not in (0, 1], a plan is followed for no step or a search
                has no time.
        """
        require(0 < discount <= 1, "discount", "in (0, 1]", discount)
        require(replan_every >= 1, "replan_every", "at least 1", replan_every)
        require(budget > 0, "budget", "positive", budget)
        self.dynamics = dynamics
        self.optimizer = optimizer
        self.discount = discount
        self.terminal_value = terminal_value
        self.risk = risk
        self.replan_every = replan_every
        self.budget = budget
        self.caution = caution
        self.propose = propose
        self.plan: Plan | None = None
        self.rng = torch.Generator()
        self._sensed: npt.NDArray[np.float64] | None = None
        self.reset(0)

    @property
    def observes(self) -> Sensed:
        """What the model starts from."""
        return self.dynamics.observes

    def reset(self, seed: int) -> None:
        """Forget plan and observation; the same seed gives the same actions again."""
        self.plan = None
        self._sensed = None
        self._steps = 0
        self.rng.manual_seed(seed)

    @torch.no_grad()
    def act(self, sensed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The first action ``[A]`` of the best plan from ``sensed``, or the next of the last plan.

        If the model can value no candidate, the rest of the last plan, with ``plan.value`` -inf.

        Raises:
            ValueError: if ``sensed`` is not a vector of finite numbers; nothing was changed then.
        """
        start = checked(sensed)
        optimizer = self.optimizer
        plan = optimizer.initial() if self.plan is None else optimizer.shift(self.plan)
        if self._steps % self.replan_every == 0:
            if self.propose is not None:
                plan = self.propose(start, plan, self.rng)
            plan = optimizer.optimize(self._score_of(start), plan, self.rng)
        elif self.plan is not None:
            plan = replace(plan, value=self.plan.value)
        self.plan, self._sensed = plan, start
        self._steps += 1
        return self.plan.actions[0].numpy().astype(np.float64)

    def skip(self, steps: int) -> None:
        """Have the next search begin ``steps`` control steps later than the next one's start.

        For loops in which more than one control step passes from plan to plan.
        """
        if self.plan is not None:
            for _ in range(min(steps, len(self.plan.actions))):  # more lead nowhere else
                self.plan = self.optimizer.shift(self.plan)

    @torch.no_grad()
    def predict(self) -> Trajectories:
        """What the model expects of the last plan, from where it was made, N = 1; for display.

        Raises:
            RuntimeError: if there is no plan yet.
        """
        if self.plan is None or self._sensed is None:
            raise RuntimeError("predict: expected a plan, got none yet; call act first")
        rng = torch.Generator()
        rng.set_state(self.rng.get_state())  # looking at a plan must not change the next one
        state = self.dynamics.start(self._sensed, 1)
        return self.dynamics.rollout(state, self.plan.actions[None], rng)

    def _score_of(self, sensed: npt.NDArray[np.float64]) -> Score:
        """The score of candidates from ``sensed``, within the budget.

        Once that is spent all count as -inf: an iteration without a finite score changes nothing.
        """
        if self.budget == math.inf:
            return lambda actions: self._score(sensed, actions)
        deadline, scored = time.monotonic() + self.budget, 0

        def score(actions: Tensor) -> Tensor:
            """The score, or -inf when it is late."""
            nonlocal scored
            late, scored = scored > 0 and time.monotonic() >= deadline, scored + 1
            if late:  # in a way that can be differentiated
                return (0.0 * actions).sum(dim=(1, 2)) - math.inf
            return self._score(sensed, actions)

        return score

    def _score(self, sensed: npt.NDArray[np.float64], actions: Tensor) -> Tensor:
        """What the returns of ``actions[N, H, A]`` over all particles are worth, ``[N]``."""
        state = self.dynamics.start(sensed, len(actions))
        futures = self.dynamics.rollout(state, actions, self.rng)
        if self.caution is not None:
            futures = self.caution(futures)
        returns = futures.returns(self.discount)
        if self.terminal_value is not None:
            worth = self.terminal_value(futures.observations[:, :, -1])
            worth = self.discount ** futures.rewards.shape[-1] * worth
            survived = futures.continues.prod(dim=-1)
            returns = returns + torch.where(survived == 0, 0.0, survived * worth)
        return self.risk(returns)


def checked(sensed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A copy of ``sensed``, which must be a vector of finite numbers."""
    vector = np.array(sensed, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"sensed: expected shape (D,), got {vector.shape}")
    bad = np.flatnonzero(~np.isfinite(vector))
    if len(bad) > 0:
        raise ValueError(f"sensed[{bad[0]}]: expected a finite number, got {vector[bad[0]]}")
    return vector
