"""How many real steps does each learner need? Tasks x agents x seeds, beside Stable-Baselines3.

    python -m benchmarks.sample_efficiency run --agents dhmbpo sb3-ppo --seeds 0 1 2 --processes 2
    python -m benchmarks.sample_efficiency run --ray ADDRESS    on a Ray cluster instead
    python -m benchmarks.sample_efficiency status               how far the runs have come

What is done is skipped and what was stopped goes on (a baseline begins again). Every so many steps
the policy as it is plays ten episodes without noise in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from benchmarks.baseline_settings import BASELINES, baseline_settings
from benchmarks.common import RESULTS, ROOT
from benchmarks.learning import (
    Run,
    case_name,
    evaluations,
    learn_alone,
    learn_missing,
    oracle_return,
)
from benchmarks.workers import in_processes, on_ray

from mpc_robot.agents import AGENTS
from mpc_robot.errors import UnknownNameError
from mpc_robot.training.config import from_json
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.trainer import TrainConfig

EPISODES = 10
"""Of each evaluation."""
DEFAULT = "dhmbpo"
"""The learner that the figures are asked of."""


@dataclass(frozen=True)
class Goal:
    """A return to reach.

    Attributes:
        level: the return.
        limit: env steps within which our default learner shall reach it.
    """

    level: float
    limit: int


@dataclass(frozen=True)
class Study:
    """What is asked of one task.

    Attributes:
        goals: returns to reach.
        steps: env steps of a run of one of our agents.
        eval_every: env steps between its evaluations.
    """

    goals: tuple[Goal, ...]
    steps: int
    eval_every: int


STUDIES = {
    "InvertedPendulum-v5": Study((Goal(950.0, 2_000),), 2_000, 250),
    "InvertedDoublePendulum-v5": Study((Goal(9_000.0, 8_000),), 8_000, 500),
    "Reacher-v5": Study((Goal(-5.0, 5_000),), 5_000, 500),
    "Hopper-v5": Study((Goal(2_000.0, 20_000), Goal(3_000.0, 30_000)), 30_000, 1_000),
    "HalfCheetah-v5": Study((Goal(4_000.0, 10_000), Goal(8_000.0, 50_000)), 50_000, 1_000),
    "Walker2d-v5": Study((Goal(3_000.0, 40_000),), 40_000, 1_000),
}
LEARNERS = (*AGENTS, *BASELINES)


def case(agent: str, task: str, seed: int) -> TrainConfig:
    """What one learner shall learn.

    Raises:
        UnknownNameError: if there is no such agent, or nothing is asked of it on such a task.
        ValueError: if the seed is negative.
    """
    if agent not in LEARNERS:
        raise UnknownNameError("agent", agent, LEARNERS)
    if agent in AGENTS and task not in STUDIES:
        raise UnknownNameError("task", task, STUDIES)
    budget = baseline_settings(agent, task) if agent in BASELINES else STUDIES[task]
    return TrainConfig(
        agent=agent,
        task=task,
        seed=seed,
        steps=budget.steps,
        eval_every=budget.eval_every,
        eval_episodes=EPISODES,
        checkpoint_every=budget.eval_every,
        oracle_return=oracle_return(task),
    )


def run(
    *,
    tasks: tuple[str, ...] = tuple(STUDIES),
    agents: tuple[str, ...] = (DEFAULT, "sb3-ppo"),
    seeds: tuple[int, ...] = (0, 1, 2),
    steps: int | None = None,
    processes: int = 1,
    ray: str | None = None,
    runs: Path = ROOT / "runs" / "sample_efficiency",
    results: Path = RESULTS / "sample_efficiency",
) -> None:
    """Learn what has no result yet: the first seed of everything, then the second.

    Args:
        tasks: what to learn.
        agents: who learns it, our own or baselines.
        seeds: from each of which everything is learned.
        steps: env steps of every run, in place of those of the study or of the zoo.
        processes: runs at a time on this machine.
        ray: HOST:PORT of a Ray cluster to run on instead.
        runs: folder of the runs.
        results: folder of the results.
    """
    cases = [case(agent, task, seed) for seed in seeds for task in tasks for agent in agents]
    if steps is not None:
        cases = [replace(config, steps=steps) for config in cases]

    def spread(wanted: Sequence[Run]) -> Iterable[tuple[Run, Any]]:
        """Learn them here, or on the cluster."""
        if ray is None:
            return in_processes(learn_alone, wanted, processes)
        return on_ray(learn_alone, wanted, ray)

    learn_missing(cases, runs, results, spread)


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
