"""What ``mpc-robot run`` does with a controller: whole episodes, filmed or viewed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from mpc_robot.cli.common import Outcome, evaluation_outcome, evaluation_table
from mpc_robot.controllers import Controller
from mpc_robot.envs import Task
from mpc_robot.training.evaluation import Evaluation, evaluate
from mpc_robot.training.tree_picture import draw_first_tree


@dataclass(frozen=True)
class EpisodeOptions:
    """What to do with a controller.

    Attributes:
        episodes: how many.
        steps: end episodes after so many control steps, besides the task's own limit.
        seed: the same seed gives the same episodes again.
        video: MP4 to film the first episode to.
        plan_video: MP4 to film the first episode to, with the candidates of each plan in the scene.
        view: show the robot and what its planner considers in the browser, live.
        port: where the view is served, on this machine only; 0 for any that is free.
        trace: site or body whose paths plan_video and view draw; by default a tip or the torso.
        tree: SVG to draw the tree behind the first decision to, of a tree search.
    """

    episodes: int = 1
    steps: int | None = None
    seed: int = 0
    video: Path | None = None
    plan_video: Path | None = None
    view: bool = False
    port: int = 8080
    trace: str | None = None
    tree: Path | None = None

    def __post_init__(self) -> None:
        """Raises ValueError if there is a point to trace but nowhere to, or a view is filmed."""
        if self.trace and not (self.plan_video or self.view):
            raise ValueError("trace: expected a plan_video or view to draw it in, got none")
        if self.view and (self.video or self.plan_video):
            raise ValueError("view: expected no video, for what is viewed may begin anew, got one")

    def run(self, task: Task, controller: Controller, title: str, console: Console) -> Outcome:
        """Let it act, and print a table of the episodes.

        Raises:
            ValueError: if a tree is to be drawn, and the controller searches none.
        """
        actor = draw_first_tree(controller, self.tree) if self.tree else controller
        evaluation = self._performance(console)(
            task, actor, self.episodes, self.seed, max_steps=self.steps, trace=self.trace
        )
        console.print(evaluation_table(evaluation, f"{title} on {task.name}"))
        return {
            "seed": self.seed,
            "video": None if self.video is None else str(self.video),
            "plan_video": None if self.plan_video is None else str(self.plan_video),
            "tree": None if self.tree is None else str(self.tree),
            **evaluation_outcome(evaluation),
        }

    def _performance(self, console: Console) -> Callable[..., Evaluation]:
        """How episodes are run: perhaps filmed, or shown in the browser."""
        if not self.view:
            return partial(evaluate, video=self.video, plan_video=self.plan_video)
        from mpc_robot.training.viewer import watch  # noqa: PLC0415

        def tell(url: str) -> None:
            """Where to look."""
            console.print(f"watch at {url}; Ctrl-C ends", soft_wrap=True)

        return partial(watch, port=self.port, tell=tell)


Episodes = Annotated[EpisodeOptions, tyro.conf.arg(name="")]
"""The options without a prefix."""
