"""How many real steps does PETS need? Learn each task from several seeds, beside an oracle.

``python -m benchmarks.pets oracle`` measures a planner that is given the true dynamics, then
``python -m benchmarks.pets learn`` trains. Both skip what is done and go on with what was stopped;
split the work over processes with ``--tasks`` and ``--seeds``.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from benchmarks.common import RESULTS, ROOT, about, write_result
from benchmarks.learning import case_name, learn_one, oracle_return
from rich.console import Console

from mpc_robot.controllers import ICEM, MPC, ICEMConfig, spline_for
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import env_spec, get_task, make_env
from mpc_robot.training.config import to_json
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.trainer import TrainConfig


@dataclass(frozen=True)
class Study:
    """What is asked of one task.

    Attributes:
        share: of the oracle's return that counts as learned, or None if ``target`` says it.
        target: return that counts as learned, or None if ``share`` says it.
        limit: env steps within which the median seed shall get there.
        steps: env steps of a run.
        eval_every: env steps between evaluations.
        eval_episodes: episodes of an evaluation.
    """

    share: float | None
    target: float | None
    limit: int
    steps: int
    eval_every: int
    eval_episodes: int


STUDIES = {
    "CartpoleSwingup-v0": Study(0.9, None, 2_500, 3_000, 500, 2),
    "CartpoleBalance-v0": Study(0.95, None, 500, 1_000, 500, 2),
    "InvertedPendulum-v5": Study(None, 950.0, 1_500, 2_000, 500, 3),
    "Reacher-v5": Study(None, -5.0, 5_000, 4_000, 500, 20),
    "InvertedDoublePendulum-v5": Study(None, 9_000.0, 10_000, 6_000, 1_000, 2),
}
ORACLES = {
    "CartpoleSwingup-v0": (1.0, 3),
    "CartpoleBalance-v0": (1.0, 3),
    "Reacher-v5": (0.4, 20),
}
"""Tasks whose reward alone tells a planner with the true dynamics what to do: horizon (s) and
episodes of that planner."""
ORACLE = ICEMConfig(num_samples=120, iterations=4, num_elites=12)


def oracle(tasks: tuple[str, ...] = tuple(ORACLES)) -> None:
    """Return of a generous search in the simulator itself."""
    for name in tasks:
        path = RESULTS / "oracle" / f"{name}.json"
        if path.exists():
            continue
        task, (horizon, episodes) = get_task(name), ORACLES[name]
        with closing(make_env(task)) as env:
            spline = spline_for(env_spec(env), horizon)
        planner = MPC(Simulator(task, threads=1), ICEM(spline, ORACLE))
        found = evaluate(task, planner, episodes, seed=0)
        result = {
            **about("oracle"),
            "task": name,
            "seed": 0,
            "config": {"horizon": horizon, "optimizer": to_json(ORACLE)},
            "returns": found.returns.tolist(),
            "oracle_return": found.mean,
            "wall_s": found.wall_s,
        }
        write_result(path, result)
        print(f"{name}: oracle {found.mean:.2f} ± {found.std:.2f} in {found.wall_s:.0f} s")


def learn(
    tasks: tuple[str, ...] = tuple(STUDIES),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    runs: Path = ROOT / "runs" / "pets",
) -> None:
    """Train each task from each seed and write the learning curves; goes on where it stopped."""
    for name in tasks:
        for seed in seeds:
            config = _config(name, seed)
            path = RESULTS / "sample_efficiency" / f"{case_name(config)}.json"
            if path.exists():
                continue
            result = learn_one(config, runs / name / f"seed-{seed}", Console())
            write_result(path, result)
            print(f"{name} seed {seed}: {result['return_mean']}")


def _config(task: str, seed: int) -> TrainConfig:
    study = STUDIES[task]
    return TrainConfig(
        agent="pets",
        task=task,
        seed=seed,
        steps=study.steps,
        eval_every=study.eval_every,
        eval_episodes=study.eval_episodes,
        checkpoint_every=study.eval_every,
        oracle_return=oracle_return(task),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.extras.subcommand_cli_from_dict({"oracle": oracle, "learn": learn})
