"""Does tabular Dyna behave as in the book? Sutton and Barto, 2nd edition (2018), chapter 8.

``python -m benchmarks.dyna_q`` repeats the experiments of figures 8.2, 8.4 and 8.5 and of Example
8.4 and sets beside them what the book says of them. What it leaves open is chosen here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice, pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import tyro
from benchmarks.common import RESULTS, Row, about, write_result
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mpc_robot.agents.dyna_q import DYNA_Q_PLUS, SWEEPING, DynaQ, DynaQConfig
from mpc_robot.data.replay import Experience
from mpc_robot.envs import Task, table_spec
from mpc_robot.envs.mazes import DYNA, GOAL, MAZES, START, Maze, finer, following, parse
from mpc_robot.envs.wrappers import numbered
from mpc_robot.training.config import to_json

Floats = npt.NDArray[np.float64]
BOOK = "the book"
WITHIN = 1.2
"""What counts as optimal, as a multiple of the least steps: exactly optimal would be a matter of
what exploration happens to stumble on."""


@dataclass(frozen=True)
class Outcome:
    """What an experiment found.

    Attributes:
        configs: settings by case.
        x: where the curves have points.
        curves: means over the seeds by case.
        rows: numbers, beside the book's where it has any.
    """

    configs: dict[str, DynaQConfig]
    x: list[int]
    curves: dict[str, list[float]]
    rows: list[Row]


def arrivals(agent: DynaQ, env: gym.Env[Any, Any]) -> Iterator[bool]:
    """One real step after another, without end: whether it arrived at the goal."""
    while True:
        observation, arrived = env.reset()[0], False
        while not arrived:
            action = agent.act(observation, explore=True)
            reached, reward, arrived, _, _ = env.step(action)
            agent.observe(Experience(observation, action, reward, reached, arrived, False))
            agent.update()
            observation = reached
            yield arrived


def life(
    layouts: Mapping[int, str], config: DynaQConfig, seed: int
) -> tuple[DynaQ, Iterator[bool]]:
    """A new agent in a maze, and its steps as they come."""
    env = numbered(Maze(layouts))
    agent = DynaQ(Task("maze", "maze"), table_spec(env), config, seed)
    return agent, arrivals(agent, env)


# Figure 8.2 ---------------------------------------------------------------------------------------


def figure_8_2(seeds: int) -> Outcome:
    """Steps per episode in the Dyna maze, by how much is planned."""
    configs = {f"n = {n}": DynaQConfig(planning_steps=n) for n in (0, 5, 50)}
    curves, rows = {}, []
    for (case, config), book in zip(configs.items(), (25, 5, 3), strict=True):
        steps = np.mean([steps_per_episode(config, 50, seed) for seed in range(seeds)], axis=0)
        optimal = np.flatnonzero(steps <= WITHIN * epsilon_optimal_steps(config.exploration))
        rows += [
            beside_book(case, "length_of_first_episode", float(steps[0]), "steps", 1700),
            beside_book(case, "episodes_to_optimal", float(optimal[0]) + 1, "episodes", book),
        ]
        curves[case] = steps.tolist()
    return Outcome(configs, list(range(1, 51)), curves, rows)


def steps_per_episode(config: DynaQConfig, episodes: int, seed: int) -> list[int]:
    """How long each of the first episodes took."""
    _, steps = life({0: DYNA}, config, seed)
    ends = (time for time, arrived in enumerate(steps, start=1) if arrived)
    return [after - before for before, after in pairwise([0, *islice(ends, episodes)])]


def epsilon_optimal_steps(epsilon: float) -> float:
    """Expected steps to the goal of the Dyna maze of the best policy that explores as it has to."""
    grid = parse(DYNA)
    moves, goal = np.array(following(grid)), grid.ravel() == GOAL
    steps = np.zeros(grid.size)
    for _ in range(
        10_000
    ):  # value iteration; walls, whose values nobody asks for, converge as well
        ahead = steps[moves]
        best, any_ = ahead.min(axis=1), ahead.mean(axis=1)
        steps = np.where(goal, 0.0, 1.0 + (1.0 - epsilon) * best + epsilon * any_)
    return float(steps[grid.ravel() == START][0])


# Figures 8.4 and 8.5 ------------------------------------------------------------------------------

CHANGING = {"Dyna-Q": replace(DYNA_Q_PLUS, bonus=0.0), "Dyna-Q+": DYNA_Q_PLUS}
"""The book gives no settings for these."""


def figure_8_4(seeds: int) -> Outcome:
    """Reward in the maze whose path is blocked after 1000 steps while another opens."""
    rewards = {case: lives("BlockingMaze-v0", case, 3000, seeds) for case in CHANGING}
    rows = [*_beside_dyna_q(rewards, 1000), *_beside_dyna_q(rewards, 3000)]
    for case, earned in rewards.items():
        found = [row[-1] > row[1000] for row in earned]
        rows.append(beside_book(case, "share_that_found_the_new_path", np.mean(found), "1", 1))
    return Outcome(CHANGING, *_thinned(rewards), rows)


def figure_8_5(seeds: int) -> Outcome:
    """Reward in the maze in which a shorter path opens after 3000 steps."""
    rewards = {case: lives("ShortcutMaze-v0", case, 6000, seeds) for case in CHANGING}
    rows = [row for time in (1000, 2000, 3000, 6000) for row in _beside_dyna_q(rewards, time)]
    for (case, earned), book in zip(rewards.items(), (0, 1), strict=True):
        found = [np.diff(np.flatnonzero(np.diff(row))).min() < 16 for row in earned]
        rows.append(beside_book(case, "share_that_took_the_shortcut", np.mean(found), "1", book))
    return Outcome(CHANGING, *_thinned(rewards), rows)


def lives(maze: str, case: str, steps: int, seeds: int) -> Floats:
    """Reward earned by each time step, from 0 on, ``[seeds, steps + 1]``."""
    runs = [islice(life(MAZES[maze], CHANGING[case], seed)[1], steps) for seed in range(seeds)]
    return np.array([np.cumsum([0, *arrived]) for arrived in runs], dtype=np.float64)


def _beside_dyna_q(rewards: Mapping[str, Floats], time: int) -> list[Row]:
    """Reward by a time step, and what Dyna-Q+ has of it beside Dyna-Q."""
    plain, plus = (float(earned[:, time].mean()) for earned in rewards.values())
    metric = f"reward_by_step_{time}"
    return [
        Row("Dyna-Q", metric, plain, "1"),
        Row("Dyna-Q+", metric, plus, "1", "Dyna-Q", plus / plain),
    ]


def _thinned(rewards: Mapping[str, Floats]) -> tuple[list[int], dict[str, list[float]]]:
    """Time steps, and the mean reward by then."""
    every = 50
    curves = {case: earned.mean(axis=0)[::every].tolist() for case, earned in rewards.items()}
    return [every * i for i in range(len(curves["Dyna-Q"]))], curves


# Example 8.4 --------------------------------------------------------------------------------------

RESOLUTIONS = ((1, 1), (1, 2), (2, 2), (2, 4))
"""Rows and columns that a cell of the Dyna maze is split into: 47, 94, 188 and 376 states."""


def example_8_4(seeds: int) -> Outcome:
    """Value updates until a path is found, 5 per real step at most, by the size of the maze.

    The book says nothing of the step size, on which it depends: below 1 the sweep leaves a part of
    each error behind that nothing puts into its queue again.
    """
    configs, curves, rows = {}, {}, []
    sizes = [47 * rows * columns for rows, columns in RESOLUTIONS]
    for alpha in (1.0, 0.5):
        random, sweep = f"Dyna-Q, alpha {alpha:g}", f"prioritized sweeping, alpha {alpha:g}"
        configs[random] = DynaQConfig(alpha, planning_steps=4)  # and one by the real step
        configs[sweep] = replace(SWEEPING, step_size=alpha, planning_steps=5)
        for case in (random, sweep):
            curves[case] = [
                _median_updates(finer(DYNA, *resolution), configs[case], seeds)
                for resolution in RESOLUTIONS
            ]
        for size, unswept, swept in zip(sizes, curves[random], curves[sweep], strict=True):
            metric = f"updates_in_{size}_states"
            rows.append(Row(sweep, metric, swept, "1", random, swept / unswept))
    return Outcome(configs, sizes, curves, rows)


def _median_updates(layout: str, config: DynaQConfig, seeds: int) -> float:
    return float(np.median([updates_until_optimal(layout, config, s) for s in range(seeds)]))


def updates_until_optimal(layout: str, config: DynaQConfig, seed: int) -> int:
    """Value updates until, at the end of an episode, the greedy path is all but the shortest."""
    agent, steps = life({0: layout}, config, seed)
    env, enough = numbered(Maze({0: layout})), int(WITHIN * shortest_path(layout))
    for arrived in steps:
        if arrived and finds_the_goal(agent, env, enough):
            break
    return agent.updates


def finds_the_goal(agent: DynaQ, env: gym.Env[Any, Any], within: int) -> bool:
    """Whether the greedy policy gets there in so many steps."""
    policy, observation = agent.controller(), env.reset()[0]
    for _ in range(within):
        observation, _, arrived, _, _ = env.step(policy.act(observation))
        if arrived:
            return True
    return False


def shortest_path(layout: str) -> int:
    """Steps from start to goal, by spreading out from the start."""
    grid = parse(layout)
    moves = following(grid)
    reached, steps = set(np.flatnonzero(grid == START).tolist()), 0
    while not (grid.ravel()[list(reached)] == GOAL).any():
        reached |= {cell for here in reached for cell in moves[here]}
        steps += 1
    return steps


# Results ------------------------------------------------------------------------------------------


def beside_book(case: str, metric: str, value: Any, unit: str, book: float) -> Row:
    """A number beside what the book says of it."""
    return Row(case, metric, float(value), unit, BOOK, float(value) / book if book else None)


EXPERIMENTS: dict[str, Callable[[int], Outcome]] = {
    "figure_8_2": figure_8_2,
    "figure_8_4": figure_8_4,
    "figure_8_5": figure_8_5,
    "example_8_4": example_8_4,
}


def main(only: tuple[str, ...] = tuple(EXPERIMENTS), seeds: int = 30) -> None:
    """Run experiments anew and write their results.

    Args:
        only: the experiments.
        seeds: repetitions of each, as many as in the book.
    """
    for name in only:
        outcome = EXPERIMENTS[name](seeds)
        result = {
            **about("dyna_q"),
            "experiment": name,
            "seeds": seeds,
            "config": {case: to_json(config) for case, config in outcome.configs.items()},
            "x": outcome.x,
            "curves": outcome.curves,
            "rows": [asdict(row) for row in outcome.rows],
        }
        write_result(RESULTS / "dyna_q" / f"{name}.json", result)
        for row in outcome.rows:
            beside = f" ({row.ratio:.2f} of {row.of})" if row.ratio is not None else ""
            print(f"{name}: {row.case}, {row.metric}: {row.value:.4g} {row.unit}{beside}")


# Plot ---------------------------------------------------------------------------------------------

_PANELS = {
    "figure_8_2": ("Dyna maze (figure 8.2)", "episode", "steps per episode", "log"),
    "figure_8_4": ("Blocking maze (figure 8.4)", "time step", "cumulative reward", "linear"),
    "figure_8_5": ("Shortcut maze (figure 8.5)", "time step", "cumulative reward", "linear"),
    "example_8_4": ("Finer mazes (Example 8.4)", "states", "updates until optimal", "log"),
}


def plot() -> Figure:
    """The four experiments, from the results on disk."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    for axes, name in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
        _panel(axes, name, json.loads((RESULTS / "dyna_q" / f"{name}.json").read_text()))
    return figure


def _panel(axes: Axes, name: str, result: Mapping[str, Any]) -> None:
    title, xlabel, ylabel, scale = _PANELS[name]
    for case, curve in result["curves"].items():
        axes.plot(result["x"], curve, label=case, marker="o" if len(curve) < 10 else None)
    for change in _changes(name):
        axes.axvline(change, color="black", linestyle=":", label="the maze changes")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, yscale=scale)
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def _changes(name: str) -> Sequence[int]:
    """When the maze of an experiment changes."""
    maze = {"figure_8_4": "BlockingMaze-v0", "figure_8_5": "ShortcutMaze-v0"}.get(name)
    return [] if maze is None else list(MAZES[maze])[1:]


if __name__ == "__main__":
    tyro.cli(main)
