"""The system's scheduler does as it is told, or it is said what is missing."""

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import numpy as np
import pytest

from mpc_robot.controllers import RandomController
from mpc_robot.envs import env_spec, get_task, make_env
from mpc_robot.errors import RealTimeRefusedError
from mpc_robot.runtime.control import ControlConfig, Drive, control_loop
from mpc_robot.runtime.lockstep import GymnasiumPlant
from mpc_robot.runtime.loop import ControlLoop
from mpc_robot.runtime.planner import InStep, PlannerProcess
from mpc_robot.runtime.scheduling import PRIORITY, fifo_scheduling

TASK = get_task("CartpoleBalance-v0")
SPEC = env_spec(make_env(TASK))
CONFIG = ControlConfig(rate=1.0 / SPEC.dt, real_time=True)
ORDINARY = (os.SCHED_OTHER, 0)
FIRST = (os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, PRIORITY)
NOBODY = 65_534
InChild = Callable[[Callable[[], None]], int]


def scheduling(pid: int = 0) -> tuple[int, int]:
    """Policy and priority of a process, or of this thread."""
    return os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority


def be_nobody() -> None:
    """Give up all privileges."""
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    os.setuid(NOBODY)


@pytest.fixture
def permitted() -> None:
    try:
        with fifo_scheduling():
            pass
    except RealTimeRefusedError as error:
        pytest.skip(str(error))


@pytest.fixture
def root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give up privileges")


@pytest.mark.usefixtures("permitted")
def test_it_is_this_thread_alone_and_for_a_while(in_child: InChild) -> None:
    seen: list[tuple[int, int]] = []

    def see() -> None:
        seen.append(scheduling())
        assert seen[-1] == ORDINARY  # for a child, which cannot append to our list

    assert scheduling() == ORDINARY
    with pytest.raises(KeyError), fifo_scheduling():
        assert scheduling() == FIRST
        thread = threading.Thread(target=see)
        thread.start()
        thread.join()
        assert in_child(see) == 0
        raise KeyError
    assert scheduling() == ORDINARY and seen == [ORDINARY]


class Watched(GymnasiumPlant):
    """A robot that notes how whoever commands it is scheduled."""

    def __init__(self) -> None:
        super().__init__(make_env(TASK), seed=0)
        self.seen: set[tuple[int, int]] = set()

    def write(self, command: np.ndarray) -> None:
        self.seen.add(scheduling())
        super().write(command)


@contextmanager
def rig() -> Iterator[tuple[Watched, ControlLoop, PlannerProcess]]:
    """A loop in real time, with a planner that is another process."""
    controller = RandomController(SPEC.action_low, SPEC.action_high)
    with closing(PlannerProcess(controller, TASK)) as planner, closing(Watched()) as plant:
        yield plant, control_loop(plant, planner, TASK, CONFIG), planner


@pytest.mark.usefixtures("permitted")
def test_every_tick_is_in_real_time_and_the_planner_never() -> None:
    with rig() as (plant, loop, planner):
        assert scheduling() == ORDINARY
        loop.run(0.1)
        assert plant.seen == {FIRST}
        assert scheduling() == ORDINARY
        deadline = time.monotonic() + 10.0
        while (pid := planner.pid) == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert scheduling(pid) == ORDINARY


@pytest.mark.usefixtures("permitted")
def test_a_drive_is_in_real_time_on_a_thread_of_its_own() -> None:
    with rig() as (plant, loop, _):
        drive = Drive(loop)
        while drive.going_on:  # to the end of the episode
            assert scheduling() == ORDINARY
        drive.end()
        assert plant.over and plant.seen == {FIRST}


@pytest.mark.usefixtures("root")
def test_who_may_not_is_told_what_is_missing_before_anything_is_sent(in_child: InChild) -> None:
    plant = Watched()
    planner = InStep(RandomController(SPEC.action_low, SPEC.action_high), TASK)

    def ask() -> None:
        be_nobody()
        with pytest.raises(RealTimeRefusedError, match="CAP_SYS_NICE, or an RLIMIT_RTPRIO of 1"):
            control_loop(plant, planner, TASK, CONFIG)
        assert scheduling() == ORDINARY and not plant.seen

    assert in_child(ask) == 0


@pytest.mark.usefixtures("root", "permitted")
def test_who_gave_up_privileges_meanwhile_is_ordinary_again(in_child: InChild) -> None:
    def ask() -> None:
        with fifo_scheduling():
            be_nobody()
        assert scheduling() == (os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, 0)
        with pytest.raises(RealTimeRefusedError), fifo_scheduling():
            pass

    assert in_child(ask) == 0
