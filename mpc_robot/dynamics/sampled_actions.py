"""Any Dynamics as the model of a tree search, by a few actions at every state.

Sampled MuZero (arXiv:2104.06303): of infinitely many actions a search tries K that were drawn at
each state. Drawn from the prior policy itself, as here, each has the prior 1 / K (section 5.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.dynamics.base import Dynamics, Sensed
from mpc_robot.dynamics.rows import concatenate
from mpc_robot.dynamics.search_model import Expansion, Floats, Ints, Nodes
from mpc_robot.errors import require

State = TypeVar("State")
Proposal = Callable[[Any, int, np.random.Generator], Tensor]
"""Actions to try in B states of a model: ``state, B, rng -> [B, K, A]``, within bounds."""
StateValue = Callable[[Any, int, np.random.Generator], Tensor]
"""Discounted return to expect from B states of a model: ``state, B, rng -> [B]``."""


@dataclass(frozen=True)
class Considered(Generic[State]):
    """B states of a model, and what may be done in them.

    Attributes:
        state: rows.
        actions: ``[B, K, A]``.
    """

    state: State
    actions: Tensor


def uniform(low: npt.ArrayLike, high: npt.ArrayLike, num: int) -> Proposal:
    """``num`` actions drawn evenly from within bounds ``[A]``."""
    least, most = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)

    def propose(state: Any, batch: int, rng: np.random.Generator) -> Tensor:
        """Drawn anew for each state."""
        drawn = rng.uniform(least, most, size=(batch, num, len(least)))
        return torch.as_tensor(drawn, dtype=torch.float32)

    return propose


def grid(low: npt.ArrayLike, high: npt.ArrayLike, num: int, power: float = 1.0) -> Proposal:
    """``num`` values per entry between bounds ``[A]``, in all combinations; the middle comes first.

    Evenly spaced, or closer to the middle where a ``power`` above 1 is taken of their distances
    from it: with 2 and five values, 0, a quarter, and all of the way to either bound. What comes
    first is what searches try first where nothing speaks for another action.
    """
    least, most = (torch.as_tensor(np.ravel(bound), dtype=torch.float32) for bound in (low, high))
    even = torch.linspace(-1.0, 1.0, num) if num > 1 else torch.zeros(1)
    values = even.sign() * even.abs() ** power
    shares = torch.cartesian_prod(*[values] * len(least)).reshape(-1, len(least))
    shares = shares[shares.square().sum(dim=1).argsort(stable=True)]
    actions = (least + most) / 2 + (most - least) / 2 * shares

    def propose(state: Any, batch: int, rng: np.random.Generator) -> Tensor:
        """The same for each state."""
        return actions.expand(batch, -1, -1)

    return propose


def random_rollouts(
    dynamics: Dynamics[Any], propose: Proposal, steps: int, discount: float = 1.0
) -> StateValue:
    """The return of ``steps`` steps under random actions, the first of ``propose`` at each.

    Actions are drawn as for the first state, which suits proposals that do not look at it.
    """

    def value(state: Any, batch: int, rng: np.random.Generator) -> Tensor:
        """One rollout per state, and the mean over its particles."""
        actions = torch.stack([propose(state, batch, rng)[:, 0] for _ in range(steps)], dim=1)
        futures = dynamics.rollout(state, actions, torch_generator(rng))
        return futures.returns(discount).mean(dim=1)

    return value


def lasting(dynamics: Dynamics[Any], action: npt.ArrayLike, discount: float) -> StateValue:
    """The worth of a state where what one step under ``action[A]`` earns were earned for ever.

    For rewards that say how good a state is; ``discount`` is per step of ``dynamics``, below 1.
    """
    still = torch.as_tensor(np.asarray(action), dtype=torch.float32)

    def value(state: Any, batch: int, rng: np.random.Generator) -> Tensor:
        """One step per state; nothing more is earned where it ends the episode."""
        step = dynamics.step(state, still.expand(batch, -1), torch_generator(rng))
        return step.reward * (1.0 + step.continues * discount / (1.0 - discount))

    return value


def nothing(state: Any, batch: int, rng: np.random.Generator) -> Tensor:
    """The value of what nobody can value: 0."""
    return torch.zeros(batch)


class SampledActions(Generic[State]):
    """A ControlModel: ``dynamics``, of which each state has K actions."""

    def __init__(
        self,
        dynamics: Dynamics[State],
        propose: Proposal,
        discount: float = 0.99,
        value: StateValue = nothing,
    ) -> None:
        """Search in ``dynamics``.

        Args:
            dynamics: the model; its states are rows (:mod:`mpc_robot.dynamics.rows`).
            propose: which actions to try, such as :func:`uniform` or :func:`grid`.
            discount: of rewards per control step, in (0, 1] (MuZero: 0.997).
            value: what a state that is not searched further is worth.

        Raises:
            ValueError: if the discount is not in (0, 1].
        """
        require(0 < discount <= 1, "discount", "in (0, 1]", discount)
        self.dynamics, self.propose = dynamics, propose
        self.discount, self.value = discount, value

    @property
    def observes(self) -> Sensed:
        """What the dynamics start from."""
        return self.dynamics.observes

    @torch.no_grad()
    def root(
        self, sensed: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> Nodes[Considered[State]]:
        """The states that were sensed ``[B, D]``."""
        return self._nodes(
            concatenate([self.dynamics.start(row, 1) for row in sensed]), len(sensed), rng
        )

    @torch.no_grad()
    def expand(
        self, embedding: Considered[State], action: Ints, rng: np.random.Generator
    ) -> Expansion[Considered[State]]:
        """One step of the dynamics in each state."""
        chosen = embedding.actions[np.arange(len(action)), action]
        step = self.dynamics.step(embedding.state, chosen, torch_generator(rng))
        discount: Floats = self.discount * step.continues.double().numpy()
        nodes = self._nodes(step.state, len(action), rng)
        return Expansion(step.reward.double().numpy(), discount, nodes)

    def vector(self, embedding: Considered[State], action: Ints) -> npt.NDArray[np.float64]:
        """The actions ``[B, A]`` of these numbers."""
        return embedding.actions[np.arange(len(action)), action].double().numpy()

    def _nodes(
        self, state: State, batch: int, rng: np.random.Generator
    ) -> Nodes[Considered[State]]:
        actions = self.propose(state, batch, rng)
        value: Floats = self.value(state, batch, rng).double().numpy()
        return Nodes(Considered(state, actions), value, np.zeros(actions.shape[:2]))


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """A generator of torch's that goes on from ``rng``."""
    return torch.Generator().manual_seed(int(rng.integers(2**63)))
