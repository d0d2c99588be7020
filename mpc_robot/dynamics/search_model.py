"""What a tree search asks of a model: what is at the root, and what follows an action.

A model is a pure function of what it is given. Actions are numbers from 0 to A - 1; a model of
continuous actions draws A of them for every state and keeps them with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from mpc_robot.dynamics.base import Sensed

Embedding = TypeVar("Embedding")
Floats = npt.NDArray[np.floating[Any]]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Nodes(Generic[Embedding]):
    """B states, as a search knows them.

    Attributes:
        embedding: the states, as rows (:mod:`mpc_robot.dynamics.rows`) that are the model's own.
        value: discounted return to expect from here on, of the player to move ``[B]``.
        logits: of the prior policy ``[B, A]``; those of illegal actions do not matter.
        legal: which actions there are ``[B, A]``; None for all.
        player: whose move it is ``[B]``, 0 or 1; None where nobody else plays. What one wins the
            other loses.
    """

    embedding: Embedding
    value: Floats
    logits: Floats
    legal: Flags | None = None
    player: npt.NDArray[np.integer[Any]] | None = None


@dataclass(frozen=True)
class Expansion(Generic[Embedding]):
    """What B actions led to.

    Attributes:
        reward: of whoever acted ``[B]``.
        discount: of what comes after ``[B]``, in [0, 1]; 0 says that nothing does: the state is
            terminal, and what ``nodes`` says of it does not matter.
        nodes: the states reached.
    """

    reward: Floats
    discount: Floats
    nodes: Nodes[Embedding]


class SearchModel(Protocol[Embedding]):
    """A model in which trees can be searched, many at once.

    What is not finite counts as the worst that can be: such an action is not tried again.
    """

    def root(self, sensed: Any, rng: np.random.Generator) -> Nodes[Embedding]:
        """The B states at the roots, for B rows of whatever the model starts from."""
        ...

    def expand(
        self, embedding: Embedding, action: Ints, rng: np.random.Generator
    ) -> Expansion[Embedding]:
        """What follows ``action[B]`` in B states; the states given stay as they are."""
        ...


class ControlModel(SearchModel[Embedding], Protocol[Embedding]):
    """A model of a task, whose numbered actions are vectors that can be applied."""

    @property
    def observes(self) -> Sensed:
        """What ``root`` takes rows of."""
        ...

    def vector(self, embedding: Embedding, action: Ints) -> npt.NDArray[np.float64]:
        """The vectors ``[B, A]`` that the numbers ``action[B]`` stand for in B states."""
        ...
