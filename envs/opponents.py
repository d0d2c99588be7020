"""Whom a game is played against: chance, OpenSpiel's own search, or somebody who never errs.

By name: ``random``; ``mcts-N``, Monte Carlo tree search with N simulations, each ended by one game
at random; ``perfect``, minimax to the end, for small games.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from mpc_robot.errors import UnknownNameError, require

NAMES = ("random", "perfect", "mcts-100", "mcts-1000")
"""Examples of names; any number of simulations will do."""
LONGEST_SOLVED = 16
"""Moves of the longest game that minimax is let loose on."""


class Opponent(Protocol):
    """Somebody who plays one side of an OpenSpiel game."""

    def reset(self, seed: int) -> None:
        """A new game begins; the same seed gives the same moves again."""
        ...

    def move(self, state: Any) -> int:
        """A legal action in a state in which it is their turn."""
        ...


class Random:
    """Any legal move."""

    def reset(self, seed: int) -> None:
        """Start the random numbers anew."""
        self._rng = np.random.default_rng(seed)

    def move(self, state: Any) -> int:
        """A legal move, each as likely as any other."""
        return int(self._rng.choice(state.legal_actions()))


class MCTS:
    """OpenSpiel's UCT in C++ with its own settings: c 2, one random game each, and a solver."""

    def __init__(self, game: Any, simulations: int) -> None:
        """Raises ValueError if there are no simulations."""
        require(simulations >= 1, "opponent", "at least 1 simulation", simulations)
        self._game, self._simulations = game, simulations

    def reset(self, seed: int) -> None:
        """Start the random numbers anew."""
        import pyspiel  # noqa: PLC0415  an extra

        evaluator, memory_mb = pyspiel.RandomRolloutEvaluator(1, seed), 1000
        self._bot = pyspiel.MCTSBot(
            self._game, evaluator, 2.0, self._simulations, memory_mb, True, seed, False
        )

    def move(self, state: Any) -> int:
        """What the search found best."""
        return int(self._bot.step(state))


class Perfect:
    """Minimax: never worse than the game's value; of moves that are equal, any."""

    def __init__(self, game: Any) -> None:
        """Raises ValueError if the game may be too long to be solved."""
        longest = game.max_game_length()
        expected = f"a game of at most {LONGEST_SOLVED} moves to play perfectly"
        require(longest <= LONGEST_SOLVED, "opponent", expected, longest)
        self._known: dict[tuple[int, str], float] = {}

    def reset(self, seed: int) -> None:
        """Start the random numbers anew; what is known of the game stays."""
        self._rng = np.random.default_rng(seed)

    def move(self, state: Any) -> int:
        """One of the moves that are worth most."""
        player, moves = state.current_player(), state.legal_actions()
        worth = [self.value(state.child(move), player) for move in moves]
        best = [move for move, each in zip(moves, worth, strict=True) if each == max(worth)]
        return int(self._rng.choice(best))

    def value(self, state: Any, player: int) -> float:
        """What ``player`` ends up with if nobody errs from here on."""
        mover = state.current_player()
        if state.is_terminal():
            return float(state.returns()[player])
        key = mover, str(state)
        if key not in self._known:
            after = (state.child(move) for move in state.legal_actions())
            self._known[key] = max(self.value(child, mover) for child in after)
        return self._known[key] if mover == player else -self._known[key]


def opponent_named(name: str, game: Any) -> Opponent:
    """The opponent of that name in an OpenSpiel game.

    Raises:
        UnknownNameError: if there is no such opponent.
        ValueError: if they do not play the game.
    """
    kind, _, simulations = name.partition("-")
    if name == "random":
        return Random()
    if name == "perfect":
        return Perfect(game)
    if kind == "mcts" and simulations.isdecimal():
        return MCTS(game, int(simulations))
    raise UnknownNameError("opponent", name, NAMES)
