"""An OpenSpiel game as the model of a tree search (extra ``games``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mpc_robot.dynamics.rows import objects
from mpc_robot.dynamics.search_model import Expansion, Flags, Floats, Ints, Nodes
from mpc_robot.errors import require

States = npt.NDArray[np.object_]
PolicyValue = Callable[[Sequence[Any]], tuple[Floats, Floats]]
"""Prior logits ``[B, A]`` and values ``[B]``, of the player to move, of B states of a game."""


def load_game(name: str) -> Any:
    """An OpenSpiel game by its name, such as ``connect_four`` or ``go(board_size=5)``.

    Raises:
        ModuleNotFoundError: if OpenSpiel is not installed; names the extra that installs it.
        ValueError: if OpenSpiel does not know the game.
    """
    try:
        import pyspiel  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "OpenSpiel games need the extra `games`: pip install 'mpc-robot[games]'",
            name=error.name,
        ) from error
    try:
        return pyspiel.load_game(name)
    except pyspiel.SpielError as error:
        raise ValueError(f"game: expected one that OpenSpiel knows, got {name!r}") from error


class OpenSpielModel:
    """A game for one player, or for two of whom one wins what the other loses.

    Roots are OpenSpiel states. Nothing may be random or hidden, and nobody moves at the same time
    as another.
    """

    def __init__(
        self, game: Any, evaluate: PolicyValue | None = None, *, rollouts: int = 1
    ) -> None:
        """Search in ``game``, from :func:`load_game`.

        Args:
            game: the game.
            evaluate: policy and value of states; None for no preference, and random rollouts.
            rollouts: games played at random to value a state, where ``evaluate`` is None.

        Raises:
            TypeError: if it is another kind of game.
            ValueError: if there are no rollouts.
        """
        require(rollouts >= 1, "rollouts", "at least 1", rollouts)
        kind = game.get_type()
        traits = [
            str(t).rpartition(".")[2] for t in (kind.dynamics, kind.chance_mode, kind.information)
        ]
        expected = ["SEQUENTIAL", "DETERMINISTIC", "PERFECT_INFORMATION"]
        players, zero_sum = game.num_players(), str(kind.utility).endswith(".ZERO_SUM")
        if traits != expected or players > 2 or (players == 2 and not zero_sum):
            raise TypeError(
                f"game: expected {', '.join(expected)}, for one player or two with ZERO_SUM, got "
                f"{kind.short_name}: {', '.join(traits)}, {players} players, {kind.utility}"
            )
        self.game, self.evaluate, self.rollouts = game, evaluate, rollouts
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
        discount = np.array([0.0 if state.is_terminal() else 1.0 for state in states])
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
