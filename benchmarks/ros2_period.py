"""How regular is the control loop over ROS 2, and how old is what it acts on?

A simulated robot, the loop, its planner and a node of rclpy that has nothing but a timer of the
same rate are processes that run at the same time, so that all meet the same disturbances.

    ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST .venv-ros/bin/python -m benchmarks.ros2_period
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import torch
import tyro
from benchmarks.common import RESULTS, ROOT, Row, about
from benchmarks.control_loop import ARM, RATES, busy_core, circumstances, period_rows, planner_for
from benchmarks.planning import publish
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from mpc_robot.envs import get_task
from mpc_robot.runtime.control import ControlConfig, control_loop, model_of
from mpc_robot.runtime.histogram import Histogram
from mpc_robot.runtime.planner import PlannerProcess
from mpc_robot.runtime.ros2 import Ros2Plant, open_node

_POLL = 0.02  # s between looks for a first state


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        json: print the result as one JSON object on the last line.
        quick: only see that everything runs; the numbers mean little.
        out: file to write the result to.
    """

    json: bool = False
    quick: bool = False
    out: Path = RESULTS / "control_loop" / "ros2_period.json"


def run_loop(rate: float, seconds: float, asker: Connection) -> None:
    """Drive the robot; tell when that is so, and once asked, what came of ``seconds`` of it."""
    torch.set_num_threads(1)
    task = get_task(ARM)
    with (
        closing(PlannerProcess(planner_for(task), task)) as planner,
        open_node("measured") as node,
        closing(Ros2Plant(node, model_of(task))) as plant,
    ):
        while plant.read() is None:
            time.sleep(_POLL)
        loop = control_loop(plant, planner, task, ControlConfig(rate=rate))
        loop.run(2.0)
        asker.send(None)
        loop.run(told=asker.poll)
        asker.recv()
        asker.send(loop.run(seconds))


def run_timer(rate: float, seconds: float, asker: Connection) -> None:
    """As :func:`run_loop`, with the lateness of a timer's callbacks, ``[median, 99%]`` s."""
    rclpy.init()
    node, executor = Node("bare_timer"), SingleThreadedExecutor()
    executor.add_node(node)
    lateness, clock, due = Histogram(), Clock(clock_type=ClockType.STEADY_TIME), 0

    def tick() -> None:
        """Count how late this is, and note when the next one is due."""
        nonlocal due
        lateness.add(1e-9 * (clock.now().nanoseconds - due))
        due = timer.time_until_next_call() + clock.now().nanoseconds

    asker.send(None)
    asker.recv()
    timer = node.create_timer(1.0 / rate, tick, clock=clock)
    due = timer.time_until_next_call() + clock.now().nanoseconds
    ended = time.monotonic() + seconds
    while time.monotonic() < ended:
        executor.spin_once(timeout_sec=0.1)
    rclpy.try_shutdown()
    asker.send(np.array([lateness.quantile(0.5), lateness.quantile(0.99)]))


@contextmanager
def peer(work: Callable[..., None], rate: float, seconds: float) -> Iterator[Connection]:
    """A process that works."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=work, args=(rate, seconds, theirs))
    process.start()
    theirs.close()  # so that its end is noticed
    try:
        yield ours
        process.join()
    finally:
        process.kill()


def measure_period(rate: float, loaded: bool, seconds: float) -> list[Row]:
    """Loop and timer at once, for ``seconds``."""
    with peer(run_timer, rate, seconds) as timer, peer(run_loop, rate, seconds) as loop:
        for process in (timer, loop):
            process.recv()
        with busy_core(loaded):
            for process in (timer, loop):
                process.send(None)
            status, bare = loop.recv(), timer.recv()
    name = circumstances(rate, loaded)
    return period_rows(f"loop over ROS 2, {name}", status, f"bare rclpy timer, {name}", bare)


@contextmanager
def simulated_robot() -> Iterator[None]:
    """A robot that speaks ROS 2."""
    words = [sys.executable, "-m", "mpc_robot", "ros2-sim", "--task", ARM]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL) as robot:
        try:
            yield
        finally:
            robot.terminate()


def measure(options: Options) -> dict[str, Any]:
    """All rates, with and without another load, as a result for disk."""
    rates, seconds = ((100.0,), 2.0) if options.quick else (RATES, 60.0)
    result = about("ros2_period")
    with simulated_robot():
        rows = [
            row
            for rate in rates
            for loaded in (False, True)
            for row in measure_period(rate, loaded, seconds)
        ]
    return {**result, "rows": [asdict(row) for row in rows], "notes": []}


def main() -> None:
    """Measure, write, tell."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    publish(measure(options), options.out, options.json)


if __name__ == "__main__":
    main()
