"""The pictures of a trust report, in colours that the colour-blind can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mpc_robot.training.files import replacing
from mpc_robot.training.trust import ModelTrust, PlanTrust
from mpc_robot.training.trust_dream import DreamErrors
from mpc_robot.training.trust_model import (
    LEVELS,
    Calibration,
    OpenLoopError,
    Ranking,
    entry_names,
    over_starts,
    root_mean_square,
)
from mpc_robot.training.trust_plan import Floats, Rehearsal

BLUE, ORANGE, GREEN, RED, PINK, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#767676",
)
"""Okabe and Ito's palette, and a grey."""

HIGHLIGHTS = (RED, PINK, ORANGE, GREEN, BLUE)
"""Of the entries that are worst, worst first; the others are grey."""


def plot_open_loop(
    errors: OpenLoopError, dt: float, horizon: int, threshold: float, picture: Path
) -> None:
    """Error against how far ahead the model looks: of all entries together, and of each.

    Args:
        errors: what to draw.
        dt: control period, s.
        horizon: steps that the planner looks ahead, marked.
        threshold: error up to which a prediction counts as good, marked.
        picture: the PNG to write.
    """
    figure, (left, right) = _figure(2)
    time = dt * np.arange(1, errors.entries.shape[1] + 1)
    _quantiles(left, time, errors.overall, BLUE, "model")
    _quantiles(left, time, errors.overall_unchanged, GREY, "“nothing changes”")
    spread = over_starts(root_mean_square(errors.spread), 0.5)
    left.plot(time, spread, color=GREEN, linestyle=":", label="what the model expects (median)")
    left.axhline(threshold, color=RED, linewidth=1, label=f"good up to {threshold:g}")
    trusted = dt * errors.trusted_steps(threshold)
    left.axvline(trusted, color=RED, linestyle="--", label=f"trusted for {trusted:.2f} s")
    left.set(title="All entries", ylabel="error, standard deviations")
    medians = over_starts(errors.entries, 0.5)
    names, badness = entry_names(len(errors.scale)), medians[min(horizon, len(time)) - 1]
    _highlighted(right, time, medians, badness, names)
    right.set(title="Each entry (median)", ylabel="error, standard deviations")
    for axes in (left, right):
        axes.axvline(dt * horizon, color="black", linestyle="-.", label="planner's horizon")
        axes.set(xlabel="predicted ahead, s", xlim=(0.0, time[-1]), yscale="log")
    _save(figure, picture)


def plot_calibration(found: Calibration, picture: Path) -> None:
    """Predicted quantiles against how often the truth lay below them, for each output."""
    figure, (axes,) = _figure(1)
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="right")
    _highlighted(axes, LEVELS, found.observed, found.error, found.names)
    axes.plot(LEVELS, found.observed.mean(axis=1), color="black", linewidth=2, label="all together")
    axes.set(
        title="Flatter than the dashes: over-confident\nsteeper: under-confident, shifted: biased",
        xlabel="share of outcomes that the model puts below",
        ylabel="share that was below",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    _save(figure, picture)


def plot_disagreement(found: ModelTrust, dt: float, horizon: int, picture: Path) -> None:
    """How unsure the model was against how wrong it was, one step and one plan ahead."""
    figure, (left, right) = _figure(2)
    _scatter(left, found.one_step, f"After one step ({dt:g} s)", "members' disagreement")
    _scatter(right, found.at_horizon, f"After {dt * horizon:.2f} s", "particles' spread")
    _save(figure, picture)


def plot_plan(found: PlanTrust, dt: float, picture: Path) -> None:
    """Return as it accumulates, and what plans promised against what was then earned."""
    figure, (left, right) = _figure(2)
    planners = {"learned model": (found.learned, BLUE, "-")}
    if isinstance(found.oracle, Rehearsal):
        planners["true dynamics"] = (found.oracle, ORANGE, "--")
    for name, (rehearsal, colour, line) in planners.items():
        for i, episode in enumerate(rehearsal.evaluation.episodes):
            time = dt * np.arange(1, len(episode.rewards) + 1)
            label = None if i else name
            left.plot(time, episode.rewards.cumsum(), color=colour, linestyle=line, label=label)
        right.plot(rehearsal.expected, rehearsal.realised, ".", color=colour, alpha=0.4, label=name)
    left.set(title="Return so far, same starts", xlabel="time, s", ylabel="return")
    _diagonal(right, "promised = earned")
    right.set(
        title="Each plan over its horizon",
        xlabel="return that the plan promised",
        ylabel="return then earned",
    )
    _save(figure, picture)


def plot_dreams(errors: DreamErrors, dt: float, picture: Path) -> None:
    """Error of what is imagined, and of its rewards, against how far ahead."""
    figure, (left, right) = _figure(2)
    time = dt * np.arange(1, errors.imagined.shape[1] + 1)
    _quantiles(left, time, errors.imagined, BLUE, "imagined")
    _quantiles(left, time, errors.unchanged, GREY, "“nothing changes”")
    known = over_starts(errors.reconstructed, 0.5)
    left.plot(time, known, color=GREEN, linestyle=":", label="reconstructed (median)")
    left.set(title="Observations", ylabel=f"mean squared error, {errors.unit}", yscale="log")
    _quantiles(right, time, errors.reward, BLUE, "imagined")
    right.set(title="Rewards", ylabel="distance from the real reward")
    for axes in (left, right):
        axes.set(xlabel="imagined ahead, s", xlim=(0.0, time[-1]))
    _save(figure, picture)


def _figure(columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(5.5 * columns, 4.5), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)  # draws without a display
    return figure, [figure.add_subplot(1, columns, i + 1) for i in range(columns)]


def _save(figure: Figure, picture: Path) -> None:
    """Replace the picture as a whole."""
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    with replacing(picture) as draft:
        figure.savefig(draft, format="png")


def _quantiles(axes: Axes, time: Floats, values: Floats, colour: str, name: str) -> None:
    """Median over starts as a line, up to the 90th percentile as an area."""
    median, most = over_starts(values, 0.5), over_starts(values, 0.9)
    axes.plot(time, median, color=colour, label=f"{name}: median, up to 90 %")
    axes.fill_between(time, median, most, color=colour, alpha=0.2, linewidth=0)


def _highlighted(
    axes: Axes, x: Floats, curves: Floats, badness: Floats, names: Sequence[str]
) -> None:
    """Curves ``[len(x), D]``: the worst in colour, the others thin and grey behind them."""
    order = np.argsort(-badness, kind="stable")
    shown = order[: len(HIGHLIGHTS)]
    axes.plot(x, curves[:, order[len(HIGHLIGHTS) :]], color=GREY, alpha=0.4, linewidth=0.8)
    for entry, colour in zip(shown, HIGHLIGHTS, strict=False):
        axes.plot(x, curves[:, entry], color=colour, label=names[entry])


def _scatter(axes: Axes, ranking: Ranking, title: str, uncertainty: str) -> None:
    axes.loglog(ranking.uncertainty, ranking.error, ".", color=BLUE, alpha=0.3)
    axes.set(xlim=_decades(ranking.uncertainty), ylim=_decades(ranking.error))
    _diagonal(axes, "unsure = wrong")
    axes.set(
        title=f"{title}: rank correlation {ranking.correlation:.2f}",
        xlabel=f"{uncertainty}, standard deviations",
        ylabel="error, standard deviations",
    )


def _decades(values: Floats) -> tuple[float, float]:
    """The powers of ten around all values that a logarithmic axis can show."""
    shown = np.log10(values[(values > 0.0) & np.isfinite(values)])
    low, high = (np.floor(shown.min()), np.ceil(shown.max())) if len(shown) else (-1.0, 0.0)
    return float(10.0**low), float(10.0 ** max(high, low + 1.0))


def _diagonal(axes: Axes, label: str) -> None:
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # the line is not what matters
    axes.axline((1, 1), (2, 2), color="black", linewidth=1, linestyle="--", label=label)
