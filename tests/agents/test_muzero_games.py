"""MuZero on games: what is remembered of a game, and a small one solved as minimax does."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("pyspiel")

from mpc_robot.agents import build_agent
from mpc_robot.agents.muzero import MuZeroConfig
from mpc_robot.agents.muzero_games import MuZeroOfGames
from mpc_robot.agents.muzero_loss import targets_of
from mpc_robot.agents.self_play import Played
from mpc_robot.controllers.tree_rules import GumbelConfig
from mpc_robot.controllers.tree_search import Decision
from mpc_robot.dynamics.muzero import MuZeroModelConfig
from mpc_robot.envs import make_env
from mpc_robot.envs.openspiel import game_task
from mpc_robot.nn.descent import DescentConfig

SMALL = MuZeroConfig(
    MuZeroModelConfig(latent=16, hidden=32, support=1.0, bins=11),
    GumbelConfig(value_scale=1.0, least_range=2.0),
    simulations=8,
    discount=1.0,
    unroll=3,
    n_step=9,
    value_weight=1.0,
    entropy_weight=0.0,
    batch_size=32,
    warmup_steps=40,
    descent=DescentConfig(3e-3, "norm", 5.0),
    priority_exponent=0.0,
    games=4,
)
NOTHING = np.zeros(0, np.int64)
NIM = "nim(pile_sizes=1;2,is_misere=false)"


def new(game: str, seed: int = 0, **settings: Any) -> MuZeroOfGames:
    task = game_task(game, "random")
    with closing(make_env(task)) as env:
        agent = build_agent("muzero", task, env, dataclasses.replace(SMALL, **settings), seed)
    assert isinstance(agent, MuZeroOfGames)
    return agent


def learn(agent: MuZeroOfGames, rounds: int) -> list[dict[str, float]]:
    return [about | agent.update() for _ in range(rounds) for _, about in agent.play_round()]


def test_who_has_won_is_told_to_both_in_turn() -> None:
    """Player 0 takes the upper row of tic-tac-toe in 5 moves."""
    agent = new("tic_tac_toe")
    moves = np.array([0, 3, 1, 4, 2])
    policy = np.zeros((5, 9))
    policy[range(5), moves] = 1.0
    agent.remember(Played(NOTHING, moves, policy, np.full(5, 0.3), np.array([1.0, -1.0])))
    windows = agent.replay.windows(np.arange(5), 12)
    targets = targets_of(windows, unroll=3, n_step=9, discount=-1.0)
    assert targets.value[:, 0].tolist() == [1.0, -1.0, 1.0, -1.0, 1.0]
    assert targets.value[2].tolist() == [1.0, -1.0, 1.0, 0.0]
    assert targets.reward[2].tolist() == [0.0, 0.0, 1.0]
    assert targets.policy[2, :3].argmax(dim=-1).tolist() == [1, 4, 2]
    assert bool(targets.known.all())
    legal = targets.observation[2, 0, -9:]
    assert legal.tolist() == [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_that_a_game_is_over_is_told_of_the_last_move_alone() -> None:
    agent = new("tic_tac_toe")
    moves = np.array([0, 3, 1, 4, 2])
    policy, value = np.full((5, 9), 1 / 9), np.zeros(5)
    agent.remember(Played(NOTHING, moves, policy, value, np.array([1.0, -1.0])))
    targets = targets_of(agent.replay.windows(np.array([0, 2, 4]), 12), 3, 9, discount=-1.0)
    assert targets.going.tolist() == [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    assert targets.seen[2].tolist() == [1.0, 1.0, 0.0, 0.0], "what comes after is no move"


def test_a_search_looks_no_further_than_the_end_of_a_game() -> None:
    """By a model that holds all games to be over after one move."""
    agent, rng = new("tic_tac_toe"), np.random.default_rng(0)
    assert agent.model.going is not None
    root = agent.model.root(agent.table.after(np.full((1, 9), -1.0)), rng)
    agent.model.going[-1].bias.data[:] = -1.0  # type: ignore[operator]
    assert agent.model.expand(root.embedding, np.array([0]), rng).discount.tolist() == [0.0]
    agent.model.going[-1].bias.data[:] = 1.0  # type: ignore[operator]
    assert agent.model.expand(root.embedding, np.array([0]), rng).discount.tolist() == [1.0]


def test_who_moves_twice_in_a_row_is_refused() -> None:
    agent = new("dots_and_boxes(num_rows=1,num_cols=2)")
    with pytest.raises(ValueError, match="expected players who take turns, got dots_and_boxes"):
        learn(agent, 5)


def test_players_take_turns_in_the_model_and_move_by_the_rules_at_its_root() -> None:
    agent, rng = new("tic_tac_toe"), np.random.default_rng(0)
    root = agent.model.root(agent.table.after(np.array([[4.0, *[-1.0] * 8]])), rng)
    assert root.legal is not None and root.legal.tolist() == [[i != 4 for i in range(9)]]
    one = agent.model.expand(root.embedding, np.array([0]), rng).nodes
    two = agent.model.expand(one.embedding, np.array([0]), rng).nodes
    assert [nodes.player.tolist() for nodes in (root, one, two) if nodes.player is not None] == [
        [0],
        [1],
        [0],
    ]


def test_it_does_not_see_what_is_legal() -> None:
    agent = new("tic_tac_toe")
    seen = agent.table([agent.table.game.new_initial_state()])
    other = seen.copy()
    other[:, agent.table.seen :] = 0.0
    first, same = (agent.model.represent(torch.from_numpy(rows)) for rows in (seen, other))
    assert torch.equal(first, same)


def test_its_controller_plays_by_the_rules() -> None:
    agent = new("tic_tac_toe")
    with closing(make_env(agent.task)) as env:
        for seed in range(4):
            observation, ended = env.reset(seed=seed)[0], False
            while not ended:
                action = agent.controller().act(observation)
                observation, _, ended, _, _ = env.step(action)


def outcomes(state: Any) -> dict[int, float]:
    """By minimax: what each move wins for the player who makes it."""
    mover, won = state.current_player(), dict[int, float]()
    for action in state.legal_actions():
        after = state.child(action)
        over = after.is_terminal()
        won[action] = after.returns()[mover] if over else -max(outcomes(after).values())
    return won


def positions(state: Any) -> list[Any]:
    """A state and all that can follow it, where somebody is to move."""
    after = [state.child(action) for action in state.legal_actions()]
    return [state, *(each for child in after for each in positions(child))] if after else []


def test_it_wins_at_nim_wherever_minimax_does() -> None:
    """Piles of 1 and 2, and whoever takes the last wins: leave two equal piles."""
    agent = new(NIM, updates_per_step=2)
    learn(agent, 30)
    player, found = agent.controller(), []
    for state in positions(agent.table.game.new_initial_state()):
        moves = np.full(agent.table.game.max_game_length(), -1.0)
        moves[: len(state.history())] = state.history()
        won = outcomes(state)
        found.append(won[int(player.act(moves)[0])] == max(won.values()))
    assert len(found) > 5 and all(found)


def test_it_learns_as_often_as_is_due_by_the_moves_of_games_that_have_ended() -> None:
    agent = new(NIM, updates_per_step=0.5)
    learn(agent, 20)
    assert agent.steps == len(agent.replay.going) > 100
    assert agent.updates == (agent.steps - SMALL.warmup_steps + 1) // 2


def test_it_waits_for_games_to_end_however_long_they_are() -> None:
    agent = new("go(board_size=3)", games=8)
    for _ in agent.play_round():
        assert len(agent.replay) > 0 or not agent.update()


def test_a_won_position_is_remembered_as_won() -> None:
    """Halving tries the moves that lose as well; what is remembered is the move that wins."""
    agent = new("tic_tac_toe", simulations=32)
    won = Decision(
        action=np.zeros(4, np.int64),
        policy=np.full((4, 9), [0.99, 0.01, *[0.0] * 7]),
        value=np.zeros(4),
        visits=np.full((4, 9), [16, 16, *[0] * 7], np.int32),
        q=np.full((4, 9), [1.0, -1.0, *[0.0] * 7]),
        simulations=32,
    )
    agent.self_play.move(np.zeros(4, np.int64), won)
    np.testing.assert_allclose(agent.self_play.state_dict()["value"], 0.98)


def test_it_goes_on_to_the_bit() -> None:
    original, restored = new(NIM), new(NIM, seed=9)
    learn(original, 6)
    restored.load_state_dict(original.state_dict())
    assert learn(restored, 3) == learn(original, 3)
