"""The pole on a cart in real time: a loop at 200 Hz over a planner at 50 Hz, made safe.

The cart is simulated in a process of its own that waits for nobody, its actuators obey 30 ms late
and its sensors are noisy; the planner is another process. Stop it with Ctrl-C, and have a look at
``loop.json`` while it runs. Reached: upright, to 8 degrees, in four of four seeds. From the root of
the repository: ``python -m examples.real_time``.
"""

import signal
from dataclasses import asdict
from pathlib import Path

import tyro
from examples.cart_pole import robot

from mpc_robot.controllers import ICEMConfig
from mpc_robot.runtime import (
    CommandLimiter,
    CommandLimits,
    ControlLoop,
    Damp,
    JointEnds,
    LoopReporter,
    LoopStatus,
    MuJoCoPlant,
    PlannerProcess,
    Realism,
    Safety,
    Timing,
    Watchdogs,
)

RATE = 200.0  # Hz
DELAY = 0.03  # s


def main(
    seconds: float = 10.0, seed: int = 0, compensate: bool = True, report: Path = Path("loop.json")
) -> LoopStatus:
    """Swing up; print what the loop has counted."""
    search = ICEMConfig(num_samples=20, num_elites=4, iterations=2, noise_beta=1.0)
    controller = robot.controller(search, horizon=1.2, knots=8)
    timing = Timing(compensate=compensate, actuation_delay=DELAY, sampling="linear")
    planner = PlannerProcess(controller, robot.task, seed, timing)
    plant = MuJoCoPlant(robot.task, seed, Realism(actuation_delay=DELAY, position_noise=0.001))

    limits = CommandLimits(low=[-1.0], high=[1.0], velocity=40.0)
    safety = Safety(
        CommandLimiter(limits, 1.0 / RATE, start=[0.0]),
        Watchdogs(state_age=0.1, plan_age=0.5),
        guards=[JointEnds(plant.model, deceleration=8.0, damping=20.0, margin=0.1)],
        action=Damp(plant.model, damping=5.0),
    )
    loop = ControlLoop(plant, planner, safety, RATE, sampling="linear")
    signal.signal(signal.SIGINT, lambda number, frame: loop.end())
    try:
        with LoopReporter(loop, report):
            status = loop.run(seconds)
    finally:
        plant.close()
        planner.close()
    for name, value in asdict(status).items():
        print(f"{name}: {value}")
    return status


if __name__ == "__main__":
    tyro.cli(main)
