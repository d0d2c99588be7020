"""``mpc-robot dream``: what does a run's world model imagine?"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from mpc_robot.agents.base import Imaginative
from mpc_robot.agents.devices import CPU
from mpc_robot.cli.common import Common, CommonOptions, Outcome
from mpc_robot.dynamics.world_model import WorldModel
from mpc_robot.envs import control_period, make_env
from mpc_robot.training.dream_video import DreamtEpisode, dreamt_episode, film_dream, plot_dream
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.report import write_report
from mpc_robot.training.report_text import DREAM_STEPS
from mpc_robot.training.runs import open_run
from mpc_robot.training.trainer import Trainer
from mpc_robot.training.trust_dream import AHEAD, CONTEXT, DreamErrors, is_frame


@dataclass(frozen=True)
class Dream:
    """Show what the world model of a run imagines beside what then happened.

    It leaves dream.mp4 in the run's folder (of tasks seen as vectors, dream.png) and writes its
    report.md anew, with the error of imagination by step.

    Attributes:
        path: the run's folder.
        episodes: held against the model; it never learned from them.
        seed: the same seed gives the same episodes again.
        ahead: steps that are imagined at a time in the video.
        device: that the networks live on, as torch calls it: cpu, cuda or mps.
    """

    path: tyro.conf.Positional[Path]
    episodes: int = 5
    seed: int = 0
    ahead: int = AHEAD
    device: str = CPU
    common: Common = field(default_factory=CommonOptions)

    def __post_init__(self) -> None:
        """Raises ValueError if nothing is to be imagined."""
        if self.ahead < 1:
            raise ValueError(f"ahead: expected at least 1 step, got {self.ahead}")

    def __call__(self, console: Console) -> Outcome:
        """Print a table of errors."""
        run = open_run(self.path, device=self.device)
        model = world_model_of(run)
        evaluation = evaluate(run.task, run.agent.controller(), self.episodes, self.seed)
        trust = write_report(run.folder, run.task, run.agent, evaluation, self.seed)
        if trust.dream is None:
            raise ValueError(f"dream: expected an episode of at least {CONTEXT} steps, got none")
        longest = max(evaluation.episodes, key=lambda episode: len(episode.rewards))
        rng = torch.Generator().manual_seed(self.seed)
        dreamt = dreamt_episode(model, longest, rng, self.ahead)
        shown = _show(run, dreamt, frames=is_frame(longest))
        console.print(_table(trust.dream))
        console.print(f"{shown} and {run.folder.report} written")
        return {
            "run": str(self.path),
            "shown": str(shown),
            "report": str(run.folder.report),
            "unit": trust.dream.unit,
            "imagined": trust.dream.imagined.mean(axis=0).tolist(),
            "unchanged": trust.dream.unchanged.mean(axis=0).tolist(),
            "reconstructed": trust.dream.reconstructed.mean(axis=0).tolist(),
            "reward": trust.dream.reward.mean(axis=0).tolist(),
        }


def world_model_of(run: Trainer) -> WorldModel[Any]:
    """What the run's agent dreams in.

    Raises:
        ValueError: if it does not, or has learned nothing yet.
    """
    if not isinstance(run.agent, Imaginative):
        meant = "a run of the agent dreamer or world-models"
        raise ValueError(f"dream: expected {meant}, got {run.config.agent}")
    model = run.agent.world_model()
    if model is None:
        steps = run.progress.env_step
        raise ValueError(f"dream: expected a round of learning to be over, got {steps} env steps")
    return model


def _show(run: Trainer, dreamt: DreamtEpisode, *, frames: bool) -> Path:
    """A video of frames, or a plot of vectors; where it is."""
    if frames:
        film_dream(dreamt, run.task, run.folder.dream)
        return run.folder.dream
    picture = run.folder.dream.with_suffix(".png")
    with closing(make_env(run.task)) as env:
        plot_dream(dreamt, control_period(env), picture)
    return picture


def _table(dream: DreamErrors) -> Table:
    """The errors for people."""
    table = Table(title=f"mean squared error of what is imagined, {dream.unit}")
    for column in ("steps ahead", "imagined", "nothing changes", "reconstructed", "reward off by"):
        table.add_column(column, justify="right")
    parts = (dream.imagined, dream.unchanged, dream.reconstructed, dream.reward)
    means = [part.mean(axis=0) for part in parts]
    for step in DREAM_STEPS:
        if step <= len(means[0]):
            table.add_row(str(step), *(f"{mean[step - 1]:.3g}" for mean in means))
    return table
