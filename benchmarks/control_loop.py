"""How regular is the control loop, and what do delays and faults do to the robot?

    python -m benchmarks.control_loop period     beside a bare loop that only sleeps
    python -m benchmarks.control_loop delay      actuators that obey late, compensated or not
    python -m benchmarks.control_loop faults     ten minutes in which everything goes wrong

The robot is simulated in real time in a process of its own, and the planner is another: what is
measured is the loop as a user runs it. The bare loop sleeps by ``clock_nanosleep`` to the same
deadlines in a process of its own at the same time, so that both meet the same disturbances.
"""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from benchmarks.common import RESULTS, Row, about
from benchmarks.loop_faults import measure_faults
from benchmarks.planning import publish

from mpc_robot.controllers.base import Controller
from mpc_robot.controllers.simulator_planner import simulator_planner
from mpc_robot.controllers.simulator_presets import simulator_preset
from mpc_robot.envs import Task, get_task
from mpc_robot.errors import RealTimeRefusedError
from mpc_robot.runtime.base import Plant, RobotState
from mpc_robot.runtime.histogram import Histogram
from mpc_robot.runtime.limits import CommandLimiter, CommandLimits
from mpc_robot.runtime.loop import ControlLoop, LoopStatus
from mpc_robot.runtime.mailbox import Mailbox
from mpc_robot.runtime.mujoco_plant import MuJoCoPlant, Realism
from mpc_robot.runtime.planner import PlannerProcess, Timing
from mpc_robot.runtime.safety import Safety, Watchdogs
from mpc_robot.runtime.scheduling import fifo_scheduling
from mpc_robot.runtime.sensing import Sensing

Floats = npt.NDArray[np.float64]
OUT = RESULTS / "control_loop"
SWINGUP, ARM = "CartpoleSwingup-v0", "ReacherTwoLink-v0"
RATES = (50.0, 100.0, 250.0, 500.0)


@dataclass(frozen=True)
class Options:
    """What every measurement takes.

    Attributes:
        json: print the result as one JSON object on the last line.
        quick: only see that everything runs; the numbers mean little.
        out: folder to write the result to.
    """

    json: bool = False
    quick: bool = False
    out: Path = OUT


@dataclass(frozen=True)
class Period(Options):
    """The regularity of the loop's ticks."""


@dataclass(frozen=True)
class Delay(Options):
    """What actuation delay does to the return, with and without compensation."""


@dataclass(frozen=True)
class Faults(Options):
    """What faults at random do.

    Attributes:
        seconds: how long they go on, s.
    """

    seconds: float = 600.0


class States:
    """A recorder of all states."""

    def __init__(self) -> None:
        """None yet."""
        self.states: list[RobotState] = []

    def state(self, state: RobotState) -> None:
        """Keep it."""
        self.states.append(state)

    def command(self, stamp: float, command: Floats) -> None:
        """Not kept."""

    def event(self, stamp: float, name: str, reason: str) -> None:
        """Not kept."""

    def close(self) -> None:
        """Nothing to do."""


def planner_for(task: Task) -> Controller:
    """The task's planner in its simulator, on one thread."""
    return simulator_planner(task, simulator_preset(task.name), threads=1)


@contextmanager
def rig(
    task: Task,
    rate: float,
    realism: Realism,
    timing: Timing,
    *,
    seed: int = 0,
    real_time: bool = False,
) -> Iterator[tuple[ControlLoop, States]]:
    """A loop on a simulated robot, as it begins, and what it records."""
    planner = PlannerProcess(planner_for(task), task, seed, timing)
    plant: Plant = MuJoCoPlant(task, seed, realism)
    try:
        sensing, states = Sensing(task), States()
        limits = CommandLimits(sensing.spec.action_low, sensing.spec.action_high)
        limiter = CommandLimiter(limits, 1.0 / rate, np.zeros(sensing.spec.action_dim))
        safety = Safety(limiter, Watchdogs(recover_after=0.0, blend=0.0))
        loop = ControlLoop(plant, planner, safety, rate, recorder=states, real_time=real_time)
        yield loop, states
    finally:
        plant.close()
        planner.close()


# Periods ------------------------------------------------------------------------------------------


class _Timespec(ctypes.Structure):
    """C's ``struct timespec``."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def bare_loop(rate: float, seconds: float, real_time: bool, told: Mailbox) -> None:
    """Sleep from deadline to deadline, and tell how late it was: median and 99%."""
    with fifo_scheduling() if real_time else nullcontext():
        lateness = sleep_lateness(rate, seconds)
    told.put(lateness.quantile(0.5), lateness.quantile(0.99))


def sleep_lateness(rate: float, seconds: float) -> Histogram:
    """How late a thread is that only sleeps from deadline to deadline."""
    libc, absolute = ctypes.CDLL(None, use_errno=True), 1
    lateness, period = Histogram(), round(1e9 / rate)
    deadline = time.monotonic_ns() + period // 2
    for _ in range(round(seconds * rate)):
        until = _Timespec(*divmod(deadline, 1_000_000_000))
        libc.clock_nanosleep(time.CLOCK_MONOTONIC, absolute, ctypes.byref(until), None)
        lateness.add((time.monotonic_ns() - deadline) * 1e-9)
        deadline += period
    return lateness


def be_busy() -> None:
    """Load a core for good."""
    while True:
        pass


@contextmanager
def busy_core(wanted: bool) -> Iterator[None]:
    """Another process that computes meanwhile, if wanted."""
    other = multiprocessing.get_context("fork").Process(target=be_busy, daemon=True)
    if wanted:
        other.start()
    try:
        yield
    finally:
        if wanted:
            other.terminate()
            other.join()


def measure_period(rate: float, loaded: bool, real_time: bool, seconds: float) -> list[Row]:
    """The loop and the bare loop at once, for ``seconds``."""
    told = Mailbox(2)
    with (
        busy_core(loaded),
        rig(get_task(SWINGUP), rate, Realism(), Timing(), real_time=real_time) as (loop, _),
    ):
        loop.run(1.0)
        bare = multiprocessing.get_context("fork").Process(
            target=bare_loop, args=(rate, seconds, real_time, told)
        )
        bare.start()
        status = loop.run(seconds)
        bare.join()
    got = told.get()
    if got is None:
        raise RuntimeError("bare loop: expected its lateness, got none; see its message above")
    name = f"{'real-time scheduling, ' if real_time else ''}{circumstances(rate, loaded)}"
    return period_rows(f"loop, {name}", status, f"bare sleep, {name}", got[1])


def circumstances(rate: float, loaded: bool) -> str:
    """Under which something is measured, in words."""
    return f"{rate:g} Hz, {'second core loaded' if loaded else 'idle'}"


def period_rows(case: str, status: LoopStatus, other: str, bare: Floats) -> list[Row]:
    """Lateness beside that of ``other``, ``[median, 99%]`` s; how old states and plans were."""
    rows, times = [], status.times
    for share, theirs in zip(("p50", "p99"), bare.tolist(), strict=True):
        jitter = times["jitter"][share]
        rows.append(Row(other, f"jitter_{share}", theirs, "s"))
        rows.append(Row(case, f"jitter_{share}", jitter, "s", other, jitter / theirs))
        for age in ("state_age", "plan_age"):
            rows.append(Row(case, f"{age}_{share}", times[age][share], "s"))
    rows.append(Row(case, "period_p99", times["period"]["p99"], "s"))
    rows.append(Row(case, "tick_p50", times["tick"]["p50"], "s"))
    missed = status.missed / max(status.ticks + status.missed, 1)
    return [*rows, Row(case, "missed_deadlines", missed, "1")]


def periods(options: Period) -> dict[str, Any]:
    """All rates, with and without another load or real time, as a result for disk."""
    rates, seconds = ((100.0,), 1.0) if options.quick else (RATES, 60.0)
    result, schedulings, notes = about("control_loop"), [False], []
    try:
        with fifo_scheduling():
            schedulings.append(True)
    except RealTimeRefusedError as error:
        notes.append(str(error))
    rows = [
        row
        for real_time, rate, loaded in itertools.product(schedulings, rates, (False, True))
        for row in measure_period(rate, loaded, real_time, seconds)
    ]
    return {**result, "rows": [asdict(row) for row in rows], "notes": notes}


# Delay --------------------------------------------------------------------------------------------


def measure_return(
    task: Task, realism: Realism, timing: Timing, seed: int, seconds: float
) -> float:
    """The return of an episode in real time, of rewards once per control period."""
    with rig(task, 100.0, realism, timing, seed=seed) as (loop, states):
        loop.run(seconds)
    return episode_return(task, states.states)


def episode_return(task: Task, states: list[RobotState]) -> float:
    """Rewards between states a control period apart; commands, where they cost, count as none."""
    sensing = Sensing(task)
    physics = np.array([state.physics for state in states])
    times = physics[:, 0]
    grid = np.arange(times[0], times[-1] + 1e-6, sensing.spec.dt)
    seen = np.array([sensing.observe(physics[k]) for k in np.searchsorted(times, grid - 1e-6)])
    nothing = np.zeros((len(seen) - 1, sensing.spec.action_dim))
    if task.reward is None:
        raise ValueError(f"task {task.name}: expected a known reward")
    return float(np.asarray(task.reward(seen[:-1], nothing, seen[1:])).sum())


DELAY = 0.03
"""Actuation delay that is injected, s."""
DELAYS = {
    "no delay": (Realism(), Timing()),
    "30 ms, compensated": (Realism(actuation_delay=DELAY), Timing(actuation_delay=DELAY)),
    "30 ms, not compensated": (Realism(actuation_delay=DELAY), Timing(compensate=False)),
}


def delays(options: Delay) -> dict[str, Any]:
    """Returns with and without delay and compensation, as a result for disk."""
    result, rows, returns = about("control_loop"), [], {}
    seeds, seconds = (1, 1.0) if options.quick else (5, 10.0)
    for task in map(get_task, (SWINGUP, ARM)):
        means: dict[str, float] = {}
        for name, (realism, timing) in DELAYS.items():
            case = f"{task.name}, {name}"
            returns[case] = [
                measure_return(task, realism, timing, seed, seconds) for seed in range(seeds)
            ]
            means[name] = float(np.mean(returns[case]))
            first = f"{task.name}, no delay"
            beside = (None, None) if case == first else (first, means[name] / means["no delay"])
            rows.append(Row(case, "return_mean", means[name], "1", *beside))
    return {**result, "rows": [asdict(row) for row in rows], "returns": returns, "notes": []}


def faults(options: Faults) -> dict[str, Any]:
    """What ten minutes of faults did, as a result for disk."""
    task = get_task("CartpoleBalance-v0")
    result = about("control_loop")
    seconds = 12.0 if options.quick else options.seconds
    rows, notes = measure_faults(task, planner_for(task), seconds)
    return {**result, "rows": [asdict(row) for row in rows], "notes": notes}


def main(argv: list[str] | None = None) -> None:
    """Measure, write, tell."""
    options = tyro.cli(Period | Delay | Faults, description=__doc__, args=argv)  # type: ignore[call-overload]
    torch.set_num_threads(1)
    measure = {Period: periods, Delay: delays, Faults: faults}[type(options)]
    name = type(options).__name__.lower()
    publish(measure(options), options.out / f"{name}.json", options.json)


if __name__ == "__main__":
    main()
