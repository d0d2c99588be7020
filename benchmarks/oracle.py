"""What can be earned at most, and without any skill?

A planner with the true dynamics, chance, and leaving the robot to itself.

    python -m benchmarks.oracle

The planner is iCEM with 120 candidates and 4 iterations inside the simulator itself, which is
generous; chance draws every action uniformly, and a zero action is no force. What has a result is
skipped.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import torch
import tyro
from benchmarks.common import RESULTS, about, write_result

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
UNSKILLED_EPISODES = 20


def measure(name: str, out: Path) -> None:
    """Measure a task's bounds and write them."""
    task, (horizon, episodes) = get_task(name), ORACLES[name]
    with closing(make_env(task)) as env:
        spec = env_spec(env)
        spline = spline_for(spec, horizon)
    planner = MPC(Simulator(task, threads=1), ICEM(spline, ORACLE))
    found = evaluate(task, planner, episodes, seed=0)
    unskilled = {
        "random_return": RandomController(spec.action_low, spec.action_high),
        "zero_return": ConstantController(np.zeros(spec.action_dim)),
    }
    result = {
        **about("oracle"),
        "task": name,
        "seed": 0,
        "config": {"horizon": horizon, "optimizer": to_json(ORACLE)},
        "returns": found.returns.tolist(),
        "oracle_return": found.mean,
        **{
            name: evaluate(task, controller, UNSKILLED_EPISODES, seed=0).mean
            for name, controller in unskilled.items()
        },
        "wall_s": found.wall_s,
    }
    write_result(out / f"{name}.json", result)
    print(
        f"{name}: {found.mean:.2f} ± {found.std:.2f}",
        *(f"{of} {result[of]:.2f}" for of in unskilled),
    )


def main(tasks: tuple[str, ...] = tuple(ORACLES), out: Path = RESULTS / "oracle") -> None:
    """Measure the tasks that have no result yet.

    Args:
        tasks: which.
        out: folder of the results.
    """
    for name in tasks:
        if not (out / f"{name}.json").exists():
            measure(name, out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.cli(main)
