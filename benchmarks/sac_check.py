"""Does our SAC learn as Stable-Baselines3's does? Both with the same settings.

    python -m benchmarks.sac_check run        learn what has no result yet
    python -m benchmarks.sac_check compare    the returns side by side, into compare.json

Equal are what is seen, networks, rates, discount, batch, replay, random steps at first, updates per
step and each evaluation. What remains: initial weights; how the logarithm of the policy's standard
deviation is kept within bounds (theirs is cut to [-20, 2], ours squashed into [-5, 2]); actions as
critics see them, theirs scaled to [-1, 1], half of Pendulum's; and that theirs begin a step later.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import tyro
from benchmarks.baseline_settings import SACSettings
from benchmarks.common import RESULTS, ROOT, Row, about, write_result
from benchmarks.learning import Result, learn_missing, learn_ours, learn_theirs, learning_result
from benchmarks.workers import in_processes

from mpc_robot.agents.actor_critic import ActorCriticConfig
from mpc_robot.agents.sac import SACConfig
from mpc_robot.envs import Task, get_task, make_env
from mpc_robot.training.config import to_json
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.runs import versions
from mpc_robot.training.seeding import TRAINING, derive_seed
from mpc_robot.training.trainer import TrainConfig

FOLDER = RESULTS / "sac_check"
OURS, THEIRS = "sac", "sb3-sac"
SETTINGS = SACSettings(learning_starts=1_000)
TASKS = ("Pendulum-v1", "HalfCheetah-v5")
SEEDS = (0, 1, 2)


def ours(settings: SACSettings) -> SACConfig:
    """Our words for the settings."""
    return SACConfig(
        ActorCriticConfig(
            hidden=settings.hidden,
            critic_hidden=settings.hidden,
            learning_rate=settings.learning_rate,
            tau=settings.tau,
        ),
        discount=settings.gamma,
        batch_size=settings.batch_size,
        updates_per_step=settings.gradient_steps,
        warmup_steps=settings.learning_starts,
        capacity=settings.buffer_size,
    )


def learn(config: TrainConfig, path: Path) -> Result:
    """Learn to the end in a folder; ours goes on with the run that is there, theirs begins again.

    Raises:
        ImportError: if Stable-Baselines3 is not installed and it is theirs.
        ValueError: if there is a run of ours with other settings.
    """
    if config.agent == OURS:
        learn_ours(config, ours(SETTINGS), path)
    else:
        learn_theirs(config, SETTINGS, path, _learn)
    return {**learning_result(RunFolder(path)), "benchmark": "sac_check"}


def learn_alone(config: TrainConfig, path: Path) -> Result:
    """The same in a process of its own, on one thread."""
    torch.set_num_threads(1)
    return learn(config, path)


def as_policies_see(task: Task) -> Task:
    """A task observed by those entries alone that our policies see."""
    observe, entries = task.observe, task.policy_inputs
    if observe is None or entries is None:
        return task
    return replace(task, observe=lambda fields: observe(fields)[..., list(entries)])


def _learn(config: TrainConfig, folder: RunFolder) -> None:
    """Stable-Baselines3's SAC; it draws from the global generators."""
    from benchmarks.baselines import Evaluations, make_model  # noqa: PLC0415 - needs an extra
    from stable_baselines3.common.vec_env import DummyVecEnv  # noqa: PLC0415

    task = as_policies_see(get_task(config.task))
    folder.path.mkdir(parents=True, exist_ok=True)
    known = {**versions(), "stable-baselines3": version("stable-baselines3")}
    folder.write_config({"train": to_json(config), "agent": to_json(SETTINGS), "versions": known})
    with closing(DummyVecEnv([partial(make_env, task)])) as envs, folder.open_metrics() as log:
        model = make_model(SETTINGS, envs, derive_seed(config.seed, TRAINING))
        model.learn(config.steps, Evaluations(config, task, log))


def run(
    *,
    tasks: tuple[str, ...] = TASKS,
    seeds: tuple[int, ...] = SEEDS,
    steps: int = 20_000,
    eval_every: int = 1_000,
    episodes: int = 10,
    processes: int = 1,
    runs: Path = ROOT / "runs" / "sac_check",
    results: Path = FOLDER,
) -> None:
    """Learn what has no result yet, ours and theirs.

    Args:
        tasks: what to learn.
        seeds: from each of which both learn.
        steps: env steps of a run.
        eval_every: env steps between evaluations.
        episodes: of an evaluation.
        processes: runs at a time.
        runs: folder of the runs.
        results: folder of the results.
    """
    cases = [
        TrainConfig(agent, task, seed, steps, eval_every, episodes, checkpoint_every=eval_every)
        for seed in seeds
        for task in tasks
        for agent in (OURS, THEIRS)
    ]
    spread = partial(in_processes, learn_alone, processes=processes)
    learn_missing(cases, runs, results, spread)


def compare(results: Path = FOLDER) -> None:
    """Print what the results say of each task, and write it to ``compare.json``.

    Args:
        results: folder of the results.
    """
    found = [json.loads(path.read_text()) for path in sorted(results.glob("*-seed-*.json"))]
    rows = compared(found)
    write_result(
        results / "compare.json", {**about("sac_check"), "rows": [asdict(row) for row in rows]}
    )
    for row in rows:
        beside = "" if row.ratio is None else f"  {row.ratio:.2f} of {row.of}"
        print(f"{row.case}  {row.metric} {row.value:.5g} {row.unit}{beside}")


def compared(results: Sequence[Result]) -> list[Row]:
    """Means over seeds, of ours beside theirs: last return, mean return of the run, time a step."""
    rows = []
    for task in sorted({result["task"] for result in results}):
        theirs = _means([r for r in results if (r["task"], r["agent"]) == (task, THEIRS)])
        mine = _means([r for r in results if (r["task"], r["agent"]) == (task, OURS)])
        rows += [Row(f"{task} {THEIRS}", *one) for one in theirs]
        for i, (metric, value, unit) in enumerate(mine):
            of, known = (f"{task} {THEIRS}", theirs[i][1]) if theirs else (None, 0.0)
            ratio = value / known if known > 0 else None
            rows.append(Row(f"{task} {OURS}", metric, value, unit, of, ratio))
    return rows


def _means(results: Sequence[Result]) -> list[tuple[str, float, str]]:
    """Each metric, its mean over seeds and its unit; nothing where there are no results."""
    if not results:
        return []
    return [
        ("last_return", float(np.mean([r["return_mean"][-1] for r in results])), "1"),
        ("mean_return", float(np.mean([np.mean(r["return_mean"]) for r in results])), "1"),
        ("time_per_step", float(np.mean([_step_time(r) for r in results])), "s"),
    ]


def _step_time(result: Result) -> float:
    """Seconds of a run per env step, evaluations left out."""
    return float(result["wall_s"][-1] / result["env_steps"][-1])


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"run": run, "compare": compare})
