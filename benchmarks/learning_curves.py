"""What the learning runs say: returns, steps to a return beside PPO, and what training costs.

Over seeds stands the interquartile mean (of fewer than four it is the mean), with 95% intervals by
the percentile bootstrap over the seeds of a task, the stratum (arXiv:2108.13264).
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from benchmarks.baseline_settings import BASELINES
from benchmarks.common import ROOT
from benchmarks.learning import Result
from benchmarks.sample_efficiency import DEFAULT
from benchmarks.studies import POLICIES, Goal
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

Floats = npt.NDArray[np.float64]
PUBLISHED = ROOT / "benchmarks" / "published"
PPO = "sb3-ppo"
RESAMPLES = 2_000
_PUBLISHED_COLOURS = {
    "PPO": "black",
    "SAC": "grey",
    "MBPO": "olive",
    "DHMBPO": "steelblue",
    "MACURA": "goldenrod",
    "CrossQ": "rosybrown",
}
_STEPS_SHOWN = (500, 1e6)
ASKED_MS = {("Hopper-v5", DEFAULT): 80.0}
"""Most that an env step of training shall cost, ms."""


@dataclass(frozen=True)
class Curve:
    """Returns of one learner on one task.

    Attributes:
        env_steps: of the evaluations that all seeds have, ``[T]``.
        returns: mean over the episodes of each evaluation, by seed ``[S, T]``.
    """

    env_steps: npt.NDArray[np.int64]
    returns: Floats

    @property
    def iqm(self) -> Floats:
        """Interquartile mean over the seeds ``[T]``."""
        return interquartile_mean(self.returns)

    @property
    def interval(self) -> Floats:
        """Ends of the 95% intervals of the interquartile mean ``[2, T]``."""
        return bootstrap_interval(self.returns)


def curve(results: Sequence[Result]) -> Curve:
    """The curve of the results of one learner on one task, one result a seed.

    Raises:
        ValueError: if there are none, or they share no evaluated step.
    """
    returns = [dict(zip(r["env_steps"], r["return_mean"], strict=True)) for r in results]
    shared = sorted(set.intersection(*(set(seed) for seed in returns))) if returns else []
    if not shared:
        raise ValueError(f"results: expected evaluations at the same steps, got {len(results)}")
    return Curve(np.array(shared), np.array([[seed[step] for step in shared] for seed in returns]))


def interquartile_mean(returns: Floats) -> Floats:
    """Mean of the middle half of the seeds: ``[S, ...] -> [...]``."""
    return np.asarray(stats.trim_mean(returns, 0.25, axis=0))


def bootstrap_interval(returns: Floats) -> Floats:
    """95% intervals of the interquartile mean by resampling seeds: ``[S, T] -> [2, T]``."""
    drawn = np.random.default_rng(0).integers(len(returns), size=(len(returns), RESAMPLES))
    return np.quantile(interquartile_mean(returns[drawn]), (0.025, 0.975), axis=0)


@dataclass(frozen=True)
class Steps:
    """How long a learner takes to a return.

    Attributes:
        count: env step of the first evaluation that reaches it, or else of the last.
        reached: whether it was reached.
    """

    count: int
    reached: bool

    def __str__(self) -> str:
        """As in a table."""
        return f"{self.count:,}" if self.reached else f"> {self.count:,}"


def steps_to(env_steps: Iterable[int], returns: Iterable[float], level: float) -> Steps:
    """First evaluated step at which the return reaches a level."""
    step = 0
    for step, value in zip(env_steps, returns, strict=True):
        if value >= level:
            return Steps(int(step), True)
    return Steps(int(step), False)


def published(task: str) -> dict[str, tuple[list[int], list[float]]]:
    """Published learning curves of a task by algorithm: env steps and mean returns."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    with (PUBLISHED / f"{task}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            steps, returns = curves.setdefault(row["algorithm"], ([], []))
            steps.append(int(row["env_step"]))
            returns.append(float(row["return_mean"]))
    return curves


def by_task(results: Sequence[Result]) -> dict[str, dict[str, list[Result]]]:
    """Results by task and learner, of the tasks that something is asked of."""
    tasks: dict[str, dict[str, list[Result]]] = {}
    for task in POLICIES:
        for agent in learners(results):
            found = [r for r in results if (r["task"], r["agent"]) == (task, agent)]
            if found:
                tasks.setdefault(task, {})[agent] = found
    return tasks


def learners(results: Sequence[Result]) -> list[str]:
    """Who has results on these tasks: the default learner, our others, then the baselines."""
    names = {r["agent"] for r in results if r["task"] in POLICIES}
    return sorted(names, key=lambda name: (name in BASELINES, name != DEFAULT, name))


# Tables -------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, empty if it has no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines] if lines else [])


def returns_table(results: Sequence[Result]) -> str:
    """Return at the end of the runs, by task and learner."""
    head = ("task", "learner", "seeds", "episodes", "env steps", "return at the end")
    return table(
        (*head, "95%", "worst", "best"),
        (
            _returns_row(task, agent, runs)
            for task, agents in by_task(results).items()
            for agent, runs in agents.items()
        ),
    )


def _returns_row(task: str, agent: str, runs: Sequence[Result]) -> list[str]:
    learned = curve(runs)
    end = learned.returns[:, -1]
    low, high = bootstrap_interval(learned.returns[:, -1:])[:, 0]
    return [
        task,
        agent,
        str(len(end)),
        str(runs[0]["episodes"]),
        f"{learned.env_steps[-1]:,}",
        f"**{learned.iqm[-1]:,.5g}**",
        f"{low:,.5g} to {high:,.5g}",
        f"{end.min():,.5g}",
        f"{end.max():,.5g}",
    ]


def steps_table(results: Sequence[Result]) -> str:
    """Env steps to the returns that are asked for, and how many times as many PPO takes."""
    agents, rows = learners(results), []
    ratios: list[tuple[Ratio | None, Ratio | None]] = []
    for task, runs in by_task(results).items():
        for goal in POLICIES[task].goals:
            taken, literature = measured_steps(runs, goal), published_steps(task, goal)
            ours = taken.get(DEFAULT)
            ratios.append((ratio(taken.get(PPO), ours), ratio(literature["PPO"], ours)))
            cells = [task, f"{goal.level:,.5g}", f"{goal.limit:,}"]
            cells += [_cell(taken.get(agent)) for agent in agents]
            cells += [str(literature["PPO"]), _best(literature), *map(_cell, ratios[-1])]
            rows.append(cells)
    head = ["task", "return", f"asked of {DEFAULT}", *agents, "PPO, published", "best published"]
    head += [f"{PPO} / {DEFAULT}", f"published PPO / {DEFAULT}"]
    medians = map(_median, zip(*ratios, strict=True))
    return table(head, [*rows, ["median", *[""] * (len(head) - 3), *medians]] if rows else [])


def measured_steps(runs: Mapping[str, Sequence[Result]], goal: Goal) -> dict[str, Steps]:
    """Steps to a goal by learner, by the interquartile mean over its seeds."""
    curves = {agent: curve(results) for agent, results in runs.items()}
    return {agent: steps_to(c.env_steps, c.iqm, goal.level) for agent, c in curves.items()}


def published_steps(task: str, goal: Goal) -> dict[str, Steps]:
    """Steps to a goal by published algorithm, by the mean over its seeds."""
    return {name: steps_to(*points, goal.level) for name, points in published(task).items()}


@dataclass(frozen=True)
class Ratio:
    """How many times our steps another learner takes.

    Attributes:
        value: 0 if we never arrive.
        least: the other did not arrive in the steps it had, and would take more.
    """

    value: float
    least: bool

    def __str__(self) -> str:
        """As in a table."""
        if not self.value:
            return "-"
        return f"> {math.floor(self.value)}x" if self.least else f"{self.value:.0f}x"


def ratio(theirs: Steps | None, ours: Steps | None) -> Ratio | None:
    """Their steps by ours, None if either was not measured."""
    if theirs is None or ours is None:
        return None
    return Ratio(theirs.count / ours.count if ours.reached else 0.0, not theirs.reached)


def _median(ratios: Iterable[Ratio | None]) -> str:
    """Median of those that were measured, each at its least."""
    values = [each.value for each in ratios if each is not None]
    return f"**{statistics.median(values):.0f}x**" if values else ""


def _cell(value: Steps | Ratio | None) -> str:
    return "" if value is None else str(value)


def _best(literature: Mapping[str, Steps]) -> str:
    arrived = {name: steps for name, steps in literature.items() if steps.reached}
    name = min(arrived, key=lambda name: arrived[name].count)
    return f"{arrived[name]} ({name})"


def cost_table(results: Sequence[Result]) -> str:
    """Time of training by the clock, without evaluations: per env step, and of a whole run."""
    head = ("task", "learner", "ms per env step, median seed", "asked", "hours of a run")
    return table(
        head,
        (
            _cost_row(task, agent, runs)
            for task, agents in by_task(results).items()
            for agent, runs in agents.items()
        ),
    )


def _cost_row(task: str, agent: str, runs: Sequence[Result]) -> list[str]:
    ms = statistics.median(1e3 * run["wall_s"][-1] / run["env_steps"][-1] for run in runs)
    asked = ASKED_MS.get((task, agent))
    return [
        task,
        agent,
        f"{ms:.3g}",
        "" if asked is None else f"{asked:.3g}",
        f"{statistics.median(run['wall_s'][-1] for run in runs) / 3600:.2g}",
    ]


# Plots --------------------------------------------------------------------------------------------


def plot(results: Sequence[Result]) -> Figure:
    """Learning curves of every task: seeds, interquartile means with intervals, and published."""
    figure = Figure(figsize=(14, 7.6), layout="constrained")
    colours = {agent: f"C{i}" for i, agent in enumerate(learners(results))}
    panels = iter(figure.subplots(2, 3).flat)
    for task, agents in by_task(results).items():
        axes = next(panels)
        _plot_published(axes, task)
        for agent, runs in agents.items():
            _plot_curve(axes, agent, curve(runs), colours[agent])
        for goal in POLICIES[task].goals:
            axes.axhline(goal.level, color="black", linewidth=0.8, linestyle=":")
        axes.set(title=task, xlabel="environment steps", ylabel="return", xscale="log")
        axes.set_xlim(*_STEPS_SHOWN)
        axes.grid(alpha=0.3)
    for axes in panels:
        axes.axis("off")
    _add_legend(figure)
    return figure


def _plot_curve(axes: Axes, agent: str, learned: Curve, colour: str) -> None:
    steps = learned.env_steps
    axes.plot(steps, learned.returns.T, color=colour, alpha=0.25, linewidth=0.7)
    axes.fill_between(steps, *learned.interval, color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps, learned.iqm, color=colour, linewidth=1.8, label=agent)


def _plot_published(axes: Axes, task: str) -> None:
    """Without the untrained policies, for step 0 is nowhere on a logarithmic axis."""
    for name, points in published(task).items():
        steps, returns = np.array(points)[:, np.array(points[0]) > 0]
        colour, label = _PUBLISHED_COLOURS[name], f"{name}, published"
        axes.plot(steps, returns, "--", color=colour, linewidth=1.0, label=label)


def _add_legend(figure: Figure) -> None:
    """One legend for all panels, below them."""
    labelled: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        labelled.update(zip(labels, handles, strict=True))
    figure.legend(
        *(labelled.values(), labelled.keys()), loc="outside lower center", ncols=6, frameon=False
    )
