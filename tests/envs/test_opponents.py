"""Opponents by name: what they play is legal, and as good as they say."""

from __future__ import annotations

from typing import Any

import pytest

from mpc_robot.envs.openspiel import load_game
from mpc_robot.envs.opponents import MCTS, Opponent, Perfect, Random, opponent_named
from mpc_robot.errors import UnknownNameError

pytest.importorskip("pyspiel")


def results(game: Any, players: tuple[Opponent, Opponent], games: int) -> list[float]:
    """What the first of two players got out of so many games, in both seats."""
    found = []
    for number in range(games):
        for player in players:
            player.reset(number)
        state, seats = game.new_initial_state(), players if number % 2 == 0 else players[::-1]
        while not state.is_terminal():
            move = seats[state.current_player()].move(state)
            assert move in state.legal_actions()
            state.apply_action(move)
        found.append(state.returns()[number % 2])
    return found


def test_perfect_players_of_tic_tac_toe_draw_in_many_ways() -> None:
    game = load_game("tic_tac_toe")
    one, other = Perfect(game), Perfect(game)
    assert results(game, (one, other), 30) == [0.0] * 30
    assert one.value(game.new_initial_state(), 0) == 0.0
    first = {seed: one.reset(seed) or one.move(game.new_initial_state()) for seed in range(60)}
    assert set(first.values()) == set(range(9)), "every first move holds the draw"


def test_nobody_beats_perfect_play_which_beats_chance() -> None:
    game = load_game("tic_tac_toe")
    perfect = Perfect(game)
    won = results(game, (perfect, Random()), 60)
    assert min(won) == 0.0 and sum(won) > 40
    assert min(results(game, (perfect, MCTS(game, 50)), 20)) >= 0.0


def test_perfect_play_wins_nim_from_a_nim_sum_that_is_not_zero() -> None:
    """Bouton 1901; the last to take wins: 1 + 3 is won by who begins, 3 + 3 by the other."""
    for piles, worth in (("1;3", 1.0), ("3;3", -1.0)):
        game = load_game(f"nim(pile_sizes={piles},is_misere=false)")
        assert Perfect(game).value(game.new_initial_state(), 0) == worth


def test_search_with_more_simulations_is_stronger() -> None:
    game = load_game("connect_four")
    assert sum(results(game, (MCTS(game, 300), MCTS(game, 5)), 20)) >= 12


@pytest.mark.parametrize("name", ["random", "perfect", "mcts-20"])
def test_the_same_seed_gives_the_same_moves(name: str) -> None:
    game = load_game("tic_tac_toe")
    player, moves = opponent_named(name, game), []
    for seed in (1, 1, 2):
        player.reset(seed)
        state = game.new_initial_state()
        while not state.is_terminal():
            state.apply_action(player.move(state))
        moves.append(state.history())
    assert moves[0] == moves[1]
    assert moves[2] != moves[0] or name.startswith("mcts")


def test_unknown_names_and_games_that_are_too_long_are_refused() -> None:
    game = load_game("connect_four")
    for name in ("mcts-", "mcts-ten", "ransom", "minimax"):
        with pytest.raises(UnknownNameError, match=f"unknown opponent '{name}'; "):
            opponent_named(name, game)
    with pytest.raises(ValueError, match="opponent: expected at least 1 simulation, got 0"):
        opponent_named("mcts-0", game)
    with pytest.raises(ValueError, match="opponent: expected a game of at most 16 moves"):
        opponent_named("perfect", game)
