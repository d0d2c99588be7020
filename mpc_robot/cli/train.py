"""``mpc-robot train``: let an agent learn a task, or go on with a run that was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro
from rich.console import Console

from mpc_robot.agents import DreamerConfig, PETSConfig, agent_kind
from mpc_robot.agents.devices import CPU
from mpc_robot.agents.dreamer_presets import with_size
from mpc_robot.agents.value import ValueConfig
from mpc_robot.agents.world_models import WorldModels
from mpc_robot.cli.common import (
    Command,
    Common,
    CommonOptions,
    Failed,
    Outcome,
    parse,
    peek,
    with_optimizer,
)
from mpc_robot.envs import get_task
from mpc_robot.training.metrics import read_metrics
from mpc_robot.training.runs import finish_run, open_run, start_run
from mpc_robot.training.trainer import TrainConfig, Trainer

AgentConfig = TypeVar("AgentConfig")

VALUE_DISCOUNT = 0.99
"""Greatest discount that ``--value on`` leaves: without any, what lies ahead may be infinite."""


@dataclass(frozen=True)
class Train(Generic[AgentConfig]):
    """Train an agent, or go on with a run that was stopped: train --resume DIR.

    The agent's own settings and the task's preset are listed by train --agent A --task T --help;
    what stands there in brackets behind a setting is its value in the paper.

    Attributes:
        out: folder to make; it must not hold a run yet.
        train: what to train on what, and for how long.
        config: settings of the agent; the default is the task's preset.
        optimizer: search for a plan in place of the preset's: random-shooting, predictive-sampling,
            cem, icem, mppi or gradient; it brings its own --config.optimizer settings.
        value: close the horizon with a learned value function or not, in place of the preset's
            choice; on brings --config.value settings and a discount of 0.99 at most.
        size: of Dreamer's networks, in place of the preset's, which is tiny: 1m, 12m, 25m or 50m.
        device: that networks of dreamer and world-models live on: cpu, cuda or mps.
    """

    out: Path
    train: Annotated[TrainConfig, tyro.conf.arg(name="")]
    config: AgentConfig
    optimizer: str | None = None
    value: Literal["on", "off"] | None = None
    size: str | None = None
    device: str = CPU
    common: Common = field(default_factory=CommonOptions)

    def __call__(self, console: Console) -> Outcome:
        """Train from the start to the end."""
        run = start_run(self.out, self.train, self.config, console, device=self.device)
        return _train(run)


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its last checkpoint, with the settings it was started with.

    Attributes:
        resume: the run's folder.
        steps: env steps to take in all, to go on for longer than was planned.
        device: that networks of dreamer and world-models live on, perhaps another than before.
    """

    resume: Path
    steps: int | None = None
    device: str = CPU
    common: Common = field(default_factory=CommonOptions)

    def __call__(self, console: Console) -> Outcome:
        """Train from the last checkpoint to the end."""
        return _train(open_run(self.resume, console, steps=self.steps, device=self.device))


def parse_train(argv: Sequence[str]) -> Command:
    """The words behind ``train``; the agent and the task decide which settings there are.

    Raises:
        UnknownNameError: if there is no such agent, task, optimizer or size.
        ValueError: if the agent has no such part.
    """
    if any(word.partition("=")[0] == "--resume" for word in argv):
        return parse("train", Resume, argv)
    agent, task = peek(argv, "--agent"), peek(argv, "--task")
    kind: Any = type(None)
    preset = None
    if agent is not None:
        kind = agent_kind(agent).config_class
        preset = kind() if task is None else agent_kind(agent).preset(get_task(task).name)
        preset = _with_parts(preset, peek(argv, "--optimizer"), peek(argv, "--value"))
        preset = _with_size(preset, peek(argv, "--size"))
    default = Train(
        out=tyro.MISSING,
        train=TrainConfig(agent=tyro.MISSING, task=tyro.MISSING),
        config=preset,
    )
    return parse("train", Train[kind], argv, default)


def _with_parts(preset: Any, optimizer: str | None, value: str | None) -> Any:
    """The preset with the parts that were chosen by name, ready for their own settings."""
    if optimizer is None and value is None:
        return preset
    if not isinstance(preset, PETSConfig):
        raise ValueError("optimizer, value: expected the agent pets, which has them")
    config = preset if optimizer is None else with_optimizer(preset, optimizer)
    if value == "off":
        return replace(config, value=None)
    if value == "on" and config.value is None:
        discount = min(config.discount, VALUE_DISCOUNT)
        return replace(config, value=ValueConfig(), discount=discount)
    return config


def _with_size(preset: Any, size: str | None) -> Any:
    """The preset with networks of the size that was chosen by name."""
    if size is None:
        return preset
    if not isinstance(preset, DreamerConfig):
        raise ValueError("size: expected an agent dreamer, which has them")
    return with_size(preset, size)


def _train(trainer: Trainer) -> Outcome:
    """Train, leave pictures behind, and tell how it went."""
    path = trainer.folder.path
    _tell_if_too_short(trainer)
    try:
        trainer.train()
    except KeyboardInterrupt as stop:
        step = trainer.progress.env_step
        raise Failed(
            f"stopped at env step {step}; go on from the last checkpoint with: "
            f"mpc-robot train --resume {path}",
            {"out": str(path), "env_step": step},
        ) from stop
    finish_run(trainer)
    trainer.display.note(f"run written to {path}")
    return {"out": str(path), **_last_evaluation(trainer)}


def _tell_if_too_short(trainer: Trainer) -> None:
    """Say so where what is to be learned will not be used yet when the run ends."""
    agent, steps = trainer.agent, trainer.config.steps
    if isinstance(agent, WorldModels):
        first = agent.config.round_actions * trainer.task.view.repeat
        if steps < first:
            trainer.display.warn(f"steps: {steps} pay for no controller, whose round takes {first}")


def _last_evaluation(trainer: Trainer) -> Outcome:
    """The run's last line of evaluation metrics."""
    lines = read_metrics(trainer.folder.metrics)
    return next(line for line in reversed(lines) if "eval/return_mean" in line)
