from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mpc_robot.envs.games import CONNECT_FOUR, DRAWN, GOING, TIC_TAC_TOE, WON, RowGame


@pytest.mark.parametrize(
    ("game", "name"), [(TIC_TAC_TOE, "tic_tac_toe"), (CONNECT_FOUR, "connect_four")]
)
def test_every_move_is_as_in_openspiel(game: RowGame, name: str) -> None:
    pyspiel: Any = pytest.importorskip("pyspiel")
    rng, outcomes = np.random.default_rng(0), set[int]()
    for _ in range(60):
        state, board = pyspiel.load_game(name).new_initial_state(), game.empty(1)
        while not state.is_terminal():
            assert np.flatnonzero(game.legal(board)[0]).tolist() == state.legal_actions()
            mover, action = state.current_player(), int(rng.choice(state.legal_actions()))
            state.apply_action(action)
            outcome = int(game.play(board, np.array([action]))[0])
            won = state.is_terminal() and state.returns()[mover] == 1.0
            expected = WON if won else DRAWN if state.is_terminal() else GOING
            assert outcome == expected
        outcomes.add(outcome)
    assert outcomes == {WON, DRAWN} or name == "connect_four"


def test_every_line_of_tic_tac_toe_wins_and_nothing_else_does() -> None:
    cells = np.arange(9).reshape(3, 3)
    straight = [*cells.tolist(), *cells.T.tolist()]
    lines = {*map(tuple, straight), (0, 4, 8), (2, 4, 6)}
    for three in itertools.combinations(range(9), 3):
        board = TIC_TAC_TOE.empty(1)
        board[0, list(three[:2])], board[0, -1] = (
            1,
            4,
        )  # whose stones the others are does not matter
        outcome = TIC_TAC_TOE.play(board, np.array([three[2]]))[0]
        assert (outcome == WON) == (three in lines)


def test_illegal_moves_are_refused_before_anything_changes() -> None:
    boards = CONNECT_FOUR.empty(2)
    for _ in range(6):
        CONNECT_FOUR.play(boards[:1], np.array([3]))
    before = boards.copy()
    for bad in (3, 7, -1):
        with pytest.raises(ValueError, match=r"^action: expected legal actions"):
            CONNECT_FOUR.play(boards, np.array([bad, 0]))
    assert (boards == before).all()
    with pytest.raises(ValueError, match=r"^row_of"):
        RowGame(3, 3, 4)
