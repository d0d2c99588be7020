"""How good and how fast is planning in the simulator itself?

    python -m benchmarks.simulator_mpc play     whole episodes of every case and seed
    python -m benchmarks.simulator_mpc compare  every optimizer at equal candidates, on every task
    python -m benchmarks.simulator_mpc speed    a plan against the rollouts that it asks MuJoCo for

``play`` and ``compare`` skip what is done, so that both can be interrupted; split ``play`` with
``--cases`` and ``--seeds``. Latencies are by the clock, with all cores: let nothing run beside.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from benchmarks.common import RESULTS, Row, about, write_result
from mujoco.batch import Batch
from torch import Tensor

from mpc_robot.controllers import (
    ILQR,
    CEMConfig,
    Controller,
    ICEMConfig,
    ILQRConfig,
    MPPIConfig,
    OptimizerConfig,
    PredictiveSamplingConfig,
)
from mpc_robot.controllers.simulator_planner import PlannerConfig, simulator_planner
from mpc_robot.controllers.simulator_presets import TENFOLD, simulator_preset
from mpc_robot.dynamics.base import Trajectories
from mpc_robot.dynamics.simulator import Simulator, SimulatorState
from mpc_robot.envs import Task, env_spec, get_task, make_env, physics_state
from mpc_robot.training.config import to_json
from mpc_robot.training.evaluation import Evaluation, evaluate

FOLDER = RESULTS / "simulator_mpc"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One planner on one task, and what is asked of it.

    Attributes:
        task: the task's name.
        planner: how it plans.
        asked: return to reach on every seed, or None.
        episodes: per seed.
    """

    task: str
    planner: PlannerConfig | ILQRConfig
    asked: float | None = None
    episodes: int = 1


def _preset(task: str, asked: float | None = None, episodes: int = 1) -> Case:
    return Case(task, simulator_preset(task), asked, episodes)


CASES = {
    "HalfCheetah-v5": _preset("HalfCheetah-v5", 6_500),
    "HalfCheetah-v5-tenfold": Case("HalfCheetah-v5", TENFOLD["HalfCheetah-v5"], 12_000),
    "Walker2d-v5": _preset("Walker2d-v5", 5_500),
    "Hopper-v5": _preset("Hopper-v5", 2_500),
    "Swimmer-v5": _preset("Swimmer-v5", 340),
    "InvertedPendulum-v5": _preset("InvertedPendulum-v5", 1_000),
    "InvertedDoublePendulum-v5": _preset("InvertedDoublePendulum-v5", 9_300),
    "Reacher-v5": _preset("Reacher-v5", -3.7, 20),
    "Reacher-v5-ilqr": Case("Reacher-v5", ILQRConfig(0.5, iterations=2, step_sizes=8), -3.7, 20),
    "Reacher-v5-ilqr-tenfold": Case("Reacher-v5", ILQRConfig(0.5, 10, step_sizes=16), None, 20),
    "CartpoleSwingup-v0": _preset("CartpoleSwingup-v0"),
    "CartpoleSwingup-v0-tenfold": Case("CartpoleSwingup-v0", TENFOLD["CartpoleSwingup-v0"]),
    "CartpoleSwingup-v0-ilqr": Case("CartpoleSwingup-v0", ILQRConfig(horizon=1.2)),
    "CartpoleBalance-v0": _preset("CartpoleBalance-v0"),
}
OPTIMIZERS: dict[str, Callable[[int], OptimizerConfig]] = {
    "cem": lambda n: CEMConfig(num_samples=n // 3, iterations=3, num_elites=max(2, n // 24)),
    "icem": lambda n: ICEMConfig(num_samples=n * 10 // 25, num_elites=max(2, n // 24)),
    "mppi": lambda n: MPPIConfig(num_samples=n // 3, iterations=3, temperature=0.5),
    "predictive-sampling": lambda n: PredictiveSamplingConfig(num_samples=n, noise_std=0.3),
}
"""Every sampling optimizer with about ``n`` candidates in a plan."""


# Whole episodes.


class Timed:
    """A Controller with a watch: wall-clock seconds of every ``act``."""

    def __init__(self, controller: Controller) -> None:
        """Time ``controller``."""
        self.controller, self.observes, self.reset = (
            controller,
            controller.observes,
            controller.reset,
        )
        self.seconds: list[float] = []

    @property
    def plan(self) -> Any:
        """The controller's plan."""
        return self.controller.plan

    def act(self, sensed: Floats) -> Floats:
        """As the controller does."""
        started = time.perf_counter()
        action = self.controller.act(sensed)
        self.seconds.append(time.perf_counter() - started)
        return action


def prepared(case: Case, threads: int) -> tuple[Task, Controller, Simulator]:
    """The task as the planner acts on it, the planner, and its simulator."""
    task = get_task(case.task)
    if isinstance(case.planner, ILQRConfig):
        with closing(make_env(task)) as env:
            spec = env_spec(env)
        simulator = Simulator(task, threads)
        return task, ILQR(simulator, spec, case.planner), simulator
    planner = simulator_planner(task, case.planner, threads=threads)
    assert isinstance(planner.dynamics, Simulator)
    return case.planner.acted_on(task), planner, planner.dynamics


def played(case: Case, seed: int, threads: int, steps: int | None = None) -> dict[str, Any]:
    """Episodes of a case from one seed, as a result."""
    task, planner, simulator = prepared(case, threads)
    timed = Timed(planner)
    evaluation = evaluate(task, timed, case.episodes, seed, max_steps=steps)
    with closing(make_env(task)) as env:
        period = env_spec(env).dt
    every = getattr(planner, "replan_every", 1)
    return {
        **about("simulator_mpc"),
        "task": case.task,
        "seed": seed,
        "config": to_json(case.planner),
        "asked": case.asked,
        "threads": threads,
        **_outcome(evaluation),
        **_pace(np.array(timed.seconds), every, period, simulator),
    }


def _outcome(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "returns": evaluation.returns.tolist(),
        "return_mean": evaluation.mean,
        "lengths": evaluation.lengths.tolist(),
        "terminated": evaluation.terminated.tolist(),
        "wall_s": evaluation.wall_s,
    }


def _pace(seconds: Floats, every: int, period: float, simulator: Simulator) -> dict[str, Any]:
    """Latency of the steps that plan, and how many times faster than the robot they are."""
    plans = np.sort(seconds)[-(len(seconds) // every) :]
    p50, p99 = np.quantile(plans, [0.5, 0.99])
    return {
        "control_period_s": period,
        "replan_every": every,
        "plan_latency_p50_s": float(p50),
        "plan_latency_p99_s": float(p99),
        "real_time_factor": float(period * len(seconds) / seconds.sum()),
        "late_share": float((plans > period * every).mean()),
        "physics_steps_per_s": float(simulator.physics_steps / seconds.sum()),
        "diverged": simulator.diverged,
    }


def play(
    cases: tuple[str, ...] = tuple(CASES),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    threads: int = 0,
) -> None:
    """Whole episodes of every case and seed."""
    for name in cases:
        for seed in seeds:
            _write_once(
                f"play-{name}-seed-{seed}", lambda n=name, s=seed: played(CASES[n], s, threads)
            )


def compare(
    tasks: tuple[str, ...] = tuple(sorted({case.task for case in CASES.values()})),
    candidates: int = 120,
    steps: int = 100,
    threads: int = 0,
) -> None:
    """The first steps of an episode by every optimizer, all with the task's preset otherwise."""
    for task in tasks:
        for name, config in OPTIMIZERS.items():
            planner = replace(simulator_preset(task), optimizer=config(candidates))
            case = Case(task, planner)
            _write_once(f"compare-{task}-{name}", lambda c=case: played(c, 0, threads, steps))
        ilqr = Case(task, ILQRConfig(horizon=simulator_preset(task).horizon))
        _write_once(f"compare-{task}-ilqr", lambda c=ilqr: played(c, 0, threads, steps))


def _write_once(name: str, measure: Callable[[], dict[str, Any]]) -> None:
    path = FOLDER / f"{name}.json"
    if path.exists():
        return
    result = {"case": name, **measure()}
    write_result(path, result)
    latency = f"{1e3 * result['plan_latency_p50_s']:.1f} ms"
    print(f"{name}: {result['return_mean']:.2f}, a plan takes {latency}", flush=True)


# A plan against nothing but its physics.


class Recorder:
    """A Dynamics that remembers which trajectories it was asked for."""

    def __init__(self, simulator: Simulator) -> None:
        """Ask ``simulator``."""
        self.simulator, self.observes, self.start = simulator, simulator.observes, simulator.start
        self.step = simulator.step
        self.asked: list[tuple[Floats, Floats]] = []

    def rollout(self, state: SimulatorState, actions: Tensor, rng: torch.Generator) -> Trajectories:
        """As the simulator does."""
        self.asked.append((state.physics, actions.numpy().astype(np.float64)))
        return self.simulator.rollout(state, actions, rng)


def share(task: str, config: PlannerConfig, threads: int, rounds: int) -> list[Row]:
    """Plans in turns with ``Batch.rollout`` of the same physics steps, and nothing else."""
    planner = simulator_planner(get_task(task), config, threads=threads)
    assert isinstance(planner.dynamics, Simulator)
    simulator = planner.dynamics
    recorder = Recorder(simulator)
    planner.dynamics = recorder
    batches: dict[int, Batch] = {}
    with closing(make_env(get_task(task))) as env:
        env.reset(seed=0)
        sensed = physics_state(env)

    def raw() -> None:
        """The physics that the last plan asked for."""
        for physics, actions in recorder.asked:
            batch = batches.setdefault(
                len(actions), Batch(simulator.model, len(actions), nthread=threads)
            )
            batch.state[:] = physics
            held = actions.repeat(simulator.frame_skip, axis=1)
            batch.rollout(held.shape[1], held, record=("qpos", "qvel"))

    times, steps = np.empty((rounds, 2)), 0
    for i in range(-2, rounds):
        recorder.asked.clear()
        before, started = simulator.physics_steps, time.perf_counter()
        planner.act(sensed)
        steps, planned = simulator.physics_steps - before, time.perf_counter()
        raw()
        times[i] = planned - started, time.perf_counter() - planned
    kind = type(config.optimizer).__name__.removesuffix("Config")
    case = f"{kind} {task}, {threads} thread{'s' if threads > 1 else ''}"
    typical = np.quantile(times, 0.25, axis=0)
    ratio = float(np.median(times[:, 1] / times[:, 0]))
    limit = "Batch.rollout alone"
    return [
        Row(case, "plan_time", float(typical[0]), "s"),
        Row(case, "physics_steps_per_s", float(steps / typical[0]), "1/s", limit, ratio),
    ]


def speed(rounds: int = 40, quick: bool = False) -> None:
    """Share of the raw throughput that whole plans of 64 x 30 reach, by task and optimizer."""
    rows = []
    searches: dict[str, OptimizerConfig] = {
        "cem": CEMConfig(num_samples=64, num_elites=8, iterations=1),
        "icem": ICEMConfig(num_samples=64, num_elites=8, iterations=1),
        "mppi": MPPIConfig(num_samples=64),
        "predictive-sampling": PredictiveSamplingConfig(num_samples=64),
    }
    for task in ("HalfCheetah-v5",) if quick else ("HalfCheetah-v5", "Swimmer-v5", "Ant-v5"):
        with closing(make_env(get_task(task))) as env:
            horizon = 30 * env_spec(env).dt
        for search in searches.values():
            for threads in (1, 2):
                config = PlannerConfig(optimizer=search, horizon=horizon)
                rows += share(task, config, threads, 2 if quick else rounds)
                print(rows[-1], flush=True)
    path = Path("/dev/null") if quick else FOLDER / "speed.json"
    if not quick:
        write_result(path, {**about("simulator_mpc"), "rows": [vars(row) for row in rows]})


if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.extras.subcommand_cli_from_dict({"play": play, "compare": compare, "speed": speed})
