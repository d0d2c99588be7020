"""The picture of a run: returns against env steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mpc_robot.training.metrics import read_metrics


def plot_learning_curve(
    metrics: Path, picture: Path, title: str, oracle_return: float | None = None
) -> None:
    """Draw training episodes, evaluations (mean and standard deviation) and the oracle.

    Args:
        metrics: the ``metrics.jsonl`` to read.
        picture: the PNG to write.
        title: of the picture.
        oracle_return: return of the planner with the true dynamics, if known.
    """
    lines = read_metrics(metrics)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    axes = figure.add_subplot()
    _plot_training(axes, [line for line in lines if "train/return" in line])
    _plot_evaluations(axes, [line for line in lines if "eval/return_mean" in line])
    if oracle_return is not None:
        axes.axhline(oracle_return, color="black", linestyle="--", label="true dynamics")
    axes.set(title=title, xlabel="environment steps", ylabel="return")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    figure.savefig(picture)


def _plot_training(axes: Axes, lines: Sequence[dict[str, Any]]) -> None:
    if lines:
        steps, returns = _columns(lines, "env_step", "train/return")
        axes.plot(steps, returns, ".", color="tab:grey", alpha=0.5, label="training episodes")


def _plot_evaluations(axes: Axes, lines: Sequence[dict[str, Any]]) -> None:
    if lines:
        steps, mean, std = _columns(lines, "env_step", "eval/return_mean", "eval/return_std")
        axes.plot(steps, mean, "o-", markersize=3, color="tab:blue", label="evaluation")
        axes.fill_between(steps, mean - std, mean + std, color="tab:blue", alpha=0.2, linewidth=0)


def _columns(lines: Sequence[dict[str, Any]], *names: str) -> list[np.ndarray[Any, Any]]:
    """Columns of metrics as float arrays, null as NaN."""
    return [np.array([line[name] for line in lines], dtype=np.float64) for name in names]
