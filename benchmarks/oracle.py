"""What do a planner with the true dynamics, chance, and leaving the robot to itself earn?

    python -m benchmarks.oracle

The planner is iCEM with 120 candidates and 4 iterations inside the simulator itself, which is
generous; chance draws every action uniformly, and a zero action leaves the robot to itself. What
has a result is skipped.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import torch
import tyro
from benchmarks.common import RESULTS, about, write_result

from mpc_robot.agents.dreamer import senses_spec
from mpc_robot.controllers import (
    ICEM,
    MPC,
    ConstantController,
    ICEMConfig,
    RandomController,
    spline_for,
)
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import env_spec, get_task, make_env
from mpc_robot.training.config import to_json
from mpc_robot.training.evaluation import evaluate

ORACLES = {
    "CartpoleSwingup-v0": (1.0, 3),
    "CartpoleBalance-v0": (1.0, 3),
    "Reacher-v5": (0.4, 20),
}
"""Tasks whose reward alone tells a planner with the true dynamics what to do: horizon (s) and
episodes of that planner."""
ORACLE = ICEMConfig(num_samples=120, iterations=4, num_elites=12)
UNSKILLED = {
    **dict.fromkeys(ORACLES, 20),
    "CartpoleSwingup-v0+repeat2": 20,
    "CartpoleBalance-v0+repeat2": 20,
    "CarRacing-v3+repeat4": 10,
}
"""Tasks, with actions held as learners hold them, and episodes of who has no skill there."""


def measure_planner(name: str, path: Path) -> None:
    """Measure what the planner earns on a task, and write it."""
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
    print(f"{name}: planner {found.mean:.2f} ± {found.std:.2f}")


def measure_unskilled(name: str, path: Path) -> None:
    """Measure what chance and a zero action earn on a task, and write it."""
    task = get_task(name)
    with closing(make_env(task)) as env:
        spec = senses_spec(env)
    controllers = {
        "random_return": RandomController(spec.action_low, spec.action_high),
        "zero_return": ConstantController(np.zeros(spec.action_dim)),
    }
    config = {"episodes": UNSKILLED[name]}
    result = {**about("unskilled"), "task": name, "seed": 0, "config": config, "wall_s": 0.0}
    for whose, controller in controllers.items():
        found = evaluate(task, controller, UNSKILLED[name], seed=0)
        result[whose] = found.mean
        result["wall_s"] += found.wall_s
        print(f"{name}: {whose} {found.mean:.2f} ± {found.std:.2f}")
    write_result(path, result)


def main(out: Path = RESULTS) -> None:
    """Measure what has no result yet.

    Args:
        out: folder of the results, which go to its folders ``oracle`` and ``unskilled``.
    """
    kinds = (("oracle", ORACLES, measure_planner), ("unskilled", UNSKILLED, measure_unskilled))
    for kind, tasks, measure in kinds:
        for name in tasks:
            path = out / kind / f"{name}.json"
            if not path.exists():
                measure(name, path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.cli(main)
