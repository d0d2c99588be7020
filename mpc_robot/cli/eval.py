"""``mpc-robot eval``: how good is what a run has learned?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from mpc_robot.agents import DHMBPO, Dreamer
from mpc_robot.agents.devices import CPU
from mpc_robot.cli.common import (
    Common,
    CommonOptions,
    Outcome,
    evaluation_outcome,
    evaluation_table,
)
from mpc_robot.controllers import Controller
from mpc_robot.envs import Task
from mpc_robot.envs.openspiel import against, is_against, results
from mpc_robot.training.evaluation import Evaluation, evaluate
from mpc_robot.training.runs import open_run
from mpc_robot.training.trainer import Trainer
from mpc_robot.training.tree_picture import draw_first_tree


@dataclass(frozen=True)
class Eval:
    """Evaluate the controller of a run's last checkpoint.

    Attributes:
        path: the run's folder.
        episodes: how many; of a game, every other one is begun by the opponent.
        opponent: of a game, in place of the one that training is evaluated against: random,
            mcts-N with N simulations, or perfect.
        seed: the same seed gives the same episodes again.
        video: film the first episode to the run's video.mp4.
        plan: search in the model that the policy was trained in: of dhmbpo, around what the policy
            would do; of dreamer, in latent space and without it.
        tree: SVG to draw the tree behind the first decision to, of alphazero and muzero.
        device: that networks of dreamer and world-models live on: cpu, cuda or mps.
    """

    path: tyro.conf.Positional[Path]
    episodes: Annotated[int, tyro.conf.arg(aliases=["--games"])] = 10
    opponent: str | None = None
    seed: int = 0
    video: bool = False
    plan: bool = False
    tree: Path | None = None
    device: str = CPU
    common: Common = field(default_factory=CommonOptions)

    def __call__(self, console: Console) -> Outcome:
        """Print a table of the episodes."""
        run = open_run(self.path, device=self.device)
        film = run.folder.video if self.video else None
        controller = planner_of(run) if self.plan else run.agent.controller()
        if self.tree:
            controller = draw_first_tree(controller, self.tree)
        task = run.task if self.opponent is None else against(run.task, self.opponent)
        evaluation = evaluate(task, controller, self.episodes, self.seed, video=film)
        title = f"{run.config.agent} on {run.config.task} at env step {run.progress.env_step}"
        console.print(evaluation_table(evaluation, title))
        match = match_outcome(task, evaluation)
        if match:
            shares = ", ".join(f"{name} {match[name]:.1%}" for name in ("win", "draw", "loss"))
            console.print(f"against {match['opponent']}: {shares}")
        return {
            "run": str(self.path),
            "task": run.config.task,
            "agent": run.config.agent,
            "env_step": run.progress.env_step,
            "seed": self.seed,
            "plan": self.plan,
            "video": None if film is None else str(film),
            "tree": None if self.tree is None else str(self.tree),
            **evaluation_outcome(evaluation),
            **match,
        }


def match_outcome(task: Task, evaluation: Evaluation) -> Outcome:
    """Whom games were played against, and shares of them; nothing for other tasks."""
    if not is_against(task):
        return {}
    return {"opponent": task.env_kwargs["opponent"], **results(evaluation.returns)}


def planner_of(run: Trainer) -> Controller:
    """What plans with all that the run's agent has learned.

    Raises:
        ValueError: if the agent has no policy, or no critic, to plan with.
    """
    if not isinstance(run.agent, DHMBPO | Dreamer):
        able = "dhmbpo or dreamer"
        raise ValueError(f"plan: expected a run of the agent {able}, got {run.config.agent}")
    return run.agent.planner()
