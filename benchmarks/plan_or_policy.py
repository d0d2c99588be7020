"""Who acts better, a trained policy or a plan in the model that it was trained in?

    python -m benchmarks.plan_or_policy runs/sample_efficiency/dhmbpo-Hopper-v5-seed-0 ...

Both act with what one run had learned by its last checkpoint, from the same starts: the policy as
it is, and a plan closed by its critics. Plans of dhmbpo are sought around what the policy proposes;
those of dreamer in latent space, without the policy.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from benchmarks.common import RESULTS, Row, about
from benchmarks.planning import publish

from mpc_robot.cli.eval import planner_of
from mpc_robot.training.evaluation import Evaluation, evaluate
from mpc_robot.training.runs import open_run


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        runs: folders of runs of the agents dhmbpo, dreamer, dreamer-v2 and dreamer-v1.
        json: print each result as one JSON object.
        episodes: of each.
        max_steps: truncate episodes after so many steps; None for the task's own limit.
        out: folder for the results.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    json: bool = False
    episodes: int = 5
    max_steps: int | None = None
    out: Path = RESULTS / "plan_or_policy"


def measure(path: Path, options: Options) -> dict[str, Any]:
    """One run's policy, and a plan in its model, as a result for disk."""
    run = open_run(path)
    seed, config = run.evaluation_seed, run.config
    case = f"{config.task} seed {config.seed} at {run.progress.env_step:,} steps"
    controllers = {"policy": run.agent.controller(), "plan": planner_of(run)}
    found = {
        who: evaluate(run.task, controller, options.episodes, seed, max_steps=options.max_steps)
        for who, controller in controllers.items()
    }
    rows = [
        *_rows(f"{case}, policy", found["policy"]),
        *_rows(f"{case}, plan", found["plan"], f"{case}, policy", found["policy"]),
    ]
    returns = {who: evaluation.returns.tolist() for who, evaluation in found.items()}
    return {
        **about("plan_or_policy"),
        "agent": config.agent,
        "task": config.task,
        "seed": config.seed,
        "episodes": options.episodes,
        "env_step": run.progress.env_step,
        "rows": [asdict(row) for row in rows],
        "returns": returns,
        "notes": [],
    }


def _rows(
    case: str, found: Evaluation, of: str | None = None, beside: Evaluation | None = None
) -> list[Row]:
    """Return, and time of an env step by the clock, with the environment and its frames."""
    ratio = None if beside is None else found.mean / beside.mean
    per_step = found.wall_s / found.lengths.sum()
    return [
        Row(case, "return_mean", found.mean, "1", of, ratio),
        Row(case, "time_per_step", float(per_step), "s"),
    ]


def main(argv: list[str] | None = None) -> None:
    """Measure, write, tell."""
    options = tyro.cli(Options, description=__doc__, args=argv)
    torch.set_num_threads(1)
    for path in options.runs:
        result = measure(path, options)
        parts = (result[part] for part in ("agent", "task", "seed", "env_step"))
        publish(result, options.out / "{}-{}-seed-{}-{}.json".format(*parts), options.json)


if __name__ == "__main__":
    main()
