"""Start a run, open one again, and leave behind what a person wants to see of it."""

from __future__ import annotations

import platform
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from mpc_robot.agents import agent_kind, build_agent
from mpc_robot.agents.devices import CPU, place
from mpc_robot.envs import get_task, make_env
from mpc_robot.errors import CheckpointError, RenderingUnavailable
from mpc_robot.training.config import from_json, to_json
from mpc_robot.training.display import Display
from mpc_robot.training.evaluation import Evaluation, check_episodes_end, evaluate
from mpc_robot.training.learning_curve import plot_learning_curve
from mpc_robot.training.report import write_report
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.trainer import TrainConfig, Trainer

SILENT = Console(quiet=True)


def start_run(
    path: Path,
    config: TrainConfig,
    agent_config: Any,
    console: Console = SILENT,
    *,
    device: str = CPU,
) -> Trainer:
    """Make ``path`` a run of its own, with a checkpoint of env step 0.

    Args:
        path: the folder to make.
        config: what to learn, and for how long.
        agent_config: settings of the agent.
        console: where its display goes.
        device: where the agent's networks live; it is not part of what is saved.

    Raises:
        UnknownNameError: if there is no such task or agent.
        RunExistsError: if ``path`` already holds a run; nothing in it was touched.
        ValueError: if the task has no time limit, is not for this agent (naming those that it is
            for), or does not fit a setting of the agent; or the device can not be used.
    """
    folder = RunFolder(path)
    folder.check_free()
    trainer = _trainer(folder, config, agent_config, console, device)
    about = {
        "train": to_json(config),
        "agent": to_json(agent_config),
        "versions": versions(),
    }
    folder.create(about, save_first=trainer.save)
    return trainer


def open_run(
    path: Path, console: Console = SILENT, *, steps: int | None = None, device: str = CPU
) -> Trainer:
    """The run in ``path`` as of its last checkpoint, ready to go on or to be evaluated.

    Args:
        path: the run's folder.
        console: where its display goes.
        steps: env steps to take in all from now on, written to ``config.json``; None leaves it.
        device: where the agent's networks live, which may be another than before.

    Raises:
        CheckpointError: if there is no run, or its config or checkpoint is damaged.
        ValueError: if ``steps`` is another than before, but no more than were already taken; or the
            device can not be used.
    """
    folder = RunFolder(path)
    about = folder.read_config()
    try:
        config = from_json(TrainConfig, about.get("train"), "train")
        agent_config = from_json(agent_kind(config.agent).config_class, about.get("agent"), "agent")
    except ValueError as error:
        raise CheckpointError(f"{folder.config} is damaged: {error}") from error
    wanted = config if steps is None else replace(config, steps=steps)
    trainer = _trainer(folder, wanted, agent_config, console, device)
    trainer.restore()
    if about.get("versions") != versions():
        trainer.display.warn(f"{folder.config} is of other versions of packages than these")
    if wanted != config:
        taken = trainer.progress.env_step
        if wanted.steps <= taken:
            raise ValueError(f"steps: expected more than the {taken} already taken, got {steps}")
        folder.write_config({**about, "train": to_json(wanted)})
    return trainer


def finish_run(trainer: Trainer) -> None:
    """Leave what a person wants to see: the learning curve, a video and the trust report."""
    folder, config = trainer.folder, trainer.config
    title = f"{config.agent} on {config.task}, seed {config.seed}"
    plot_learning_curve(folder.metrics, folder.learning_curve, title, config.oracle_return)
    evaluation = _filmed_evaluation(trainer)
    write_report(folder, trainer.task, trainer.agent, evaluation, trainer.evaluation_seed)


def _filmed_evaluation(trainer: Trainer) -> Evaluation:
    """The last evaluation once more, its first episode filmed where that is possible."""
    perform = partial(
        evaluate,
        trainer.task,
        trainer.agent.controller(),
        trainer.config.eval_episodes,
        trainer.evaluation_seed,
    )
    try:
        return perform(video=trainer.folder.video)
    except RenderingUnavailable as error:
        trainer.display.warn(f"no video: {error}")
        return perform()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers."""
    packages = ("mpc-robot", "torch", "numpy", "mujoco", "gymnasium")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def _trainer(
    folder: RunFolder, config: TrainConfig, agent_config: Any, console: Console, device: str
) -> Trainer:
    task = get_task(config.task)
    with closing(make_env(task)) as env:
        check_episodes_end(task, env)
        agent = build_agent(config.agent, task, env, agent_config, config.seed)
    place(agent, device)
    return Trainer(folder, task, agent, config, Display(console, config.steps))
