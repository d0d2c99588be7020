"""``mpc-robot run``: let a controller plan in a model and act in a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import tyro
from rich.console import Console

from mpc_robot.cli.common import (
    Command,
    Common,
    CommonOptions,
    Outcome,
    evaluation_outcome,
    evaluation_table,
    parse,
    peek,
)
from mpc_robot.controllers import (
    MPC,
    OPTIMIZERS,
    ActionSpline,
    Controller,
    Interpolation,
    RandomController,
    make_optimizer,
)
from mpc_robot.dynamics.base import Dynamics
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import EnvSpec, Task, env_spec, get_task, make_env
from mpc_robot.errors import CheckpointError, UnknownNameError
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.runs import open_run

OptimizerConfig = TypeVar("OptimizerConfig")

RANDOM = "random"
SIMULATOR = "simulator"


@dataclass(frozen=True)
class Run(Generic[OptimizerConfig]):
    """Run a controller: random actions, or MPC in the simulator or a learned model.

    An optimizer's own settings are listed by run --controller C --help.

    Attributes:
        task: what to do.
        config: settings of the optimizer.
        controller: who decides: an optimizer's name, or random.
        dynamics: the model to plan in: simulator, or the folder of a training run.
        horizon: how far a plan looks ahead, s.
        knots: free actions of a plan, spread over the horizon; one per control step by default.
        interpolation: what happens between knots.
        episodes: how many.
        steps: end episodes after so many control steps, besides the task's own limit.
        seed: the same seed gives the same episodes again.
        video: MP4 to film the first episode to.
    """

    task: str
    config: OptimizerConfig
    controller: str = "icem"
    dynamics: str = SIMULATOR
    horizon: float = 0.5
    knots: int | None = None
    interpolation: Interpolation = "zero"
    episodes: int = 1
    steps: int | None = None
    seed: int = 0
    video: Path | None = None
    common: Common = field(default_factory=CommonOptions)

    def __post_init__(self) -> None:
        """Raises ValueError if there is nothing to look ahead to."""
        if not 0.0 < self.horizon < math.inf:
            raise ValueError(f"horizon: expected a positive time in s, got {self.horizon}")

    def __call__(self, console: Console) -> Outcome:
        """Print a table of the episodes."""
        task = get_task(self.task)
        evaluation = evaluate(
            task,
            self._controller(task),
            self.episodes,
            self.seed,
            max_steps=self.steps,
            video=self.video,
        )
        model = "" if self.controller == RANDOM else f" in {self.dynamics}"
        console.print(evaluation_table(evaluation, f"{self.controller}{model} on {task.name}"))
        return {
            "task": task.name,
            "controller": self.controller,
            "dynamics": None if self.controller == RANDOM else self.dynamics,
            "horizon": self.horizon,
            "seed": self.seed,
            "video": None if self.video is None else str(self.video),
            **evaluation_outcome(evaluation),
        }

    def _controller(self, task: Task) -> Controller:
        with closing(make_env(task)) as env:
            spec = env_spec(env)
        if self.controller == RANDOM:
            return RandomController(spec.action_low, spec.action_high)
        spline = ActionSpline(
            self._horizon_steps(spec),
            spec.action_low,
            spec.action_high,
            self.knots,
            self.interpolation,
        )
        optimizer = make_optimizer(spline, self.config)  # type: ignore[arg-type]
        return MPC(find_dynamics(self.dynamics, task), optimizer)

    def _horizon_steps(self, spec: EnvSpec) -> int:
        steps = round(self.horizon / spec.dt)
        if steps < 1:
            raise ValueError(
                f"horizon: expected at least one control period, {spec.dt} s, got {self.horizon} s"
            )
        return steps


def parse_run(argv: Sequence[str]) -> Command:
    """The words behind ``run``; the controller decides which settings there are.

    Raises:
        UnknownNameError: if there is no such controller.
    """
    name = (peek(argv, "--controller") or "icem").replace("_", "-")
    if name not in {*OPTIMIZERS, RANDOM}:
        raise UnknownNameError("controller", name, {*OPTIMIZERS, RANDOM})
    kind: Any = type(None) if name == RANDOM else OPTIMIZERS[name][0]
    default = Run(task=tyro.MISSING, config=kind(), controller=name)
    return parse("run", Run[kind], argv, default)


def find_dynamics(name: str, task: Task) -> Dynamics[Any]:
    """The task's simulator, or the model that a run has learned.

    Raises:
        CheckpointError: if the run is damaged, or of another task.
        UnknownNameError: if ``name`` is neither ``simulator`` nor a folder.
        ValueError: if the task can not be simulated, or the run's agent does not plan in a model.
    """
    if name == SIMULATOR:
        return Simulator(task)
    if not Path(name).is_dir():
        raise UnknownNameError("dynamics", name, [SIMULATOR, "the folder of a run"])
    run = open_run(Path(name))
    if run.task.name != task.name:
        raise CheckpointError(
            f"run {name} is of another task: expected {task.name!r}, got {run.task.name!r}"
        )
    controller = run.agent.controller()
    if not isinstance(controller, MPC):
        raise ValueError(f"dynamics: the agent {run.config.agent} of {name} does not plan in one")
    return controller.dynamics
