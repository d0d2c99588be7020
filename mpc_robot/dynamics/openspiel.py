"""An OpenSpiel game as the model of a tree search (extra ``games``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mpc_robot.dynamics.base import Sensed
from mpc_robot.dynamics.rows import objects
from mpc_robot.dynamics.search_model import Expansion, Flags, Floats, Ints, Nodes
from mpc_robot.envs.openspiel import check_game, state_after
from mpc_robot.errors import require

States = npt.NDArray[np.object_]
PolicyValue = Callable[[Sequence[Any]], tuple[Floats, Floats]]
"""Prior logits ``[B, A]`` and values ``[B]``, of the player to move, of B states of a game."""


class OpenSpielModel:
    """A game for one player, or for two of whom one wins what the other loses.

    Roots are OpenSpiel states. Nothing may be random or hidden, and nobody moves at the same time
    as another.
    """

    def __init__(
        self,
        game: Any,
        evaluate: PolicyValue | None = None,
        *,
        rollouts: int = 1,
        discount: float = 1.0,
    ) -> None:
        """Search in ``game``, from :func:`mpc_robot.envs.openspiel.load_game`.

        Args:
            game: the game.
            evaluate: policy and value of states; None for no preference, and random rollouts.
            rollouts: games played at random to value a state, where ``evaluate`` is None.
            discount: of what is earned a move later; random games are not discounted.

        Raises:
            TypeError: if it is another kind of game.
            ValueError: if there are no rollouts, or the discount is none.
        """
        require(rollouts >= 1, "rollouts", "at least 1", rollouts)
        require(0.0 < discount <= 1.0, "discount", "in (0, 1]", discount)
        check_game(game, players=(1, 2))
        self.game, self.evaluate = game, evaluate
        self.rollouts, self.discount = rollouts, discount
        self._actions = int(game.num_distinct_actions())

    def root(self, sensed: Sequence[Any], rng: np.random.Generator) -> Nodes[States]:
        """The states given, none of them terminal; they stay as they are."""
        return self._nodes([state.clone() for state in sensed], rng)

    def expand(
        self, embedding: States, action: Ints, rng: np.random.Generator
    ) -> Expansion[States]:
        """One move in each game."""
        states = [state.child(int(a)) for state, a in zip(embedding, action, strict=True)]
        pairs = zip(embedding, states, strict=True)
        reward = np.array([after.rewards()[before.current_player()] for before, after in pairs])
        discount = np.array([0.0 if state.is_terminal() else self.discount for state in states])
        return Expansion(reward, discount, self._nodes(states, rng))

    def _nodes(self, states: Sequence[Any], rng: np.random.Generator) -> Nodes[States]:
        legal = np.zeros((len(states), self._actions), np.bool_)
        for row, state in zip(legal, states, strict=True):
            row[state.legal_actions()] = True
        player = np.array([max(state.current_player(), 0) for state in states])
        logits, value = self._evaluated(states, legal, rng)
        return Nodes(objects(states), value, logits, legal, player)

    def _evaluated(
        self, states: Sequence[Any], legal: Flags, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Logits and values; terminal states, which have neither, are not evaluated."""
        logits, value = np.zeros(legal.shape), np.zeros(len(states))
        going = np.flatnonzero(legal.any(axis=1)).tolist()
        if self.evaluate is None:
            value[going] = [self._random_return(states[i], rng) for i in going]
        elif len(going) > 0:
            logits[going], value[going] = self.evaluate([states[i] for i in going])
        return logits, value

    def _random_return(self, state: Any, rng: np.random.Generator) -> float:
        """Mean return of the player to move when everybody moves at random."""
        player, total = state.current_player(), 0.0
        for _ in range(self.rollouts):
            played = state.clone()
            while not played.is_terminal():
                moves = played.legal_actions()
                played.apply_action(moves[int(rng.random() * len(moves))])
            total += played.returns()[player] - state.returns()[player]
        return total / self.rollouts


class ObservedGame:
    """The ControlModel of a task that is a game: roots are the moves so far, as its env tells."""

    observes: Sensed = "observation"

    def __init__(self, model: OpenSpielModel) -> None:
        """Search in ``model``."""
        self.model = model

    def root(self, sensed: npt.NDArray[np.float64], rng: np.random.Generator) -> Nodes[States]:
        """The states after the moves ``[B, L]``."""
        return self.model.root([state_after(self.model.game, moves) for moves in sensed], rng)

    def expand(
        self, embedding: States, action: Ints, rng: np.random.Generator
    ) -> Expansion[States]:
        """One move in each game."""
        return self.model.expand(embedding, action, rng)

    def vector(self, embedding: States, action: Ints) -> npt.NDArray[np.float64]:
        """The numbers themselves ``[B, 1]``."""
        return action[:, None].astype(np.float64)
