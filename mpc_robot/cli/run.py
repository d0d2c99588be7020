"""``mpc-robot run``: let a controller plan in a model and act in a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import tyro
from rich.console import Console

from mpc_robot.agents import PETS
from mpc_robot.cli.common import (
    Command,
    Common,
    CommonOptions,
    Outcome,
    parse,
    peek,
    with_optimizer,
)
from mpc_robot.cli.episodes import EpisodeOptions, Episodes
from mpc_robot.controllers import (
    ILQR,
    MPC,
    OPTIMIZERS,
    Controller,
    ILQRConfig,
    Interpolation,
    RandomController,
    make_optimizer,
    spline_for,
)
from mpc_robot.controllers.simulator_planner import PlannerConfig, simulator_planner
from mpc_robot.controllers.simulator_presets import simulator_preset
from mpc_robot.controllers.tree_planner import (
    RULES,
    SampledTreeConfig,
    TreeConfig,
    default_tree,
    tree_planner,
)
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import EnvSpec, Task, env_spec, get_task, make_env
from mpc_robot.errors import CheckpointError, UnknownNameError, require
from mpc_robot.training.runs import open_run

OptimizerConfig = TypeVar("OptimizerConfig")
TreeSettings = TypeVar("TreeSettings")

RANDOM, ILQR_NAME, TREE, GRADIENT = "random", "ilqr", "tree-search", "gradient"
SIMULATOR = "simulator"


@dataclass(frozen=True)
class RunRandom:
    """Act at random.

    Attributes:
        task: what to do.
        controller: who decides.
    """

    task: str
    controller: Literal["random"] = "random"
    how: Episodes = field(default_factory=EpisodeOptions)
    common: Common = field(default_factory=CommonOptions)

    def __post_init__(self) -> None:
        """Raises ValueError if plans are to be filmed."""
        if self.how.plan_video:
            raise ValueError("plan_video: expected a controller that plans, got random")

    def __call__(self, console: Console) -> Outcome:
        """Print a table of the episodes."""
        task = get_task(self.task)
        spec = spec_of(task)
        controller = RandomController(spec.action_low, spec.action_high)
        about = {"task": task.name, "controller": RANDOM, "dynamics": None, "horizon": None}
        return {**about, **self.how.run(task, controller, RANDOM, console)}


@dataclass(frozen=True)
class RunILQR:
    """Plan by derivatives of the simulator.

    Attributes:
        task: what to do.
        config: settings.
        controller: who decides.
        dynamics: the model to plan in.
    """

    task: str
    config: ILQRConfig
    controller: Literal["ilqr"] = "ilqr"
    dynamics: Literal["simulator"] = "simulator"
    how: Episodes = field(default_factory=EpisodeOptions)
    common: Common = field(default_factory=CommonOptions)

    def __call__(self, console: Console) -> Outcome:
        """Print a table of the episodes."""
        task = get_task(self.task)
        controller = ILQR(Simulator(task, self.common.threads), spec_of(task), self.config)
        about = {
            "task": task.name,
            "controller": self.controller,
            "dynamics": self.dynamics,
            "horizon": self.config.horizon,
        }
        return {**about, **self.how.run(task, controller, "ilqr in simulator", console)}


@dataclass(frozen=True)
class RunTree(Generic[TreeSettings]):
    """Search a tree in the simulator, or in copies of an environment with numbered actions.

    Attributes:
        task: what to do.
        config: settings.
        controller: who decides.
        rule: which action to try next: uct, puct or gumbel; by default as suits the actions.
        dynamics: the model to search in.
    """

    task: str
    config: TreeSettings
    controller: Literal["tree-search"] = "tree-search"
    rule: str | None = None
    dynamics: Literal["simulator"] = "simulator"
    how: Episodes = field(default_factory=EpisodeOptions)
    common: Common = field(default_factory=CommonOptions)

    def __call__(self, console: Console) -> Outcome:
        """Print a table of the episodes."""
        task, config = get_task(self.task), cast(TreeConfig, self.config)
        planner = tree_planner(task, config, threads=self.common.threads)
        about = {
            "task": task.name,
            "controller": self.controller,
            "dynamics": self.dynamics,
            "simulations": config.search.simulations,
        }
        return {**about, **self.how.run(task, planner, "tree-search in simulator", console)}


@dataclass(frozen=True)
class Run(Generic[OptimizerConfig]):
    """Run a controller: random actions, iLQR, tree search, or MPC in a simulator or learned model.

    What is not said is as in the run whose model is used, or as is known to suit the task.
    A controller's own settings are listed by run --task T --controller C --help.

    Attributes:
        task: what to do.
        config: settings of the optimizer.
        controller: who decides: random-shooting, predictive-sampling, cem, icem, mppi, gradient,
            ilqr, tree-search or random.
        dynamics: the model to plan in: simulator, or the folder of a training run.
        horizon: how far a plan looks ahead, s.
        knots: free actions of a plan, spread over the horizon; one per control step by default.
        interpolation: what happens between knots.
        discount: of rewards per control step.
        replan_every: control steps that a plan is followed for.
    """

    task: str
    config: OptimizerConfig
    controller: str = "icem"
    dynamics: str = SIMULATOR
    horizon: float = 0.5
    knots: int | None = None
    interpolation: Interpolation = "zero"
    discount: float = 1.0
    replan_every: int = 1
    how: Episodes = field(default_factory=EpisodeOptions)
    common: Common = field(default_factory=CommonOptions)

    def __post_init__(self) -> None:
        """Raises ValueError if there is nothing to look ahead to, or no gradient to climb."""
        require(0.0 < self.horizon < math.inf, "horizon", "a positive time in s", self.horizon)
        if self.controller == GRADIENT and self.dynamics == SIMULATOR:
            raise ValueError("dynamics: gradient needs a run with a learned model, got simulator")

    def __call__(self, console: Console) -> Outcome:
        """Print a table of the episodes."""
        task, controller = self._prepared()
        about = {
            "task": task.name,
            "controller": self.controller,
            "dynamics": self.dynamics,
            "horizon": self.horizon,
        }
        title = f"{self.controller} in {self.dynamics}"
        return {**about, **self.how.run(task, controller, title, console)}

    def _prepared(self) -> tuple[Task, Controller]:
        """The task as the controller acts on it, and the controller."""
        task = get_task(self.task)
        config = self._planner(task)
        planner = planner_in(self.dynamics, task, config, self.common.threads)
        return (config.acted_on(task) if self.dynamics == SIMULATOR else task), planner

    def _planner(self, task: Task) -> PlannerConfig:
        """What is known to suit the task, but for what is said here."""
        return replace(
            simulator_preset(task.name),
            optimizer=self.config,  # type: ignore[arg-type]
            horizon=self.horizon,
            knots=self.knots,
            interpolation=self.interpolation,
            discount=self.discount,
            replan_every=self.replan_every,
        )


def spec_of(task: Task) -> EnvSpec:
    """The sizes and limits of the task's environment."""
    with closing(make_env(task)) as env:
        return env_spec(env)


def planner_in(dynamics: str, task: Task, config: PlannerConfig, threads: int) -> MPC:
    """A planner in the simulator, or in the model of the run in the folder ``dynamics``.

    Raises:
        UnknownNameError: if ``dynamics`` is no folder.
        CheckpointError: if the run is damaged, or of another task.
        ValueError: if the run's agent does not plan in a model.
    """
    if dynamics == SIMULATOR:
        return simulator_planner(task, config, threads=threads)
    spline = spline_for(spec_of(task), config.horizon, config.knots, config.interpolation)
    search, agent = make_optimizer(spline, config.optimizer), open_pets(dynamics, task)
    return MPC(agent.model, search, config.discount, agent.value, replan_every=config.replan_every)


def parse_run(argv: Sequence[str]) -> Command:
    """The words behind ``run``; task, dynamics and controller decide settings and defaults.

    Raises:
        UnknownNameError: if there is no such controller, task or dynamics.
        CheckpointError: if the run to plan in is damaged, or of another task.
        ValueError: if the run's agent does not plan in a model.
    """
    name = (peek(argv, "--controller") or "").replace("_", "-")
    known = {*OPTIMIZERS, RANDOM, ILQR_NAME, TREE}
    if name and name not in known:
        raise UnknownNameError("controller", name, known)
    if name == RANDOM:
        return parse("run", RunRandom, argv)
    if name == ILQR_NAME:
        return parse("run", RunILQR, argv, RunILQR(tyro.MISSING, ILQRConfig()))
    if name == TREE:
        return parse_tree(argv)
    task, dynamics = peek(argv, "--task"), peek(argv, "--dynamics") or SIMULATOR
    config = PlannerConfig() if task is None else planning(get_task(task), dynamics)
    if name:
        config = with_optimizer(config, name)
    kind: Any = type(config.optimizer)
    default = Run(
        task=tyro.MISSING,
        config=config.optimizer,
        controller=next(name for name, (of, _) in OPTIMIZERS.items() if of is kind),
        dynamics=dynamics,
        horizon=config.horizon,
        knots=config.knots,
        interpolation=config.interpolation,
        discount=config.discount,
        replan_every=config.replan_every,
    )
    return parse("run", Run[kind], argv, default)


def parse_tree(argv: Sequence[str]) -> Command:
    """The words behind ``run --controller tree-search``; task and rule decide the defaults.

    Raises:
        UnknownNameError: if there is no such task or rule.
    """
    task, rule = peek(argv, "--task"), peek(argv, "--rule")
    config = SampledTreeConfig() if task is None else default_tree(get_task(task))
    if rule is not None:
        if rule not in RULES:
            raise UnknownNameError("rule", rule, RULES)
        config = replace(config, search=replace(config.search, rule=RULES[rule]))
    kind: Any = type(config)
    return parse("run", RunTree[kind], argv, RunTree(tyro.MISSING, config))


def planning(task: Task, dynamics: str) -> PlannerConfig:
    """How to plan in such dynamics: as the run does, or as is known to suit the task."""
    if dynamics == SIMULATOR:
        return simulator_preset(task.name)
    run = open_pets(dynamics, task).config
    return PlannerConfig(run.optimizer, run.horizon, run.knots, run.interpolation, run.discount)


def open_pets(path: str, task: Task) -> PETS:
    """The agent of a run, whose model there is to plan in.

    Raises:
        UnknownNameError: if ``path`` is no folder.
        CheckpointError: if the run is damaged, or of another task.
        ValueError: if the agent does not plan in a model.
    """
    if not Path(path).is_dir():
        raise UnknownNameError("dynamics", path, [SIMULATOR, "the folder of a run"])
    run = open_run(Path(path))
    if run.task.name != task.name:
        raise CheckpointError(
            f"run {path} is of another task: expected {task.name!r}, got {run.task.name!r}"
        )
    if not isinstance(run.agent, PETS):
        raise ValueError(f"dynamics: the agent {run.config.agent} of {path} does not plan in one")
    return run.agent
