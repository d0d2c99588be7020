"""One learner on one task from one seed: learn in a run folder, and say what came of it."""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from benchmarks.baseline_settings import BASELINES, baseline_settings
from benchmarks.common import RESULTS, about, commit, write_result
from rich.console import Console

from mpc_robot.agents import agent_kind
from mpc_robot.envs.pixels import split_view
from mpc_robot.training.config import from_json, to_json
from mpc_robot.training.metrics import TIME, read_metrics
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.runs import SILENT, open_run, start_run
from mpc_robot.training.trainer import TrainConfig

Result = dict[str, Any]
Run = tuple[TrainConfig, Path]
"""What to learn, and the folder to learn it in."""
Spread = Callable[[Sequence[Run]], Iterable[tuple[Run, Any]]]
"""Learns all runs somewhere: each with its result or with the error that it ended in."""


def case_name(config: TrainConfig) -> str:
    """What a run is called, by agent, task and seed."""
    return f"{config.agent}-{config.task}-seed-{config.seed}"


def learn_one(config: TrainConfig, path: Path, console: Console = SILENT) -> Result:
    """Learn to the end in the folder ``path``; the result.

    One of our own agents goes on with the run that is there, a baseline begins again, unless it had
    come to the end. Another process that learns in the same folder is waited for.

    Raises:
        UnknownNameError: if there is no such task or agent.
        CheckpointError: if the run that is there is damaged.
        ValueError: if it has other settings.
        PlantError: if the environment reports NaN.
    """
    folder = RunFolder(path)
    with _alone_in(path):
        if config.agent in BASELINES:
            from benchmarks.baselines import learn_baseline  # noqa: PLC0415 - needs an extra

            learn_theirs(config, baseline_settings(config.agent, config.task), path, learn_baseline)
        else:
            learn_ours(config, agent_kind(config.agent).preset(config.task), path, console)
        return learning_result(folder)


def learn_ours(config: TrainConfig, settings: Any, path: Path, console: Console = SILENT) -> None:
    """Learn to the end, from the start or from where the run that is there was stopped.

    Raises:
        ValueError: if that run has other settings, naming one of them.
    """
    folder = RunFolder(path)
    if folder.config.exists():
        for field, known, asked in differences(folder, config, settings):
            raise ValueError(f"{path}: {field}: expected {asked!r}, got a run with {known!r}")
        if evaluated_to(folder) < config.steps:
            _note_commit(path, commits_of(path))
        open_run(path, console).train()
    else:
        _note_commit(path, [])
        start_run(path, config, settings, console).train()


def learn_theirs(
    config: TrainConfig,
    settings: Any,
    path: Path,
    learn: Callable[[TrainConfig, RunFolder], None],
) -> None:
    """Have ``learn`` do it from the start, unless a run of these settings came to its end."""
    folder = RunFolder(path)
    if evaluated_to(folder) < config.steps or any(differences(folder, config, settings)):
        _note_commit(path, [])
        learn(config, folder)


def differences(
    folder: RunFolder, config: TrainConfig, settings: Any
) -> Iterator[tuple[str, Any, Any]]:
    """Where the run in a folder is not as asked: the field, what it has and what it should."""
    run = folder.read_config()
    for part, asked in (("train", to_json(config)), ("agent", to_json(settings))):
        for name in {**run[part], **asked}:
            known, wanted = run[part].get(name), asked.get(name)
            if known != wanted:
                yield f"{part}.{name}", known, wanted


def learn_alone(config: TrainConfig, path: Path) -> Result:
    """Learn in a process of its own: on one thread, since every core has a run."""
    torch.set_num_threads(1)
    return learn_one(config, path)


def learn_missing(cases: Sequence[TrainConfig], runs: Path, results: Path, spread: Spread) -> None:
    """Learn the cases that have no result yet, and write each result as it comes.

    Raises:
        SystemExit: after all the others, if a run failed.
    """
    wanted = [
        (config, runs.absolute() / case_name(config))
        for config in cases
        if not (results / f"{case_name(config)}.json").exists()
    ]
    failed = False
    for (config, _), outcome in spread(wanted):
        name = case_name(config)
        if isinstance(outcome, Exception):
            failed = True
            print(f"{name} failed: {outcome!r}", file=sys.stderr, flush=True)
        else:
            write_result(results / f"{name}.json", outcome)
            print(f"{name}: {outcome['return_mean'][-1]:.5g}", flush=True)
    if failed:
        sys.exit(1)


def _note_commit(path: Path, before: Sequence[str | None]) -> None:
    """Remember beside a run's folder which commit learns from now on, after those before."""
    now = commit()
    if before[-1:] != [now]:
        write_result(_commits(path), {"commits": [*before, now]})


def commits_of(path: Path) -> list[str | None]:
    """The commits that a run was learned with, in order; empty where nobody took notice."""
    file = _commits(path)
    return list(json.loads(file.read_text())["commits"]) if file.exists() else []


def _commits(path: Path) -> Path:
    return path.with_name(f"{path.name}.commits.json")


@contextmanager
def _alone_in(path: Path) -> Iterator[None]:
    """Keep other processes from learning in the folder meanwhile, as long as this one lives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def evaluations(folder: RunFolder) -> list[dict[str, Any]]:
    """The lines of metrics so far that are of evaluations."""
    if not folder.metrics.exists():
        return []
    return [line for line in read_metrics(folder.metrics) if "eval/return_mean" in line]


def evaluated_to(folder: RunFolder) -> int:
    """Env step of the last evaluation, 0 if there was none."""
    return max((int(line["env_step"]) for line in evaluations(folder)), default=0)


def learning_result(folder: RunFolder) -> Result:
    """A learning run in the form that every sample-efficiency result has.

    ``commit`` is what wrote it, and ``commits`` are those that it was learned with.
    """
    run, lines = folder.read_config(), evaluations(folder)
    config = from_json(TrainConfig, run["train"], "train")
    return {
        **about("sample_efficiency"),
        "commits": commits_of(folder.path),
        "versions": run["versions"],
        "task": config.task,
        "agent": config.agent,
        "preset": config.task,
        "seed": config.seed,
        "config": run["agent"],
        "episodes": config.eval_episodes,
        "env_steps": [line["env_step"] for line in lines],
        "return_mean": [line["eval/return_mean"] for line in lines],
        "return_std": [line["eval/return_std"] for line in lines],
        "wall_s": [line[TIME + "wall_s"] for line in lines],
        "oracle_return": oracle_return(config.task),
    }


def oracle_return(task: str) -> float | None:
    """What a planner with the true dynamics reached on a task, None if it was not measured.

    However the task is seen and actions held, the planner saw all of it, and acted at every step.
    """
    return _measured("oracle", split_view(task)[0], "oracle_return")


def unskilled_return(task: str, whose: str) -> float | None:
    """What ``random`` or ``zero`` actions earn, held as on the task; None if not measured."""
    name, view = split_view(task)
    held = name if view.repeat == 1 else f"{name}+repeat{view.repeat}"
    return _measured("unskilled", held, f"{whose}_return")


def _measured(kind: str, name: str, what: str) -> float | None:
    """A number that :mod:`benchmarks.oracle` measured."""
    path = RESULTS / kind / f"{name}.json"
    return float(json.loads(path.read_text())[what]) if path.exists() else None
