"""Games of k in a row, compiled: as fast as a search needs them.

In an (m, n, k)-game two players place stones in turn; whoever has k in a row, column or diagonal
first wins, and a full board is a draw. With gravity a stone falls to the lowest free row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mpc_robot.envs.compiled import compiled, scrambled
from mpc_robot.errors import require

Boards = npt.NDArray[np.int8]
"""Boards ``[B, rows * columns + 1]``: 0 free, 1 and -1 the stones of players 0 and 1, row by row
from the bottom; last, how many stones there are."""
GOING, DRAWN, WON = 0, 1, 2


class Rules(NamedTuple):
    """A game as the compiled code takes it: sizes of the board, k, and whether stones fall."""

    rows: int
    columns: int
    row_of: int
    gravity: bool


@dataclass(frozen=True)
class RowGame:
    """An (m, n, k)-game.

    Attributes:
        rows: of the board, m.
        columns: of the board, n.
        row_of: stones in a row that win, k.
        gravity: whether an action is a column, whose lowest free row the stone falls to, or a cell.
    """

    rows: int
    columns: int
    row_of: int
    gravity: bool = False

    def __post_init__(self) -> None:
        """Raises: ValueError: if a size makes no sense."""
        cells = self.rows * self.columns
        require(
            self.rows >= 1 and self.columns >= 1 and cells <= 127,
            "rows * columns",
            "1 to 127",
            cells,
        )
        longest = max(self.rows, self.columns)
        require(2 <= self.row_of <= longest, "row_of", f"from 2 to {longest}", self.row_of)

    @property
    def num_actions(self) -> int:
        """Columns or cells."""
        return self.columns if self.gravity else self.rows * self.columns

    @property
    def rules(self) -> Rules:
        """For compiled code."""
        return Rules(self.rows, self.columns, self.row_of, self.gravity)

    def empty(self, batch: int) -> Boards:
        """Boards ``[B, ...]`` without stones; player 0 begins."""
        return np.zeros((batch, self.rows * self.columns + 1), np.int8)

    def legal(self, boards: Boards) -> npt.NDArray[np.bool_]:
        """What the player to move may do, on boards that nobody has won yet ``[B, A]``."""
        legal: npt.NDArray[np.bool_] = boards[:, -1 - self.num_actions : -1] == 0
        return legal

    def play(self, boards: Boards, action: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Place a stone of the player to move on each board, in place.

        Returns:
            ``GOING``, ``DRAWN``, or ``WON`` by whoever moved ``[B]``.

        Raises:
            ValueError: if an action is not legal; nothing was changed then.
        """
        every = np.arange(len(boards))
        inside = (action >= 0) & (action < self.num_actions)
        legal = inside & self.legal(boards)[every, action.clip(0, self.num_actions - 1)]
        require(bool(legal.all()), "action", "legal actions", action.tolist())
        outcome = np.empty(len(boards), np.int64)
        place_all(boards, action, self.rules, outcome)
        return outcome


TIC_TAC_TOE = RowGame(3, 3, 3)
CONNECT_FOUR = RowGame(6, 7, 4, gravity=True)


@compiled
def place_all(
    boards: Boards, action: npt.NDArray[np.int64], rules: Rules, outcome: npt.NDArray[np.int64]
) -> None:
    """``place`` on each board; what came of it into ``outcome[B]``."""
    for b in range(len(boards)):
        outcome[b] = place(boards[b], action[b], rules)


@compiled
def place(board: Boards, action: int, rules: Rules) -> int:
    """Place a stone of the player to move, who must be allowed to."""
    cells = rules.rows * rules.columns
    stone = 1 if board[cells] % 2 == 0 else -1
    cell = action
    while rules.gravity and board[cell] != 0:
        cell += rules.columns
    board[cell] = stone
    board[cells] += 1
    if in_a_row(board, cell, stone, rules):
        return WON
    return DRAWN if board[cells] == cells else GOING


@compiled
def in_a_row(board: Boards, cell: int, stone: int, rules: Rules) -> bool:
    """Whether the stone at a cell is one of k in a row."""
    row, column = cell // rules.columns, cell % rules.columns
    for up, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        length = 1
        for way in (1, -1):
            r, c = row + way * up, column + way * right
            while 0 <= r < rules.rows and 0 <= c < rules.columns:
                if board[r * rules.columns + c] != stone:
                    break
                length += 1
                r, c = r + way * up, c + way * right
        if length >= rules.row_of:
            return True
    return False


@compiled
def random_game(board: Boards, moves: npt.NDArray[np.int64], rules: Rules, seed: int) -> float:
    """Play on at random, in place: 1 if player 0 wins, -1 if player 1, 0 for a draw.

    Args:
        board: where nobody has won yet.
        moves: room for the legal actions ``[A]``.
        rules: of the game.
        seed: of the random numbers (SplitMix64).
    """
    cells = rules.rows * rules.columns
    first = cells - len(moves)
    state = np.uint64(seed)
    while board[cells] < cells:
        count = 0
        for a in range(len(moves)):
            if board[first + a] == 0:
                moves[count] = a
                count += 1
        state += np.uint64(0x9E3779B97F4A7C15)
        chosen = np.int64(((scrambled(state) >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32))
        if place(board, moves[chosen], rules) == WON:
            return 1.0 if board[cells] % 2 == 1 else -1.0
    return 0.0
