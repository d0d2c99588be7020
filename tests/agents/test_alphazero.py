"""AlphaZero on small games: targets and signs by the rules, and by what is known of Nim."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mpc_robot.agents import build_agent
from mpc_robot.agents.alphazero import (
    AlphaZero,
    AlphaZeroConfig,
    policy_loss,
    positions_of,
    value_loss,
)
from mpc_robot.agents.alphazero_presets import PRESETS, alphazero_preset
from mpc_robot.agents.self_play import Played, SelfPlay
from mpc_robot.controllers.tree_rules import GumbelConfig, PUCTConfig
from mpc_robot.controllers.tree_search import Decision
from mpc_robot.data.game_positions import Positions
from mpc_robot.envs import get_task, make_env
from mpc_robot.envs.openspiel import Views, game_spec, load_game, state_after
from mpc_robot.errors import CheckpointError
from mpc_robot.nn.descent import DescentConfig
from mpc_robot.nn.policy_value import PolicyValueConfig
from mpc_robot.training import checkpoint
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.metrics import TIME, read_metrics
from mpc_robot.training.runs import open_run, start_run
from mpc_robot.training.trainer import TrainConfig

pytest.importorskip("pyspiel")

NET = PolicyValueConfig(blocks=1, channels=16, value_units=16, precision="float32")
TINY = AlphaZeroConfig(NET, simulations=8, games=6, batch_size=32, first_update=40, capacity=2_000)
NIM = "nim(pile_sizes=3;4,is_misere=false)"
X_WINS = [0, 3, 1, 4, 2]


def make(name: str = "tic_tac_toe", seed: int = 0, **settings: Any) -> AlphaZero:
    task = get_task(name)
    config = dataclasses.replace(TINY, **settings)
    return AlphaZero(task, game_spec(make_env(task)), config, seed)


def played(game: Any, actions: list[int], value: float = 0.0) -> Played:
    state = game.new_initial_state()
    for action in actions:
        state.apply_action(action)
    policy = np.full((len(actions), game.num_distinct_actions()), 1 / len(actions))
    values = np.full(len(actions), value)
    nothing = np.zeros(0, np.int64)
    return Played(nothing, np.array(actions), policy, values, np.array(state.returns()))


# What is learned.


def test_the_value_of_a_position_is_what_its_mover_won() -> None:
    game = load_game("tic_tac_toe")
    views = Views(game)
    won = positions_of(game, played(game, X_WINS), views)
    assert won.value.tolist() == [1.0, -1.0, 1.0, -1.0, 1.0], "who began has won"
    drawn = positions_of(game, played(game, [4, 0, 2, 6, 3, 5, 1, 7, 8]), views)
    assert drawn.value.tolist() == [0.0] * 9
    assert won.legal.sum(axis=1).tolist() == [9, 8, 7, 6, 5]
    assert not won.legal[4, [0, 3, 1, 4]].any()
    assert won.view[:, -1, 0, 0].tolist() == [0, 1, 0, 1, 0], "the plane of who is to move"


def test_what_is_won_later_is_worth_less() -> None:
    game = load_game("tic_tac_toe")
    won = positions_of(game, played(game, X_WINS), Views(game), discount=0.5)
    assert won.value.tolist() == [1 / 16, -1 / 8, 1 / 4, -1 / 2, 1.0]


def test_the_value_may_be_partly_the_searchs() -> None:
    game = load_game("tic_tac_toe")
    some = positions_of(game, played(game, X_WINS, 0.5), Views(game), search_share=0.25)
    np.testing.assert_allclose(some.value, [0.875, -0.625, 0.875, -0.625, 0.875])


def test_losses_by_hand() -> None:
    legal = torch.tensor([[True, True, False], [True, False, False]])
    policy, value = torch.tensor([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([1.0, -1.0])
    positions = Positions(torch.zeros(2, 1), legal, policy, value)
    logits = torch.log(torch.tensor([[0.5, 0.5, 9.0], [0.1, 0.7, 0.2]]))
    assert policy_loss(logits, positions).item() == pytest.approx(np.log(2.0) / 2, rel=1e-6)
    assert value_loss(torch.tensor([0.5, 0.0]), positions).item() == pytest.approx(0.625)


def test_an_update_follows_the_gradient_of_both_losses_on_a_turned_batch() -> None:
    still = DescentConfig(1e-12, "norm", 1e9)
    agent = make(symmetry="dihedral", value_weight=0.3, batch_size=8, descent=still)
    policy = np.random.default_rng(0).random((5, 9))
    for i in range(5):
        policy[i, X_WINS[:i]] = 0.0
    policy /= policy.sum(axis=1, keepdims=True)
    agent._remember(dataclasses.replace(played(agent.spec.game, X_WINS), policy=policy))
    rng, net = torch.Generator(), copy.deepcopy(agent.net)
    rng.set_state(agent.rng.get_state())
    agent._learn()
    batch = agent._symmetries.apply(agent.replay.sample(8, rng), rng)
    logits, value = net(batch.view)
    loss = torch.zeros(())
    for i in range(8):
        legal = logits[i][batch.legal[i]].log_softmax(dim=0)
        loss = loss - (batch.policy[i][batch.legal[i]] * legal).sum() / 8
        loss = loss + 0.3 * (value[i] - batch.value[i]) ** 2 / 8
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    for parameter, gradient in zip(agent.net.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def test_what_is_remembered_is_in_units_of_the_games_returns() -> None:
    """Of a game that is played for 2 points; each position is learned from 4 times, 8 at once."""
    agent = make(discount=0.5, search_share=0.25, reuse=4.0, batch_size=8, first_update=1)
    agent._scale = 2.0
    agent._remember(played(agent.spec.game, X_WINS, 0.5))
    won = np.array([1 / 16, -1 / 8, 1 / 4, -1 / 2, 1.0])
    values = agent.replay.sample(200, agent.rng).value.unique().numpy()
    np.testing.assert_allclose(values, np.sort(0.75 * won + 0.25 * 0.5) / 2.0, rtol=1e-5)
    agent.update()
    assert agent.updates == 2
    start = [agent.spec.game.new_initial_state()]
    with torch.inference_mode():
        said = agent.net(torch.from_numpy(agent.views(start)))[1].numpy()
    np.testing.assert_allclose(agent.evaluate(start)[1], 2.0 * said, rtol=1e-5)


# How it plays.


@pytest.mark.parametrize("rule", [GumbelConfig(value_scale=1.0, least_range=2.0), PUCTConfig()])
def test_without_any_knowledge_it_takes_a_win_and_averts_a_loss(rule: Any) -> None:
    agent = make(rule=rule, simulations=300)
    for moves, best in (([0, 3, 1, 4], 2), ([8, 0, 7, 3, 1], 6), ([0, 3, 1], 2), ([3, 8, 5], 4)):
        observation = np.full(9, -1.0)
        observation[: len(moves)] = moves
        assert agent.act(observation, explore=False).tolist() == [best]


def test_values_of_a_search_are_the_movers() -> None:
    """Who can win at once will, and who faces two threats will lose."""
    agent, game = make(simulations=200), load_game("tic_tac_toe")
    for moves, sign in (([0, 3, 1, 4], 1.0), ([0, 1, 4, 8, 3], -1.0)):
        state = game.new_initial_state()
        for move in moves:
            state.apply_action(move)
        decision = agent._searched([state], agent._exploring())
        assert sign * decision.q[0, decision.action[0]] > 0.5


def test_the_first_moves_may_be_drawn_from_the_policy() -> None:
    agent = make(drawn_moves=1, games=4_000)
    policy = np.tile([0.5, 0.0, 0.3, 0.2, 0, 0, 0, 0, 0], (4_000, 1))
    best = np.full(4_000, 2)
    tried, q = (policy > 0.0).astype(np.int32), np.zeros((4_000, 9))
    decision = Decision(best, policy, best / 1.0, tried, q, 1)
    chosen = agent._chosen(decision)
    np.testing.assert_allclose(np.bincount(chosen, minlength=9) / 4_000, policy[0], atol=0.03)
    agent.self_play.move(chosen, decision)
    assert (agent._chosen(decision) == best).all()


@pytest.mark.parametrize("opening_moves", [0, 7])
def test_games_against_oneself_follow_one_another(opening_moves: int) -> None:
    game, rng = load_game("tic_tac_toe"), np.random.default_rng(0)
    play, ended = SelfPlay(game, 3, opening_moves, rng), list[Played]()
    for _ in range(40):
        action = np.array([rng.choice(state.legal_actions()) for state in play.states])
        sure = np.eye(9)[action]
        decision = Decision(
            action, sure, np.zeros(3), sure.astype(np.int32), sure * action[:, None], 1
        )
        ended += play.move(action, decision)
    assert len(ended) >= 12
    for each in ended:
        states = [state.history() for state in each.states(game)]
        moves = [*each.opening.tolist(), *each.actions.tolist()]
        assert states == [moves[: len(each.opening) + i] for i in range(len(each))]
        assert each.value.tolist() == each.actions.tolist()
        last = state_after(game, np.array(moves))
        assert last.is_terminal() and last.returns() == each.returns.tolist()
    assert sum(map(len, ended)) + play.lengths().sum() == 40 * 3
    openings = {len(each.opening) for each in ended}
    assert max(openings) <= opening_moves and (len(openings) > 2) == (opening_moves > 0)
    again = SelfPlay(game, 3, 0, rng)
    again.load_state_dict(play.state_dict())
    assert [str(state) for state in again.states] == [str(state) for state in play.states]
    assert again.lengths().tolist() == play.lengths().tolist()


def test_it_learns_who_wins_nim() -> None:
    """Bouton 1901: whoever is to move loses just where the piles are equal."""
    agent = make(NIM, games=32, batch_size=128, first_update=200, descent=DescentConfig(3e-3))
    for _ in range(25):
        for _ in agent.play_round():
            agent.update()
    states, right = [agent.spec.game.new_initial_state()], []
    for state in states:  # it grows: all that can follow
        piles = [int(part) for part in str(state).split(":")[-1].split()]
        right.append((agent.evaluate([state])[1][0] > 0) == (piles[0] != piles[1]))
        children = (state.child(move) for move in state.legal_actions())
        known = set(map(str, states))
        states += {
            str(s): s for s in children if not s.is_terminal() and str(s) not in known
        }.values()
    assert len(states) > 20 and np.mean(right) > 0.85


# The agent as all others.


def test_presets_are_of_games_and_their_symmetries_fit() -> None:
    for name, preset in PRESETS.items():
        task = get_task(name)
        agent = build_agent("alphazero", task, make_env(task), alphazero_preset(name), 0)
        assert isinstance(agent, AlphaZero) and agent.config == preset
        assert agent.update() == {}
    assert alphazero_preset("breakthrough") == AlphaZeroConfig()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a game of OpenSpiel.*Pendulum-v1: dhmbpo"):
        task = get_task("Pendulum-v1")
        build_agent("alphazero", task, make_env(task), TINY, 0)
    with pytest.raises(ValueError, match="symmetry: expected none or mirror for a board of 6 x 7"):
        make("connect_four", symmetry="dihedral")
    for name in ("simulations", "games", "batch_size", "reuse", "discount"):
        with pytest.raises(ValueError, match=f"{name}: expected .* got 0"):
            dataclasses.replace(TINY, **{name: 0})
    with pytest.raises(ValueError, match="capacity: expected at least first_update, 50, got 40"):
        dataclasses.replace(TINY, first_update=50, capacity=40)


def test_its_controller_acts_as_it_does_without_exploring() -> None:
    agent, observation = make(simulations=2, simulations_of_controller=8), np.full(9, -1.0)
    controller = agent.controller()
    first = controller.act(observation)
    controller.reset(0)
    assert controller.act(observation).tolist() == first.tolist() != []
    evaluation = evaluate(get_task("tic_tac_toe"), controller, 2, 0)
    assert evaluation.terminated.all() and set(evaluation.returns) <= {-1.0, 0.0, 1.0}


def train(path: Path, steps: int, seed: int = 2) -> None:
    config = TrainConfig(
        "alphazero", "tic_tac_toe", seed, steps, 10_000, eval_episodes=2, checkpoint_every=100
    )
    start_run(path, config, dataclasses.replace(TINY, simulations_of_controller=4)).train()


def told_and_kept(path: Path) -> tuple[Any, Any]:
    """The metrics of training and the checkpoint, to the bit."""
    lines = read_metrics(path / "metrics.jsonl")
    told = [
        {key: value for key, value in line.items() if not key.startswith(TIME)}
        for line in lines
        if "train/return" in line
    ]
    state = checkpoint.load(path / "checkpoint", {"task": "tic_tac_toe", "agent": "alphazero"})
    return told, checkpoint._encode(state["agent"])


def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path: Path) -> None:
    train(tmp_path / "whole", 300)
    train(tmp_path / "stopped", 150)
    open_run(tmp_path / "stopped", steps=300).train()
    assert told_and_kept(tmp_path / "whole") == told_and_kept(tmp_path / "stopped")
    train(tmp_path / "other", 150, seed=3)
    assert told_and_kept(tmp_path / "other")[0][0] != told_and_kept(tmp_path / "whole")[0][0]
    last = read_metrics(tmp_path / "whole" / "metrics.jsonl")[-2:]
    evaluated = next(line for line in last if "eval/return_mean" in line)
    assert evaluated["eval/win"] + evaluated["eval/draw"] + evaluated["eval/loss"] == 1.0
    assert evaluated["eval/return_mean"] == evaluated["eval/win"] - evaluated["eval/loss"]
    trained = told_and_kept(tmp_path / "whole")[0][-1]
    assert {"policy/loss", "value/loss", "train/length"} <= trained.keys()


def test_no_part_of_a_checkpoint_may_be_missing() -> None:
    whole = make().state_dict()
    for part in whole:
        lacking = {key: value for key, value in whole.items() if key != part}
        with pytest.raises(CheckpointError, match=part):
            make().load_state_dict(lacking)
    other = make(net=dataclasses.replace(NET, channels=8)).state_dict()
    with pytest.raises(CheckpointError, match="size mismatch"):
        make().load_state_dict(other)
    with pytest.raises(CheckpointError, match="games: expected 7 under way, got 6"):
        make(games=7).load_state_dict(whole)
