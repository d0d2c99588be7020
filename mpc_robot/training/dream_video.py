"""Imagination to look at: what was seen, what a world model makes of it, and what it imagines."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mpc_robot.dynamics.rows import take
from mpc_robot.dynamics.world_model import State, WorldModel
from mpc_robot.envs import Task, make_env
from mpc_robot.training.evaluation import Episode
from mpc_robot.training.files import replacing
from mpc_robot.training.report_plots import BLUE, GREY, ORANGE
from mpc_robot.training.trust_dream import AHEAD, CONTEXT, explain, imagine
from mpc_robot.training.trust_model import Floats
from mpc_robot.training.video import Picture, film

TITLES = ("seen", "reconstructed", "imagined")
ENTRIES_SHOWN = 8
"""Entries of a vector that are drawn, the first ones."""


@dataclass(frozen=True)
class DreamtEpisode:
    """An episode of T steps that a model now sees, now imagines, in turns.

    Attributes:
        views: what was seen, reconstructed and imagined, each ``[T + 1, ...]``; where the model
            sees, what it imagines is what it reconstructs.
        rewards: what was really earned, and what the model says, each ``[T + 1]``.
        ahead: steps since the model last saw anything ``[T + 1]``; 0 where it sees.
    """

    views: tuple[Floats, Floats, Floats]
    rewards: tuple[Floats, Floats]
    ahead: Floats


def dreamt_episode(
    model: WorldModel[State], episode: Episode, rng: torch.Generator, ahead: int = AHEAD
) -> DreamtEpisode:
    """Let a model see some observations, imagine ``ahead`` steps, see again, and so on."""
    whole = explain(model, episode, rng)
    imagined, reward = whole.shown.clone(), whole.reward.clone()
    since, length = torch.zeros(len(reward)), len(episode.rewards)
    for start in range(CONTEXT - 1, length, CONTEXT + ahead):
        actions = episode.actions[None, start : start + ahead]
        state = take(whole.states, (np.array([start]),))
        looks, earned = imagine(model, state, actions, rng)
        after = slice(start + 1, start + 1 + actions.shape[1])
        imagined[after], reward[after] = looks[0], earned[0]
        since[after] = torch.arange(1.0, actions.shape[1] + 1.0)
    real = np.concatenate([[np.nan], episode.rewards])
    reward[0] = torch.nan
    views = (whole.truth.numpy(), whole.shown.numpy(), imagined.numpy())
    return DreamtEpisode(views, (real, reward.numpy()), since.numpy())


def film_dream(dreamt: DreamtEpisode, task: Task, path: Path) -> None:
    """Write an MP4 of an episode of frames, at the task's pace.

    Raises:
        RenderingUnavailable: if the task's environment can not be made, which tells the pace.
    """
    screen = _Screen(dreamt)
    with closing(make_env(task)) as env, film(env, path, screen.picture) as take:
        for step in range(len(dreamt.ahead)):
            screen.step = step
            take()


class _Screen:
    """Three frames side by side, and the rewards up to a step."""

    def __init__(self, dreamt: DreamtEpisode) -> None:
        self.step = 0
        self._dreamt, self._figure = dreamt, Figure(figsize=(7.2, 4.4), dpi=100)
        self._canvas: Any = FigureCanvasAgg(self._figure)  # draws without a display
        grid = self._figure.add_gridspec(
            2, 3, height_ratios=(3, 2), left=0.08, right=0.98, top=0.92, bottom=0.12, wspace=0.05
        )
        panels = [self._figure.add_subplot(grid[0, column]) for column in range(3)]
        self._titles = [
            panel.set_title(title, fontsize="medium")
            for panel, title in zip(panels, TITLES, strict=True)
        ]
        self._images = [
            panel.imshow(view[0, ..., -3:], interpolation="nearest")
            for panel, view in zip(panels, dreamt.views, strict=True)
        ]
        for panel in panels:
            panel.axis("off")
        axes = self._figure.add_subplot(grid[1, :])
        known = np.concatenate(dreamt.rewards)
        low, high = np.nanmin(known), np.nanmax(known)
        margin = 0.05 * (high - low) + 1e-6
        axes.set(xlim=(0, len(dreamt.ahead)), ylim=(low - margin, high + margin))
        axes.set(xlabel="step", ylabel="reward")
        axes.grid(alpha=0.3)
        self._lines = [
            axes.plot([], [], color=colour, label=label)[0]
            for colour, label in ((GREY, "real"), (ORANGE, "the model's"))
        ]
        axes.legend(loc="lower left", fontsize="small")

    def picture(self) -> Picture:
        """RGB ``[height, width, 3]`` of the step."""
        dreamt, step = self._dreamt, self.step
        for image, view in zip(self._images, dreamt.views, strict=True):
            image.set_data(view[step, ..., -3:])
        ahead = int(dreamt.ahead[step])
        self._titles[2].set_text(f"imagined, {ahead} ahead" if ahead else "imagined: looking")
        for line, rewards in zip(self._lines, dreamt.rewards, strict=True):
            line.set_data(np.arange(step + 1), rewards[: step + 1])
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()


def plot_dream(dreamt: DreamtEpisode, dt: float, picture: Path) -> None:
    """Draw an episode of vectors: each entry, and the rewards, against time.

    Args:
        dreamt: what to draw.
        dt: control period, s.
        picture: the PNG to write.
    """
    entries = min(dreamt.views[0].shape[1], ENTRIES_SHOWN)
    figure = Figure(figsize=(9, 1.5 * (entries + 1)), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)  # draws without a display
    rows: Any = figure.subplots(entries + 1, 1, sharex=True)
    time = dt * np.arange(len(dreamt.ahead))
    for entry, axes in enumerate(rows[:-1]):
        for view, title, colour in zip(dreamt.views, TITLES, (GREY, BLUE, ORANGE), strict=True):
            axes.plot(time, view[:, entry], color=colour, label=title, linewidth=1)
        axes.set(ylabel=f"entry {entry}")
    for rewards, colour in zip(dreamt.rewards, (GREY, ORANGE), strict=True):
        rows[-1].plot(time, rewards, color=colour, linewidth=1)
    rows[-1].set(ylabel="reward", xlabel="time, s")
    rows[0].legend(loc="upper right", fontsize="small", ncols=3)
    for axes in rows:
        axes.grid(alpha=0.3)
        for now in np.flatnonzero(dreamt.ahead == 1):
            axes.axvline(time[now], color="black", linestyle=":", linewidth=0.8)
    with replacing(picture) as draft:
        figure.savefig(draft, format="png")
