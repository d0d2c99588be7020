"""How many real steps does each learner need? Tasks x agents x seeds, beside Stable-Baselines3.

    python -m benchmarks.sample_efficiency run --agents dhmbpo sb3-ppo --seeds 0 1 2 --processes 2
    python -m benchmarks.sample_efficiency run --agents muzero  whatever is asked of MuZero
    python -m benchmarks.sample_efficiency run --ray ADDRESS    on a Ray cluster instead
    python -m benchmarks.sample_efficiency status               how far the runs have come

What is done is skipped and what was stopped goes on (a baseline begins again). Every so many steps
the policy as it is plays some episodes without noise in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro
from benchmarks.common import RESULTS, ROOT
from benchmarks.learning import (
    Run,
    case_name,
    evaluations,
    learn_alone,
    learn_missing,
    oracle_return,
)
from benchmarks.studies import studies_of, study
from benchmarks.workers import in_processes, on_ray

from mpc_robot.training.config import from_json
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.trainer import TrainConfig

DEFAULT = "dhmbpo"
"""The learner that is compared with PPO."""


def case(agent: str, task: str, seed: int) -> TrainConfig:
    """What one learner shall learn.

    Raises:
        UnknownNameError: if there is no such learner, or nothing is asked of it on such a task.
        ValueError: if the seed is negative.
    """
    asked = study(agent, task)
    return TrainConfig(
        agent=agent,
        task=task,
        seed=seed,
        steps=asked.steps,
        eval_every=asked.eval_every,
        eval_episodes=asked.eval_episodes,
        checkpoint_every=asked.eval_every,
        oracle_return=oracle_return(task),
    )


def cases(
    agents: Sequence[str], tasks: Sequence[str] | None, seeds: Sequence[int] | None
) -> list[TrainConfig]:
    """The first seed of everything, then the second; None stands for whatever the studies say.

    Raises:
        UnknownNameError: if there is no such learner, or nothing is asked of it on such a task.
        ValueError: if a seed is negative.
    """
    every = [
        case(agent, task, seed)
        for agent in agents
        for task in tasks or studies_of(agent)
        for seed in seeds or range(study(agent, task).seeds)
    ]
    return sorted(every, key=lambda config: config.seed)


def run(
    *,
    agents: tuple[str, ...] = (DEFAULT, "sb3-ppo"),
    tasks: tuple[str, ...] | None = None,
    seeds: tuple[int, ...] | None = None,
    steps: int | None = None,
    processes: int = 1,
    ray: str | None = None,
    runs: Path = ROOT / "runs" / "sample_efficiency",
    results: Path = RESULTS / "sample_efficiency",
) -> None:
    """Learn what has no result yet: the first seed of everything, then the second.

    Args:
        agents: who learns, our own or baselines.
        tasks: what to learn; if not given, all that is asked of each learner.
        seeds: to learn from; if not given, as many as the studies say, from 0 on.
        steps: env steps of every run, in place of those of the study or of the zoo.
        processes: runs at a time on this machine.
        ray: HOST:PORT of a Ray cluster to run on instead.
        runs: folder of the runs.
        results: folder of the results.
    """
    wanted = cases(agents, tasks, seeds)
    if steps is not None:
        wanted = [replace(config, steps=steps) for config in wanted]

    def spread(missing: Sequence[Run]) -> Iterable[tuple[Run, Any]]:
        """Learn them here, or on the cluster."""
        if ray is None:
            return in_processes(learn_alone, missing, processes)
        return on_ray(learn_alone, missing, ray)

    learn_missing(wanted, runs, results, spread)


def status(runs: Path = ROOT / "runs" / "sample_efficiency") -> None:
    """Print how far the runs on this machine have come.

    Args:
        runs: folder of the runs.
    """
    for path in sorted(runs.glob("*/config.json")):
        print(progress(RunFolder(path.parent)))


def progress(folder: RunFolder) -> str:
    """How far a run has come, in one line."""
    config = from_json(TrainConfig, folder.read_config()["train"], "train")
    lines = evaluations(folder)
    taken = lines[-1]["env_step"] if lines else 0
    last = f"{lines[-1]['eval/return_mean']:.5g}" if lines else "none yet"
    return f"{case_name(config)}: {taken:,} of {config.steps:,} env steps, last return {last}"


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"run": run, "status": status})
