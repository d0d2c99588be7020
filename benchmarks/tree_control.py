"""How good is tree search at continuous control, beside CEM with as much physics?

    python -m benchmarks.tree_control
    python -m benchmarks.tree_control --cases tree-search --seeds 0 1

Whole episodes of swinging a pole up, planned in the simulator itself. ``cem`` and ``icem`` have as
many physics steps per control step as the tree search, are asked as seldom, and hold their actions
as long; the task's preset has over twenty times as many. Physics steps are those that the
simulator counted. What is done is skipped, so that it can be interrupted.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from benchmarks.common import RESULTS, Row, about, write_result

from mpc_robot.controllers import CEMConfig, Controller, ICEMConfig
from mpc_robot.controllers.simulator_planner import PlannerConfig, simulator_planner
from mpc_robot.controllers.simulator_presets import simulator_preset
from mpc_robot.controllers.tree_planner import SampledTreeConfig, tree_planner
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import get_task
from mpc_robot.training.config import to_json
from mpc_robot.training.evaluation import evaluate

TASK, TREE = "CartpoleSwingup-v0", "tree-search"
_TREE = SampledTreeConfig()
# 1.28 s are 128 physics steps: 28 candidates every eighth control step come to 448 in each.
_SELDOM = partial(PlannerConfig, horizon=1.28, knots=8, replan_every=_TREE.hold)
CASES: dict[str, SampledTreeConfig | PlannerConfig] = {
    TREE: _TREE,
    "cem": _SELDOM(CEMConfig(14, num_elites=4, iterations=2)),
    "icem": _SELDOM(ICEMConfig(15, num_elites=4, iterations=2)),
    "icem, the preset": simulator_preset(TASK),
}


def prepared(config: SampledTreeConfig | PlannerConfig) -> tuple[Controller, Simulator]:
    """The controller of a case, and the simulator that it asks."""
    task = get_task(TASK)
    if isinstance(config, PlannerConfig):
        planner = simulator_planner(task, config, threads=1)
        assert isinstance(planner.dynamics, Simulator)
        return planner, planner.dynamics
    search = tree_planner(task, config, threads=1)
    return search, search.model.dynamics.simulator


def played(case: str, seed: int, max_steps: int | None = None) -> dict[str, Any]:
    """An episode of a case from one seed, as a result for disk."""
    controller, simulator = prepared(CASES[case])
    evaluation = evaluate(get_task(TASK), controller, 1, seed, max_steps=max_steps)
    steps = int(evaluation.lengths.sum())
    settings = json.dumps(to_json(CASES[case]))
    return {
        **about("tree_control"),
        "task": TASK,
        "case": case,
        "seed": seed,
        "config": json.loads(settings, parse_constant=lambda endless: None),
        "return_mean": evaluation.mean,
        "steps": steps,
        "physics_steps_per_step": simulator.physics_steps / steps,
        "time_per_step": evaluation.wall_s / steps,
    }


METRICS: dict[str, tuple[str, Callable[[list[float]], float]]] = {
    "return_mean": ("return_mean", statistics.fmean),
    "return_of_worst_seed": ("return_mean", min),
    "physics_steps_per_control_step": ("physics_steps_per_step", statistics.fmean),
}
"""Metric -> (what of each seed's result, how it is summed up)."""


def rows(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Row]:
    """Of every case, with a result per seed: returns and physics, as multiples of tree search's."""
    found = []
    for metric, (key, summed) in METRICS.items():
        values = {case: summed([one[key] for one in of]) for case, of in results.items()}
        for case, value in values.items():
            beside = (None, None) if case == TREE else (TREE, value / values[TREE])
            found.append(Row(case, metric, value, "1", *beside))
    return found


def main(
    cases: tuple[str, ...] = tuple(CASES),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    out: Path = RESULTS / "tree_control",
    max_steps: int | None = None,
) -> None:
    """Play what has no result yet, and then compare.

    Args:
        cases: who plays.
        seeds: of the episodes.
        out: folder of the results.
        max_steps: truncate episodes after so many steps; None for the task's own limit.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        for seed in seeds:
            path = out / f"{case.replace(', ', '-').replace(' ', '-')}-seed-{seed}.json"
            if not path.exists():
                write_result(path, played(case, seed, max_steps))
            results.setdefault(case, []).append(json.loads(path.read_text()))
            last = results[case][-1]
            print(f"{case}, seed {seed}: {last['return_mean']:.1f}", flush=True)
    compared = [asdict(row) for row in rows(results)]
    write_result(out / "tree_control.json", {**about("tree_control"), "rows": compared})


if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.cli(main)
