"""What does caution do for a planner whose model has seen little?

    python -m benchmarks.caution

PETS learns each task for a few steps only. Then the same model plans whole episodes with more and
less caution: with a penalty on what its members disagree on, and with horizons that end where they
disagree too much. Deviations are measured in standard deviations of what was seen.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.common import RESULTS, Row, about
from benchmarks.planning import measure_and_publish

from mpc_robot.agents.pets import PETS
from mpc_robot.agents.pets_presets import pets_preset
from mpc_robot.controllers import Caution
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.runs import start_run
from mpc_robot.training.trainer import TrainConfig

CAUTIONS = {
    "no caution": Caution(),
    "penalty 0.1": Caution(penalty=0.1),
    "penalty 0.3": Caution(penalty=0.3),
    "penalty 1": Caution(penalty=1.0),
    "trust 0.3": Caution(trust=0.3),
    "trust 0.1": Caution(trust=0.1),
}
STEPS = {"CartpoleBalance-v0": 250, "CartpoleSwingup-v0": 1_000}
"""Env steps that the model learns from, fewer than the task needs."""


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        json: print the result as one JSON object on the last line.
        quick: only see that everything runs; the numbers mean little.
        tasks: which tasks.
        out: where to write the result.
    """

    json: bool = False
    quick: bool = False
    tasks: tuple[str, ...] = tuple(STEPS)
    out: Path = RESULTS / "caution" / "caution.json"


def returns(task: str, seed: int, steps: int, max_steps: int | None) -> dict[str, float]:
    """Mean return of two episodes by caution, of one model."""
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            task=task, agent="pets", seed=seed, steps=steps, eval_every=10**9, eval_episodes=1
        )
        trainer = start_run(Path(folder) / "run", config, pets_preset(task))
        trainer.train()
    agent = trainer.agent
    if not isinstance(agent, PETS):
        raise TypeError(f"agent: expected PETS, got {agent!r}")
    seen = agent.replay.all().observation
    scale = tuple(np.maximum(np.asarray(seen).std(axis=0), 1e-3).tolist())
    found = {}
    for name, caution in CAUTIONS.items():
        planner = agent.controller()
        planner.caution = Caution(caution.penalty, caution.trust, scale)
        found[name] = evaluate(trainer.task, planner, 2, seed, max_steps=max_steps).mean
    return found


def measure(options: Options) -> dict[str, Any]:
    """Everything, as a result for disk."""
    result, rows, by_case = about("caution"), [], {}
    seeds = 1 if options.quick else 5
    for task in options.tasks:
        steps, max_steps = (210, 20) if options.quick else (STEPS[task], None)
        found = [returns(task, seed, steps, max_steps) for seed in range(seeds)]
        plain = f"{task} after {steps} steps, no caution"
        for name in CAUTIONS:
            case = f"{task} after {steps} steps, {name}"
            by_case[case] = [one[name] for one in found]
            mean = float(np.mean(by_case[case]))
            ratio = None if case == plain else mean / float(np.mean(by_case[plain]))
            rows.append(Row(case, "return_mean", mean, "1", plain if ratio else None, ratio))
    return {**result, "rows": [asdict(row) for row in rows], "returns": by_case, "notes": []}


def main(argv: list[str] | None = None) -> None:
    """Measure, write, tell."""
    measure_and_publish(Options, measure, __doc__, argv)


if __name__ == "__main__":
    main()
