"""Tabular Dyna against updates by hand, the optimal values of mazes, and the book."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mpc_robot.agents.dyna_q import (
    DYNA_Q_PLUS,
    SWEEPING,
    DynaQ,
    DynaQConfig,
    GreedyPolicy,
    PriorityQueue,
)
from mpc_robot.data.replay import Experience
from mpc_robot.envs import TableSpec, Task, get_task, make_env, table_spec
from mpc_robot.envs.mazes import DYNA, Maze
from mpc_robot.envs.wrappers import numbered
from mpc_robot.errors import CheckpointError
from mpc_robot.training import checkpoint
from mpc_robot.training.display import Display
from mpc_robot.training.metrics import TIME, read_metrics
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.trainer import TrainConfig, Trainer

ANY = Task("any", "any")
DYNA_Q = DynaQConfig()
NAMES = ["q", "plus", "sweeping"]
CONFIGS = pytest.mark.parametrize("config", [DYNA_Q, DYNA_Q_PLUS, SWEEPING], ids=NAMES)


def table(states: int, actions: int) -> TableSpec:
    return TableSpec(states, actions, dt=0.1, max_episode_steps=None)


def step(agent: DynaQ, *seen: float, terminated: bool = False) -> dict[str, float]:
    """Let the agent see a real step: state, action, reward, next state; what it says of it."""
    state, action, reward, following = seen
    here, taken, there = (np.array([each]) for each in (state, action, following))
    agent.observe(Experience(here, taken, reward, there, terminated, False))
    return agent.update()


def walk(agent: DynaQ, steps: int) -> list[int]:
    """Live in the Dyna maze; the states that were visited."""
    env = numbered(Maze({0: DYNA}))
    observation, visited = env.reset()[0], []
    for _ in range(steps):
        action = agent.act(observation, explore=True)
        reached, reward, done, _, _ = env.step(action)
        visited.append(int(reached[0]))
        agent.observe(Experience(observation, action, float(reward), reached, done, False))
        agent.update()
        observation = env.reset()[0] if done else reached
    return visited


def in_maze(config: DynaQConfig, seed: int = 0) -> DynaQ:
    return DynaQ(ANY, table(54, 4), config, seed)


def optimal_values(discount: float) -> np.ndarray:
    """Q* of the Dyna maze ``[54, 4]``: the discount to the power of the steps still to go.

    Breadth-first from the goal, over the characters of the drawing; NaN in walls and the goal.
    """
    cells = "".join(DYNA.split())
    queue, distance = deque([cells.index("G")]), {cells.index("G"): 0}

    def move(cell: int, action: int) -> int:
        row, column = np.array(divmod(cell, 9)) + [(-1, 0), (1, 0), (0, 1), (0, -1)][action]
        inside = 0 <= row < 6 and 0 <= column < 9
        return 9 * row + column if inside and cells[9 * row + column] != "#" else cell

    while queue:
        cell = queue.popleft()
        for near in {move(cell, action) for action in range(4)} - distance.keys():
            distance[near] = distance[cell] + 1
            queue.append(near)
    values = np.full((54, 4), np.nan)
    for cell in distance.keys() - {cells.index("G")}:
        values[cell] = [discount ** distance[move(cell, action)] for action in range(4)]
    return values


# Updates by hand ----------------------------------------------------------------------------------


def test_without_planning_it_is_q_learning() -> None:
    agent = DynaQ(ANY, table(3, 2), DynaQConfig(0.5, 0.9, 0.1, planning_steps=0), seed=0)
    step(agent, 0, 1, 0.0, 1)
    step(agent, 1, 0, 2.0, 2, terminated=True)
    assert agent.values == [[0, 0], [1.0, 0], [0, 0], [0, 0]]
    step(agent, 0, 1, 0.0, 1)  # 0.5 (0 + 0.9 * 1)
    step(agent, 1, 0, 2.0, 2, terminated=True)  # 1 + 0.5 (2 - 1)
    step(agent, 1, 1, -1.0, 0)  # 0.5 (-1 + 0.9 * 0.45)
    assert agent.values == [[0, 0.45], [1.5, pytest.approx(-0.2975)], [0, 0], [0, 0]]
    assert agent.updates == 5


def test_only_what_terminates_has_no_future() -> None:
    agent = DynaQ(ANY, table(2, 1), DynaQConfig(1.0, 0.5, planning_steps=0), seed=0)
    step(agent, 1, 0, 8.0, 1, terminated=True)
    agent.observe(Experience(np.zeros(1), np.zeros(1), 0.0, np.ones(1), False, True))
    agent.update()
    assert agent.values[:2] == [[4.0], [8.0]]


@pytest.mark.parametrize("planned", [0, 1, 5, 50])
def test_planning_repeats_the_update_so_many_times(planned: int) -> None:
    config = DynaQConfig(0.1, planning_steps=planned)
    agent = DynaQ(ANY, table(1, 3), config, seed=0)
    assert step(agent, 0, 2, 1.0, 0, terminated=True) == {"plan/updates": 1.0 + planned}
    assert agent.values[0] == [0, 0, pytest.approx(1 - 0.9 ** (1 + planned))]
    assert agent.update() == {}


def test_dyna_q_plans_with_states_first_and_with_actions_taken_there_only() -> None:
    config = DynaQConfig(step_size=1.0, discount=1.0, planning_steps=4000)
    agent = DynaQ(ANY, table(3, 4), config, seed=0)
    counts = {(0, 1): 0.5, (2, 0): 0.25, (2, 3): 0.25}  # a state, then an action: not a pair
    for state, action in counts:
        agent.model.learn(state, action, 0.0, agent.model.terminal)
    drawn = list(agent._remembered())
    assert len(drawn) == 4000
    assert set(drawn) == set(counts)
    for pair, share in counts.items():
        assert drawn.count(pair) / 4000 == pytest.approx(share, abs=4 * sqrt(0.25 / 4000))


def test_the_bonus_of_dyna_q_plus_is_kappa_times_the_root_of_the_age() -> None:
    config = DynaQConfig(step_size=1.0, discount=0.0, planning_steps=400, bonus=0.01)
    agent = DynaQ(ANY, table(4, 2), config, seed=0)
    for state, action in ((0, 0), (1, 1), (0, 0), (2, 0), (1, 0)):
        step(agent, state, action, 1.0, 3)
    ages = {(0, 0): 2, (1, 0): 0, (1, 1): 3, (2, 0): 1}
    untried = {(0, 1): 5, (2, 1): 5}  # as old as the world, and without reward
    for pairs, reward in ((ages, 1.0), (untried, 0.0)):
        for (state, action), age in pairs.items():
            assert agent.values[state][action] == pytest.approx(reward + 0.01 * sqrt(age))
    assert agent.values[3] == [0, 0]  # never acted in


def test_dyna_q_plus_believes_that_what_it_never_tried_leads_back() -> None:
    config = DynaQConfig(step_size=1.0, discount=0.5, planning_steps=400, bonus=1e-9)
    agent = DynaQ(ANY, table(1, 2), config, seed=0)
    step(agent, 0, 0, 1.0, 0, terminated=True)
    assert agent.values[0] == pytest.approx([1.0, 0.5], abs=1e-6)


def test_a_sweep_carries_news_all_the_way_back_in_as_many_updates_as_it_takes() -> None:
    config = DynaQConfig(step_size=1.0, discount=0.9, planning_steps=100, threshold=1e-6)
    agent = DynaQ(ANY, table(8, 1), config, seed=0)
    for state in range(7):
        assert step(agent, state, 0, 0.0, state + 1) == {"plan/updates": 0.0}
    assert step(agent, 7, 0, 1.0, 0, terminated=True) == {"plan/updates": 8.0}
    np.testing.assert_allclose([row[0] for row in agent.values[:8]], 0.9 ** np.arange(8)[::-1])


def test_a_sweep_takes_at_most_so_many_steps_and_goes_on_later() -> None:
    config = DynaQConfig(step_size=1.0, discount=0.9, planning_steps=3, threshold=1e-6)
    agent = DynaQ(ANY, table(5, 1), config, seed=0)
    for state in range(4):
        step(agent, state, 0, 0.0, state + 1)
    step(agent, 4, 0, 1.0, 0, terminated=True)
    assert [row[0] > 0 for row in agent.values] == [False, False, True, True, True, False]
    step(agent, 4, 0, 1.0, 0, terminated=True)
    assert all(row[0] > 0 for row in agent.values[:5])


def test_a_sweep_stops_below_the_threshold() -> None:
    config = DynaQConfig(step_size=1.0, discount=0.1, planning_steps=100, threshold=0.05)
    agent = DynaQ(ANY, table(4, 1), config, seed=0)
    for state in range(3):
        step(agent, state, 0, 0.0, state + 1)
    step(agent, 3, 0, 1.0, 0, terminated=True)
    assert [row[0] for row in agent.values[:4]] == pytest.approx([0, 0, 0.1, 1.0])


# Policies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_actions_are_epsilon_greedy_with_ties_broken_randomly(epsilon: float) -> None:
    agent = DynaQ(ANY, table(1, 4), DynaQConfig(exploration=epsilon), seed=0)
    agent.values[0] = [0.5, 2.0, 2.0, -1.0]
    taken = [int(agent.act(np.zeros(1), explore=True)[0]) for _ in range(4000)]
    shares = np.bincount(taken, minlength=4) / 4000
    greedy = (1 - epsilon) * np.array([0, 0.5, 0.5, 0])
    np.testing.assert_allclose(shares, greedy + epsilon / 4, atol=4 * sqrt(0.25 / 4000))
    assert {int(agent.act(np.zeros(1), explore=False)[0]) for _ in range(50)} == {1, 2}


def test_the_controller_follows_what_is_learned_and_is_decided_by_its_seed() -> None:
    agent = DynaQ(ANY, table(1, 4), DYNA_Q, seed=0)
    controller = agent.controller()

    def actions(seed: int) -> list[float]:
        controller.reset(seed)
        return [float(controller.act(np.zeros(1))[0]) for _ in range(30)]

    assert actions(1) == actions(1) != actions(2)
    agent.values[0][2] = 1.0
    assert set(actions(1)) == {2.0}
    other = DynaQ(ANY, table(1, 4), DYNA_Q, seed=0)
    other.values[0][3] = 1.0
    agent.load_state_dict(other.state_dict())
    assert set(actions(1)) == {3.0}


def test_planning_does_not_change_the_first_episode() -> None:
    """As in Example 8.1, "exactly the same for all values of n"."""
    walks = [walk(in_maze(DynaQConfig(planning_steps=n)), 4000) for n in (0, 5, 50)]
    goal = walks[0].index(8)
    assert all(visited[: goal + 1] == walks[0][: goal + 1] for visited in walks)
    assert walks[0] != walks[1]


# The optimum --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "within"),
    [
        (DynaQConfig(step_size=1.0, exploration=1.0, planning_steps=50), 1e-9),
        (DynaQConfig(1.0, exploration=1.0, planning_steps=50, threshold=1e-5), 1e-5 / 0.05),
    ],
    ids=["dyna-q", "sweeping"],
)
def test_values_become_optimal_wherever_it_has_been(config: DynaQConfig, within: float) -> None:
    agent = in_maze(config)
    walk(agent, 6000)
    optimal, found = optimal_values(0.95), np.array(agent.values[:54])
    known = ~np.isnan(optimal)
    assert [len(tried) for tried in agent.model.tried] == known.sum(1).tolist()
    np.testing.assert_allclose(found[known], optimal[known], atol=within)
    assert not found[~known].any()


# Checkpoints --------------------------------------------------------------------------------------


@CONFIGS
def test_a_restored_agent_goes_on_to_the_bit(config: DynaQConfig, tmp_path: Path) -> None:
    original, restored = in_maze(config, seed=0), in_maze(config, seed=99)
    walk(original, 3000)
    checkpoint.save(tmp_path, original.state_dict(), {}, step=0)
    restored.load_state_dict(checkpoint.load(tmp_path, {}))
    assert walk(original, 500) == walk(restored, 500)
    assert original.values == restored.values
    assert original.updates == restored.updates


@pytest.mark.parametrize("part", ["values", "model", "queue", "updates", "acting", "planning"])
def test_no_part_of_a_checkpoint_may_be_missing(part: str) -> None:
    state = in_maze(SWEEPING).state_dict()
    del state[part]
    with pytest.raises(CheckpointError, match=part):
        in_maze(SWEEPING).load_state_dict(state)


def test_a_checkpoint_of_another_size_is_refused() -> None:
    state = DynaQ(ANY, table(47, 4), DYNA_Q, seed=0).state_dict()
    with pytest.raises(CheckpointError, match=r"expected shape \(54, 4\), got \(47, 4\)"):
        in_maze(DYNA_Q).load_state_dict(state)


# The queue ----------------------------------------------------------------------------------------


def test_the_queue_gives_each_pair_once_by_its_highest_priority() -> None:
    rng, queue = np.random.default_rng(0), PriorityQueue()
    highest: dict[tuple[int, int], float] = {}
    for _ in range(500):
        pair, priority = (int(rng.integers(9)), int(rng.integers(4))), float(rng.random())
        queue.insert(pair, priority)
        highest[pair] = max(priority, highest.get(pair, 0.0))
    assert len(queue) == len(highest) == 36
    out = [queue.pop() for _ in range(36)]
    assert all(highest[a] > highest[b] for a, b in pairwise(out))
    assert not queue
    with pytest.raises(IndexError):
        queue.pop()


def test_a_pair_may_return_to_the_queue_with_less() -> None:
    queue = PriorityQueue()
    queue.insert((0, 0), 3.0)
    assert queue.pop() == (0, 0)
    for pair, priority in (((1, 1), 2.0), ((0, 0), 1.0)):
        queue.insert(pair, priority)
    assert [queue.pop(), queue.pop()] == [(1, 1), (0, 0)]


# Settings and the Trainer -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step_size", 0.0),
        ("step_size", 1.1),
        ("discount", 1.01),
        ("discount", float("nan")),
        ("exploration", -0.1),
        ("planning_steps", -1),
        ("bonus", -1e-3),
        ("bonus", float("inf")),
        ("threshold", -1e-3),
        ("threshold", float("nan")),
    ],
)
def test_settings_that_make_no_sense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected"):
        DynaQConfig(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("field", "value"), [("bonus", 1e-3), ("planning_steps", 0)])
def test_a_sweep_has_no_bonus_and_at_least_one_update(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected"):
        replace(SWEEPING, **{field: value})


def trainer(path: Path, config: DynaQConfig, steps: int) -> Trainer:
    task = get_task("mpc_robot/DynaMaze-v0")
    train = TrainConfig("dyna-q", task.name, steps=steps, eval_every=2000, checkpoint_every=4000)
    agent = DynaQ(task, table_spec(make_env(task)), config, train.seed)
    return Trainer(RunFolder(path), task, agent, train, Display(Console(quiet=True), steps))


def agent_values(run: Trainer) -> list[list[float]]:
    return run.agent.state_dict()["values"].tolist()  # type: ignore[no-any-return]


def exact_metrics(path: Path) -> list[dict[str, Any]]:
    lines = read_metrics(path / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.startswith(TIME)} for line in lines]


@CONFIGS
def test_the_trainer_drives_it_to_the_shortest_path_and_resumes(
    config: DynaQConfig, tmp_path: Path
) -> None:
    whole = trainer(tmp_path / "whole", config, 4000)
    whole.folder.create({}, save_first=whole.save)
    whole.train()
    broken = trainer(tmp_path / "broken", config, 2000)
    broken.folder.create({}, save_first=broken.save)
    broken.train()
    resumed = trainer(tmp_path / "broken", config, 4000)
    resumed.restore()
    resumed.train()
    unbroken, rejoined = (exact_metrics(tmp_path / name) for name in ("whole", "broken"))
    assert rejoined[-5:] == unbroken[-5:]
    assert agent_values(resumed) == agent_values(whole)
    evaluation = next(line for line in reversed(unbroken) if "eval/return_mean" in line)
    assert evaluation["eval/return_mean"] == 1.0
    assert evaluation["eval/length_mean"] == 14.0  # as in Example 8.1


def test_a_greedy_policy_plans_nothing() -> None:
    assert GreedyPolicy([[0.0]]).plan is None
