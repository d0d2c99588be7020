"""``mpc-robot eval``: how good is what a run has learned?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console

from mpc_robot.cli.common import (
    Common,
    CommonOptions,
    Outcome,
    evaluation_outcome,
    evaluation_table,
)
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.runs import open_run


@dataclass(frozen=True)
class Eval:
    """Evaluate the controller of a run's last checkpoint.

    Attributes:
        path: the run's folder.
        episodes: how many.
        seed: the same seed gives the same episodes again.
        video: film the first episode to the run's video.mp4.
    """

    path: tyro.conf.Positional[Path]
    episodes: int = 10
    seed: int = 0
    video: bool = False
    common: Common = field(default_factory=CommonOptions)

    def __call__(self, console: Console) -> Outcome:
        """Print a table of the episodes."""
        run = open_run(self.path)
        film = run.folder.video if self.video else None
        controller = run.agent.controller()
        evaluation = evaluate(run.task, controller, self.episodes, self.seed, video=film)
        title = f"{run.config.agent} on {run.config.task} at env step {run.progress.env_step}"
        console.print(evaluation_table(evaluation, title))
        return {
            "run": str(self.path),
            "task": run.config.task,
            "agent": run.config.agent,
            "env_step": run.progress.env_step,
            "seed": self.seed,
            "video": None if film is None else str(film),
            **evaluation_outcome(evaluation),
        }
