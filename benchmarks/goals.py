"""Who reaches the returns that are asked for, seed by seed: tables and learning curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np
from benchmarks.learning import Result, unskilled_return
from benchmarks.learning_curves import table
from benchmarks.studies import STUDIES, Goal, Study
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Asked = tuple[str, str, Study, list[Result]]
"""A learner, a task, what is asked of it, and its results by seed, which are at least one."""


def asked_of(agents: Sequence[str], results: Sequence[Result]) -> Iterator[Asked]:
    """What is asked of some learners, as far as there are results."""
    for agent in agents:
        for task, study in STUDIES[agent].items():
            runs = [run for run in results if (run["agent"], run["task"]) == (agent, task)]
            if runs:
                yield agent, task, study, runs


def steps_to(result: Result, wanted: float) -> int | None:
    """First evaluated env step whose mean return reaches ``wanted``, None if it never does."""
    pairs = zip(result["env_steps"], result["return_mean"], strict=True)
    return next((step for step, mean in pairs if mean >= wanted), None)


def table_of(agents: Sequence[str], results: Sequence[Result]) -> str:
    """Env steps to each return: median and worst seed, beside what was asked and what is known."""
    head = ["task", "learned at a return of", "env steps, median seed", "worst seed", "asked"]
    head += ["return at the end, median", "true dynamics", "chance", "zero action"]
    rows = [
        ([agent] if len(agents) > 1 else []) + row(task, goal, runs)
        for agent, task, study, runs in asked_of(agents, results)
        for goal in study.goals
    ]
    return table([*(["learner"] if len(agents) > 1 else []), *head], rows)


def row(task: str, goal: Goal, runs: Sequence[Result]) -> list[str]:
    """A line of the table; of an even number of seeds the later one in the middle counts."""
    wanted, oracle = goal.wanted(runs[0]["oracle_return"]), runs[0]["oracle_return"]
    reached = [steps_to(run, wanted) for run in runs]
    ordered = sorted(reached, key=lambda step: math.inf if step is None else step)
    share = f" ({goal.level:.0%} of true dynamics)" if goal.share else ""
    return [
        task,
        f"{wanted:,.5g}{share}",
        f"**{_steps(ordered[len(ordered) // 2], runs)}** of {len(runs)}",
        _steps(ordered[-1], runs),
        f"{goal.limit:,}",
        f"{statistics.median(run['return_mean'][-1] for run in runs):,.5g}",
        _number(oracle),
        _number(unskilled_return(task, "random")),
        _number(unskilled_return(task, "zero")),
    ]


def _steps(step: int | None, runs: Sequence[Result]) -> str:
    """Env steps, or that it takes more than there were."""
    return f"> {min(run['env_steps'][-1] for run in runs):,}" if step is None else f"{step:,}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.5g}"


def plot(agents: Sequence[str], results: Sequence[Result]) -> Figure:
    """Learning curves of every seed, the goals and the return with the true dynamics."""
    asked = list(asked_of(agents, results))
    rows = math.ceil((len(asked) + 1) / 3)
    figure = Figure(figsize=(13, 3.2 * rows), layout="constrained")
    panels = list(figure.subplots(rows, 3, squeeze=False).flat)
    for axes, (agent, task, study, runs) in zip(panels, asked, strict=False):
        _plot_runs(axes, study, runs)
        title = task if len(agents) == 1 else f"{agent}, {task}"
        axes.set_title(title, fontsize="medium")
    for axes in panels[len(asked) :]:
        axes.axis("off")
    if asked:
        handles, labels = panels[0].get_legend_handles_labels()
        panels[len(asked)].legend(handles, labels, loc="center", frameon=False)
    return figure


def _plot_runs(axes: Axes, study: Study, runs: Sequence[Result]) -> None:
    for i, run in enumerate(runs):
        label = "one seed" if i == 0 else None
        axes.plot(run["env_steps"], run["return_mean"], color="tab:blue", alpha=0.4, label=label)
    shortest = min(len(run["env_steps"]) for run in runs)
    median = np.median([run["return_mean"][:shortest] for run in runs], axis=0)
    steps = np.median([run["env_steps"][:shortest] for run in runs], axis=0)
    axes.plot(steps, median, "o-", color="tab:blue", markersize=3, label="median seed")
    oracle = runs[0]["oracle_return"]
    for goal in study.goals:
        axes.axhline(goal.wanted(oracle), color="tab:orange", linestyle=":", label="goal")
    if oracle is not None:
        axes.axhline(oracle, color="black", linestyle="--", label="planner with true dynamics")
    axes.set(xlabel="environment steps", ylabel="return")
    axes.grid(alpha=0.3)
