"""The models that trees are searched in: each does what it is a model of."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from mpc_robot.dynamics.environment_copies import PLACES, EnvironmentCopies
from mpc_robot.dynamics.openspiel import OpenSpielModel
from mpc_robot.dynamics.row_games import RowGameModel
from mpc_robot.dynamics.rows import concatenate, put, room, take
from mpc_robot.dynamics.sampled_actions import (
    Considered,
    SampledActions,
    grid,
    lasting,
    random_rollouts,
    uniform,
)
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import get_task, make_env, physics_state
from mpc_robot.envs.games import CONNECT_FOUR, TIC_TAC_TOE
from mpc_robot.envs.openspiel import load_game

BALANCE = get_task("CartpoleBalance-v0")


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_rows_of_anything_can_be_kept_and_taken() -> None:
    rows = Considered(
        (np.arange(6.0).reshape(2, 3), np.array([{"any": 1}, None])), torch.arange(4).view(2, 2)
    )
    store = room(rows, 5, 7)
    index = np.array([4, 0]), np.array([6, 2])
    put(store, index, rows)
    back = take(store, index)
    assert back.state[0].tolist() == rows.state[0].tolist()
    assert back.state[1][0] is rows.state[1][0]
    assert back.actions.tolist() == rows.actions.tolist()
    assert concatenate([rows, back]).actions.tolist() == [[0, 1], [2, 3], [0, 1], [2, 3]]


# Sampled actions over Dynamics.


def sensed_balance() -> np.ndarray[Any, Any]:
    with closing(make_env(BALANCE)) as env:
        env.reset(seed=3)
        return physics_state(env)


def test_sampled_actions_step_as_the_simulator_does() -> None:
    simulator, sensed = Simulator(BALANCE, threads=1), sensed_balance()
    model = SampledActions(simulator, uniform([-1.0], [1.0], 4), discount=0.9)
    root = model.root(np.stack([sensed, sensed]), seeded())
    assert root.logits.shape == (2, 4)
    assert (root.embedding.actions.abs() <= 1).all()
    assert len(root.embedding.actions.unique()) == 8
    action = np.array([1, 3])
    vectors = model.vector(root.embedding, action)
    step = model.expand(root.embedding, action, seeded())
    start = simulator.start(sensed, 2)
    expected = simulator.step(start, torch.as_tensor(vectors), torch.Generator())
    np.testing.assert_array_equal(step.reward, expected.reward.numpy())
    np.testing.assert_array_equal(step.nodes.embedding.state.physics, expected.state.physics)
    np.testing.assert_array_equal(step.discount, 0.9)
    again = model.expand(root.embedding, action, seeded())
    assert torch.equal(again.nodes.embedding.actions, step.nodes.embedding.actions)


def test_a_grid_of_actions_is_the_same_everywhere() -> None:
    actions = grid([-1.0, 0.0], [1.0, 2.0], 3)(None, 2, seeded())
    assert actions.shape == (2, 9, 2)
    assert actions[0].tolist() == actions[1].tolist()
    assert sorted(set(actions[0, :, 1].tolist())) == [0.0, 1.0, 2.0]


def test_a_grid_may_be_closer_to_the_middle() -> None:
    actions = grid([-1.0], [3.0], 5, power=2.0)(None, 1, seeded())
    assert actions[0, :, 0].tolist() == [1.0, 0.5, 1.5, -1.0, 3.0], "the middle comes first"
    assert grid([-1.0], [3.0], 1)(None, 1, seeded()).tolist() == [[[1.0]]]


def test_what_lasts_for_ever_is_a_geometric_series() -> None:
    simulator, sensed = Simulator(BALANCE, threads=1), sensed_balance()
    start = simulator.start(sensed, 2)
    step = simulator.step(start, torch.zeros(2, 1), torch.Generator())
    value = lasting(simulator, [0.0], 0.9)(start, 2, seeded())
    forever = step.reward * sum(0.9**k for k in range(1000))
    torch.testing.assert_close(value, forever)


def test_nothing_lasts_beyond_the_end() -> None:
    """A pendulum pushed hard enough, for long enough, falls: one reward is all there is."""
    pendulum = get_task("InvertedPendulum-v5")
    with closing(make_env(pendulum)) as env:
        env.reset(seed=0)
        sensed = physics_state(env)
    sensed[2] = 0.199  # of 0.2 rad that it may lean
    simulator = Simulator(pendulum, threads=1)
    start = simulator.start(sensed, 1)
    step = simulator.step(start, torch.full((1, 1), -3.0), torch.Generator())
    assert step.continues.item() == 0.0
    value = lasting(simulator, [-3.0], 0.9)(start, 1, seeded())
    torch.testing.assert_close(value, step.reward)


def test_random_rollouts_earn_what_their_steps_earn() -> None:
    simulator, sensed = Simulator(BALANCE, threads=1), sensed_balance()
    still = grid([0.0], [0.0], 1)
    value = random_rollouts(simulator, still, 3, discount=0.5)(
        simulator.start(sensed, 1), 1, seeded()
    )
    state, expected = simulator.start(sensed, 1), 0.0
    for weight in (1.0, 0.5, 0.25):
        step = simulator.step(state, torch.zeros(1, 1), torch.Generator())
        state, expected = step.state, expected + weight * float(step.reward)
    assert float(value) == pytest.approx(expected)


# Copies of environments.


@pytest.mark.parametrize(
    "name", ["CartPole-v1", "MountainCar-v0", "Acrobot-v1", "FrozenLake-v1", "CliffWalking-v1"]
)
def test_copies_follow_the_environment_from_where_it_was_observed(name: str) -> None:
    options = {"is_slippery": False} if name == "FrozenLake-v1" else {}
    env = gym.make(name, **options)
    observation, _ = env.reset(seed=1)
    model = EnvironmentCopies(env, discount=0.9)
    embedding = model.root(np.atleast_2d(np.asarray(observation, np.float64)), seeded()).embedding
    actions: Any = env.action_space
    for i in range(12):
        action = i % int(actions.n)
        step = model.expand(embedding, np.array([action]), seeded())
        observation, reward, terminated, _, _ = env.step(action)
        assert step.reward[0] == pytest.approx(reward)
        assert step.discount[0] == (0.0 if terminated else 0.9)
        embedding = step.nodes.embedding
        if terminated:
            break
    assert type(env.unwrapped).__name__ in PLACES


def test_a_copy_leaves_the_state_it_came_from_alone() -> None:
    env = gym.make("CartPole-v1")
    env.reset(seed=0)
    model = EnvironmentCopies(env, rollout=5)
    embedding = model.root(np.zeros((1, 4)), seeded()).embedding
    for _ in range(3):
        model.expand(embedding, np.array([1]), seeded())
    assert list(embedding[0].state) == [0.0] * 4


def test_random_outcomes_are_the_searchs_own() -> None:
    """A slippery lake slips one way or another, and not as the real one will."""
    env = gym.make("FrozenLake-v1", is_slippery=True)
    env.reset(seed=0)
    model, rng = EnvironmentCopies(env), seeded()
    root = model.root(np.array([[0.0]]), rng).embedding
    ends = {int(model.expand(root, np.array([2]), rng).nodes.embedding[0].s) for _ in range(30)}
    assert ends == {0, 1, 4}


def test_rollouts_value_a_state_by_the_return_that_follows() -> None:
    env = gym.make("CartPole-v1")
    env.reset(seed=0)
    value = EnvironmentCopies(env, 0.5, rollout=4).root(np.zeros((1, 4)), seeded()).value
    assert value[0] == pytest.approx(1 + 0.5 + 0.25 + 0.125), "upright: four steps do not end it"


def test_environments_that_cannot_be_searched_are_refused() -> None:
    with pytest.raises(TypeError, match="action space: expected a Discrete one"):
        EnvironmentCopies(gym.make("Pendulum-v1"))
    blackjack = gym.make("Blackjack-v1")
    with pytest.raises(TypeError, match="environment: expected one of AcrobotEnv"):
        EnvironmentCopies(blackjack)

    env = gym.make("CartPole-v1")
    base: Any = env.unwrapped
    base.handle = sys.stdout  # of the operating system: it cannot be copied
    with pytest.raises(TypeError, match="plain Python"):
        EnvironmentCopies(env)


# Games.


def test_random_tic_tac_toe_is_worth_what_counting_all_games_says() -> None:
    """Of random games 58.49% are won by the first player and 28.81% by the second."""
    model = RowGameModel(TIC_TAC_TOE)
    value = model.root(TIC_TAC_TOE.empty(20_000), seeded()).value
    assert (value == 1).mean() == pytest.approx(0.5849, abs=0.015)
    assert (value == -1).mean() == pytest.approx(0.2881, abs=0.015)


@pytest.mark.parametrize("name", ["tic_tac_toe", "connect_four"])
def test_compiled_games_and_openspiel_are_the_same_model(name: str) -> None:
    pytest.importorskip("pyspiel")
    game = TIC_TAC_TOE if name == "tic_tac_toe" else CONNECT_FOUR
    ours, theirs = RowGameModel(game, rollouts=200), OpenSpielModel(load_game(name), rollouts=200)
    rng = seeded()
    one, two = ours.root(game.empty(1), rng), theirs.root([theirs.game.new_initial_state()], rng)
    while True:
        assert one.legal is not None and two.legal is not None
        assert one.player is not None and two.player is not None
        assert (one.legal == two.legal).all() and (one.player == two.player).all()
        assert one.value[0] == pytest.approx(two.value[0], abs=0.35)
        action = rng.choice(np.flatnonzero(one.legal[0]), size=1)
        left, right = (
            ours.expand(one.embedding, action, rng),
            theirs.expand(two.embedding, action, rng),
        )
        assert left.reward == right.reward and left.discount == right.discount
        one, two = left.nodes, right.nodes
        if left.discount[0] == 0:
            break


def test_a_policy_and_value_are_asked_for_states_that_go_on() -> None:
    pytest.importorskip("pyspiel")
    asked: list[int] = []

    def evaluate(states: Any) -> Any:
        asked.append(len(states))
        return np.full((len(states), 9), 2.0), np.full(len(states), 0.5)

    model = OpenSpielModel(load_game("tic_tac_toe"), evaluate, discount=0.9)
    state = model.game.new_initial_state()
    for action in (0, 3, 1, 4):
        state.apply_action(action)
    nodes = model.root([state, state], seeded())
    step = model.expand(nodes.embedding, np.array([2, 8]), seeded())  # one of them wins
    assert asked == [2, 1]
    assert step.reward.tolist() == [1.0, 0.0]
    assert step.discount.tolist() == [0.0, 0.9]
    assert step.nodes.value.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("name", ["kuhn_poker", "backgammon", "matrix_rps"])
def test_games_of_chance_secrets_or_haste_are_refused(name: str) -> None:
    pytest.importorskip("pyspiel")
    with pytest.raises(TypeError, match="game: expected SEQUENTIAL"):
        OpenSpielModel(load_game(name))


def test_without_openspiel_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(ModuleNotFoundError, match=r"mpc-robot\[games\]"):
        load_game("chess")


def test_unknown_games_are_refused() -> None:
    pytest.importorskip("pyspiel")
    with pytest.raises(ValueError, match="got 'chequers'"):
        load_game("chequers")
