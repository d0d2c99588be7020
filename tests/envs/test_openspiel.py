"""Games as environments: the rules are OpenSpiel's, seats alternate, and seeds decide the rest."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from mpc_robot.agents.alphazero import AlphaZeroConfig
from mpc_robot.agents.alphazero_presets import PRESETS
from mpc_robot.envs import get_task, make_env
from mpc_robot.envs.openspiel import (
    GameEnv,
    Views,
    against,
    check_game,
    game_spec,
    load_game,
    results,
    state_after,
)
from mpc_robot.errors import UnknownNameError

pytest.importorskip("pyspiel")


def play(env: gym.Env[Any, Any], seed: int, rng: np.random.Generator) -> list[Any]:
    """Observations and rewards of a game of legal moves at random."""
    seen, base, rewards = [env.reset(seed=seed)[0]], env.unwrapped, []
    assert isinstance(base, GameEnv)
    while not base.state.is_terminal():
        assert base.state.current_player() == base.seat
        move = rng.choice(base.state.legal_actions())
        observation, reward, terminated, truncated, _ = env.step(np.array([float(move)]))
        assert terminated == base.state.is_terminal() and not truncated
        assert state_after(base.game, observation).history() == base.state.history()
        seen.append(observation)
        rewards.append(reward)
    assert rewards[-1] == base.state.returns()[base.seat] and not any(rewards[:-1])
    return [np.array(seen), rewards[-1], base.seat]


@pytest.mark.parametrize("name", ["tic_tac_toe", "connect_four", "go(board_size=5)"])
def test_games_follow_the_rules_and_seats_alternate(name: str) -> None:
    env, rng = make_env(against(get_task(name), "random")), np.random.default_rng(0)
    games = [play(env, seed, rng) for seed in range(6)]
    assert [seat for _, _, seat in games] == [0, 1, 0, 1, 0, 1]
    for seen, _, seat in games:
        assert ((seen[0] >= 0).sum()) == seat, "who sits second sees a first move"


def test_the_same_seed_gives_the_same_game() -> None:
    def games(seed: int) -> Any:
        env = make_env(against(get_task("connect_four"), "mcts-20"))
        return [play(env, seed, np.random.default_rng(0))[0].tolist() for _ in range(2)]

    assert games(3) == games(3)
    assert games(3) != games(4)


def test_moves_against_the_rules_change_nothing() -> None:
    env = GameEnv("tic_tac_toe", "random")
    env.reset(seed=0)
    env.step(4)
    before = env.state.history()
    with pytest.raises(ValueError, match=r"action: expected one of \[.*\], got 4"):
        env.step(4)
    assert env.state.history() == before


def test_a_view_is_openspiels_observation_and_who_is_to_move() -> None:
    rng = np.random.default_rng(0)
    for name, shape in (("connect_four", (4, 6, 7)), ("nim", None)):
        game = load_game(name)
        states, views = [game.new_initial_state()], Views(game)
        while len(states[-1].legal_actions()) > 1:
            states.append(states[-1].child(int(rng.choice(states[-1].legal_actions()))))
        states = [state for state in states if not state.is_terminal()]
        seen = views(states).reshape(len(states), -1)
        assert shape is None or views.shape == shape
        size = game.observation_tensor_size()
        assert seen[:, :size].tolist() == [state.observation_tensor() for state in states]
        players = [state.current_player() for state in states]
        assert set(players) == {0, 1}
        assert (seen[:, size:] == np.array(players)[:, None]).all() and seen.shape[1] > size


@pytest.mark.parametrize(
    ("name", "preset"),
    [(name, preset) for name, preset in PRESETS.items() if preset.sides is not None],
)
def test_the_movers_pieces_come_first(name: str, preset: AlphaZeroConfig) -> None:
    """After a few moves, before anything is captured: where each has moved."""
    game, rng = load_game(name), np.random.default_rng(0)
    views, state = Views(game, preset.sides), game.new_initial_state()
    assert preset.sides is not None
    for moves in range(6):
        own, other = views([state])[0, list(preset.sides)]
        history = np.array(state.history(), np.int64)
        size = np.prod(own.shape) if name != "connect_four" else own.shape[1]
        for plane, turn in ((own, moves % 2), (other, 1 - moves % 2)):
            placed = plane.ravel() if name != "connect_four" else plane.sum(axis=0)
            assert placed.tolist() == np.bincount(history[turn::2], minlength=size).tolist()
        state.apply_action(int(rng.choice(state.legal_actions()[:size])))


def test_planes_that_a_game_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sides: expected two of 3 planes, got \(2, 3\)"):
        Views(load_game("connect_four"), (2, 3))
    with pytest.raises(ValueError, match=r"sides: expected two of 0 planes"):
        Views(load_game("nim"), (0, 1))


def test_what_is_no_game_for_two_is_refused() -> None:
    with pytest.raises(TypeError, match=r"game: expected SEQUENTIAL.*got kuhn_poker"):
        make_env(get_task("kuhn_poker"))
    with pytest.raises(TypeError, match="for 2, two with ZERO_SUM, got catch"):
        check_game(load_game("catch"))
    with pytest.raises(UnknownNameError, match="unknown task 'chequers'"):
        get_task("chequers")
    with pytest.raises(ValueError, match=r"game: expected one that .*got 'go\(size=5\)'"):
        get_task("go(size=5)")
    with pytest.raises(ValueError, match="opponent: expected a game to play against"):
        against(get_task("Hopper-v5"), "random")
    with pytest.raises(ValueError, match="environment: expected a game of OpenSpiel, got"):
        game_spec(make_env(get_task("InvertedPendulum-v5")))


def test_without_openspiel_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    for call in (load_game, get_task):
        with pytest.raises(ModuleNotFoundError, match=r"mpc-robot\[games\]"):
            call("connect_four")


def test_results_are_shares_of_games() -> None:
    shares = results(np.array([1.0, 1.0, 0.0, -1.0]))
    assert shares == {"win": 0.5, "draw": 0.25, "loss": 0.25}
