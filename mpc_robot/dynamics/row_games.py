"""Games of k in a row as the model of a tree search, valued by games played at random."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mpc_robot.dynamics.search_model import Expansion, Ints, Nodes
from mpc_robot.envs.compiled import compiled
from mpc_robot.envs.games import GOING, WON, Boards, RowGame, Rules, place, random_game
from mpc_robot.errors import require


class Results(NamedTuple):
    """Room for what moves on B boards lead to; see ``Expansion`` and ``Nodes``."""

    boards: Boards
    reward: npt.NDArray[np.float64]
    discount: npt.NDArray[np.float64]
    value: npt.NDArray[np.float64]
    legal: npt.NDArray[np.bool_]
    player: npt.NDArray[np.int8]


class RowGameModel:
    """A SearchModel of a game of k in a row; roots are boards ``[B, ...]`` that nobody has won."""

    def __init__(self, game: RowGame, rollouts: int = 1) -> None:
        """Value states by the mean result of ``rollouts`` random games.

        Raises:
            ValueError: if there are no rollouts.
        """
        require(rollouts >= 1, "rollouts", "at least 1", rollouts)
        self.game, self.rollouts = game, rollouts

    def root(self, sensed: Boards, rng: np.random.Generator) -> Nodes[Boards]:
        """The boards given; they stay as they are."""
        return self._followed(np.array(sensed, np.int8), np.full(len(sensed), -1), rng).nodes

    def expand(
        self, embedding: Boards, action: Ints, rng: np.random.Generator
    ) -> Expansion[Boards]:
        """One move on each board; 1 for a win, of whoever moved."""
        return self._followed(embedding.copy(), action, rng)

    def _followed(
        self, boards: Boards, action: Ints, rng: np.random.Generator
    ) -> Expansion[Boards]:
        """``boards``, changed in place by the moves."""
        batch, actions = len(boards), self.game.num_actions
        three = np.zeros((3, batch))
        legal, player = np.empty((batch, actions), np.bool_), np.empty(batch, np.int8)
        results = Results(boards, three[0], three[1], three[2], legal, player)
        seeds = rng.integers(2**63, size=batch)
        follow(results, action, seeds, self.game.rules, self.rollouts)
        nodes = Nodes(boards, results.value, np.zeros((batch, actions)), legal, player)
        return Expansion(results.reward, results.discount, nodes)


@compiled
def follow(results: Results, action: Ints, seeds: Ints, rules: Rules, rollouts: int) -> None:
    """Make the moves, -1 for none, and play each board on to its end at random."""
    moves = np.empty(results.legal.shape[1], np.int64)
    cells = rules.rows * rules.columns
    for b in range(len(action)):
        board = results.boards[b]
        outcome = GOING if action[b] < 0 else place(board, action[b], rules)
        player = board[cells] % 2
        results.player[b] = player
        results.reward[b] = 1.0 if outcome == WON else 0.0
        results.discount[b] = 1.0 if outcome == GOING else 0.0
        for a in range(len(moves)):
            results.legal[b, a] = outcome == GOING and board[cells - len(moves) + a] == 0
        if outcome == GOING:
            total = 0.0
            for k in range(rollouts):
                total += random_game(board.copy(), moves, rules, seeds[b] + k)
            results.value[b] = (total if player == 0 else -total) / rollouts
