"""Searches against what is known of small games, and against OpenSpiel's own search."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, reduce
from operator import xor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mpc_robot.controllers.tree_rules import GumbelConfig, PUCTConfig, RuleConfig, UCTConfig
from mpc_robot.controllers.tree_search import Decision, SearchConfig, search
from mpc_robot.controllers.trees import Trees
from mpc_robot.dynamics.openspiel import OpenSpielModel
from mpc_robot.dynamics.row_games import RowGameModel
from mpc_robot.envs.games import CONNECT_FOUR, GOING, TIC_TAC_TOE, WON
from mpc_robot.envs.openspiel import load_game

Board = tuple[int, ...]
RULES = (UCTConfig(), PUCTConfig(dirichlet_fraction=0.0))


@cache
def minimax(board: Board) -> int:
    """What a game of tic-tac-toe is worth to the player to move: 1, 0 or -1."""
    return max(worth_of(board, action) for action in range(9) if board[action] == 0)


@cache
def worth_of(board: Board, action: int) -> int:
    """What an action is worth to the player who takes it."""
    boards = np.array([board], np.int8)
    outcome = TIC_TAC_TOE.play(boards, np.array([action]))[0]
    if outcome == GOING:
        return -minimax(tuple(boards[0].tolist()))
    return 1 if outcome == WON else 0


def positions(num: int) -> npt.NDArray[np.int8]:
    """Positions of tic-tac-toe in which some action is worth more than another."""
    rng, found = np.random.default_rng(0), list[Board]()
    while len(found) < num:
        boards, outcome = TIC_TAC_TOE.empty(1), GOING
        for _ in range(rng.integers(1, 7)):
            if outcome == GOING:
                legal = np.flatnonzero(TIC_TAC_TOE.legal(boards)[0])
                outcome = TIC_TAC_TOE.play(boards, rng.choice(legal, size=1))[0]
        board = tuple(boards[0].tolist())
        if outcome == GOING and board not in found:
            if len({worth_of(board, a) for a in range(9) if board[a] == 0}) > 1:
                found.append(board)
    return np.array(found, np.int8)


def searched(model: Any, roots: Any, rule: RuleConfig, simulations: int) -> Decision:
    rng = np.random.default_rng(0)
    trees = Trees(model.root(roots, rng), rng)
    return search(model, trees, SearchConfig(rule, simulations), rng)


def share_of_best_moves(rule: RuleConfig) -> float:
    """In how many positions a search finds a move that is as good as any."""
    boards = positions(30)
    decision = searched(RowGameModel(TIC_TAC_TOE, rollouts=20), boards, rule, 1500)
    pairs = zip(map(tuple, boards.tolist()), decision.action.tolist(), strict=True)
    return float(np.mean([worth_of(board, action) == minimax(board) for board, action in pairs]))


@pytest.mark.parametrize("rule", RULES)
def test_tic_tac_toe_is_played_as_by_minimax(rule: RuleConfig) -> None:
    assert share_of_best_moves(rule) == 1.0


def test_gumbel_which_hardly_explores_below_the_root_mostly_is_right_too() -> None:
    at_random = np.mean(
        [
            worth_of(board, action) == minimax(board)
            for board in map(tuple, positions(30).tolist())
            for action in range(9)
            if board[action] == 0
        ]
    )
    assert share_of_best_moves(GumbelConfig(noise=0.0)) > (1 + at_random) / 2


def test_values_of_tic_tac_toe_come_near_those_of_minimax() -> None:
    boards = positions(20)
    decision = searched(RowGameModel(TIC_TAC_TOE), boards, UCTConfig(0.5), 3000)
    exact = np.array([minimax(tuple(board)) for board in boards.tolist()])
    np.testing.assert_allclose(
        decision.q.max(axis=1, where=decision.visits > 0, initial=-1), exact, atol=0.2
    )


@pytest.mark.parametrize("rule", [UCTConfig(), GumbelConfig(noise=0.0)])
def test_nim_is_won_by_leaving_a_nim_sum_of_zero(rule: RuleConfig) -> None:
    """Bouton 1901; who takes the last one wins."""
    pytest.importorskip("pyspiel")
    model = OpenSpielModel(load_game("nim(pile_sizes=1;3;4,is_misere=false)"), rollouts=10)
    state = model.game.new_initial_state()
    decision = searched(model, [state], rule, 800)
    state.apply_action(int(decision.action[0]))
    piles = [int(part) for part in str(state).split(":")[-1].split()]
    assert reduce(xor, piles) == 0


def versus(name: str, play_ours: Callable[[list[Any]], list[int]], games: int) -> float:
    """Mean result of ours against OpenSpiel's MCTS with 100 simulations, beginning in turns."""
    import pyspiel

    game = load_game(name)
    states = [game.new_initial_state() for _ in range(games)]
    evaluator = pyspiel.RandomRolloutEvaluator(1, 0)
    bots = [
        pyspiel.MCTSBot(game, evaluator, 2.0**0.5, 100, 100, False, seed, False)
        for seed in range(games)
    ]
    turn = [i % 2 for i in range(games)]  # the player that is ours
    while not all(state.is_terminal() for state in states):
        mine = [
            i
            for i, state in enumerate(states)
            if not state.is_terminal() and state.current_player() == turn[i]
        ]
        for i, state in enumerate(states):
            if i not in mine and not state.is_terminal():
                state.apply_action(bots[i].step(state))
        for i, action in zip(
            mine, play_ours([states[i] for i in mine]) if mine else [], strict=True
        ):
            if states[i].current_player() == turn[i]:
                states[i].apply_action(action)
    return float(np.mean([state.returns()[me] for state, me in zip(states, turn, strict=True)]))


def test_as_strong_as_openspiels_own_search_at_equal_simulations() -> None:
    """40 games of connect four: the standard error of an even match is at most 0.16."""
    pytest.importorskip("pyspiel")
    model, rng = RowGameModel(CONNECT_FOUR), np.random.default_rng(0)

    def play_ours(states: list[Any]) -> list[int]:
        boards = CONNECT_FOUR.empty(len(states))
        for row, state in zip(boards, states, strict=True):
            for action in state.history():
                CONNECT_FOUR.play(row[None], np.array([action]))
        trees = Trees(model.root(boards, rng), rng)
        return search(model, trees, SearchConfig(UCTConfig(), 99), rng).action.tolist()

    assert abs(versus("connect_four", play_ours, 40)) < 0.5
