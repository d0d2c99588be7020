"""``mpc-robot ros2`` and ``ros2-sim``: control a robot by messages, and be one."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Literal

import tyro
from rich.console import Console

from mpc_robot.cli.common import (
    Command,
    Common,
    CommonOptions,
    Outcome,
    parse,
    peek,
    with_optimizer,
)
from mpc_robot.cli.run import SIMULATOR, planner_in, planning
from mpc_robot.controllers.simulator_planner import PlannerConfig
from mpc_robot.envs import Task, get_task
from mpc_robot.errors import require
from mpc_robot.runtime.base import Clock
from mpc_robot.runtime.control import ControlConfig, Drive, arm, control_loop, model_of
from mpc_robot.runtime.joints import joint_names
from mpc_robot.runtime.loop import Recorder
from mpc_robot.runtime.planner import Planner, PlannerProcess, Timing
from mpc_robot.runtime.simulated_robot import Port, RobotConfig, SimulatedRobot
from mpc_robot.runtime.stamps import clock_of
from mpc_robot.runtime.topics import Topics

Transport = Literal["ros2", "dds"]
_POLL = 0.05  # s between looks at whether to end


@dataclass(frozen=True)
class Ros2:
    """Control a robot over ROS 2, with a planner in a process of its own.

    Topics and frames are those of --topics. Limits and watchdogs of --control can be changed live,
    as parameters of the node. Over dds there is no node: the loop runs and is armed at once.

    Attributes:
        task: what to do.
        planner: how to plan; what is not said is as is known to suit the task.
        controller: random-shooting, predictive-sampling, cem, icem, mppi or, in a learned model,
            gradient; its settings are those of --planner.optimizer.
        dynamics: the model to plan in: simulator, or the folder of a training run.
        control: how the robot is driven.
        timing: how plans are timed.
        budget: time, s, after which a plan is sent as good as it is.
        topics: names, types and quality of service.
        transport: ros2 (rclpy), or dds, which needs no ROS.
        wait: begin unconfigured, for others to configure, activate and arm the node.
        seconds: end after so long.
        record: MCAP file to record states, commands and events to.
        report: file for the counters of the loop, such as loop.json, once per s.
        seed: of the planner.
    """

    task: str
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    controller: str | None = None
    dynamics: str = SIMULATOR
    control: ControlConfig = field(default_factory=ControlConfig)
    timing: Timing = field(default_factory=Timing)
    budget: float = math.inf
    topics: Topics = field(default_factory=Topics)
    transport: Transport = "ros2"
    wait: bool = False
    seconds: float | None = None
    record: Path | None = None
    report: Path | None = None
    seed: int = 0
    ros_args: tyro.conf.Suppress[tuple[str, ...]] = ()
    common: Common = field(default_factory=CommonOptions)

    def __post_init__(self) -> None:
        """Raises ValueError if a setting makes no sense."""
        require(self.budget > 0, "budget", "positive", self.budget)
        require(self.seconds is None or self.seconds > 0, "seconds", "positive", self.seconds)
        sampling = self.timing.sampling in {"zero", self.control.sampling}
        require(sampling, "timing.sampling", "that of control.sampling", self.timing.sampling)
        for_node = self.wait or bool(self.ros_args)
        require(self.transport == "ros2" or not for_node, "transport", "ros2, for a node", "dds")

    def __call__(self, console: Console) -> Outcome:
        """Run until the time is up or a signal says so."""
        task = get_task(self.task)
        acted_on = self.planner.acted_on(task) if self.dynamics == SIMULATOR else task
        joint_names(model_of(acted_on))  # what cannot be driven shall not be begun
        controller = planner_in(self.dynamics, task, self.planner, self.common.threads)
        controller.budget = self.budget
        clock, timing = clock_of(self.topics), replace(self.timing, sampling=self.control.sampling)
        with (
            until_told(self.seconds) as told,
            closing(PlannerProcess(controller, acted_on, self.seed, timing, clock)) as planner,
            _recorder(self.record, acted_on, clock) as recorder,
        ):
            rig = _Rig(acted_on, planner, clock, recorder)
            console.print(f"controlling {task.name} over {self.transport}; Ctrl-C ends")
            return (self._over_ros if self.transport == "ros2" else self._over_dds)(rig, told)

    def _over_ros(self, rig: _Rig, told: Callable[[], bool]) -> Outcome:
        """Be a lifecycle node."""
        from mpc_robot.runtime.ros2_node import (  # noqa: PLC0415
            ControlNode,
            open_lifecycle_node,
        )

        with open_lifecycle_node("mpc_robot", self.ros_args) as node:
            control = ControlNode(
                node,
                rig.planner,
                rig.task,
                self.control,
                topics=self.topics,
                clock=rig.clock,
                recorder=rig.recorder,
                report=self.report,
            )
            if not self.wait:
                control.begin(told)
            while not told() and node.context.ok():
                time.sleep(_POLL)
            loop = control.loop
            node.trigger_shutdown()
        return {} if loop is None else loop.status().as_dict()

    def _over_dds(self, rig: _Rig, told: Callable[[], bool]) -> Outcome:
        """Run the loop alone."""
        from mpc_robot.runtime.dds import DdsPlant  # noqa: PLC0415

        with closing(DdsPlant(model_of(rig.task), self.topics, rig.clock)) as plant:
            while plant.read() is None and not told():
                time.sleep(_POLL)
            if told():
                return {}
            loop = control_loop(plant, rig.planner, rig.task, self.control, rig.recorder)
            drive = Drive(loop, self.report)
            arm(loop)
            while not told() and drive.going_on:
                time.sleep(_POLL)
            drive.end()
        return loop.status().as_dict()


@dataclass(frozen=True)
class Ros2Sim:
    """Be a simulated robot that speaks the topics of a real one.

    It runs at the pace of the world's clock, and goes into its safe state when commands stop.

    Attributes:
        task: whose robot to be.
        robot: how it behaves.
        topics: names, types and quality of service.
        transport: ros2 (rclpy), or dds, which needs no ROS.
        seconds: end after so long, in the simulation.
        seed: of where it begins.
    """

    task: str
    robot: RobotConfig = field(default_factory=RobotConfig)
    topics: Topics = field(default_factory=Topics)
    transport: Transport = "ros2"
    seconds: float | None = None
    seed: int = 0
    ros_args: tyro.conf.Suppress[tuple[str, ...]] = ()
    common: Common = field(default_factory=CommonOptions)

    def __call__(self, console: Console) -> Outcome:
        """Live until the time is up or a signal says so."""
        robot = SimulatedRobot(get_task(self.task), self.robot, self.seed)
        console.print(f"{self.task} lives over {self.transport}; Ctrl-C ends")
        with until_told() as told, self._port(robot) as port:
            status = robot.run(port, self.seconds, told)
        return asdict(status)

    @contextmanager
    def _port(self, robot: SimulatedRobot) -> Iterator[Port]:
        """How it talks."""
        if self.transport == "dds":
            from mpc_robot.runtime.dds import DdsPort  # noqa: PLC0415

            with closing(DdsPort(robot.model, self.topics)) as port:
                yield port
            return
        from mpc_robot.runtime.ros2 import Ros2Port, open_node  # noqa: PLC0415

        with open_node("simulated_robot", self.ros_args) as node:
            yield Ros2Port(node, robot.model, self.topics)


@dataclass(frozen=True)
class _Rig:
    """What a loop needs besides a plant."""

    task: Task
    planner: Planner
    clock: Clock
    recorder: Recorder | None


@contextmanager
def until_told(seconds: float | None = None) -> Iterator[Callable[[], bool]]:
    """Whether so many seconds have passed, or Ctrl-C or a SIGTERM came, which do nothing else."""
    came = False
    deadline = math.inf if seconds is None else time.monotonic() + seconds

    def come(signum: int, frame: FrameType | None) -> None:
        """Note that a signal came."""
        nonlocal came
        came = True

    before = {number: signal.signal(number, come) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came or time.monotonic() >= deadline
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _recorder(path: Path | None, task: Task, clock: Clock) -> Iterator[Recorder | None]:
    """Who records to ``path``."""
    if path is None:
        yield None
        return
    from mpc_robot.runtime.recording import McapRecorder  # noqa: PLC0415

    with closing(McapRecorder(path, clock, model_of(task))) as recorder:
        yield recorder


def parse_ros2(argv: Sequence[str]) -> Command:
    """The words behind ``ros2``; task, dynamics and controller decide settings and defaults.

    Raises:
        UnknownNameError: if there is no such controller, task or dynamics.
        CheckpointError: if the run to plan in is damaged, or of another task.
        ValueError: if an option is not known or missing, or its value makes no sense.
    """
    words, ros_args = _split(argv)
    task, name = peek(words, "--task"), peek(words, "--controller")
    config = PlannerConfig()
    if task is not None:
        config = planning(get_task(task), peek(words, "--dynamics") or SIMULATOR)
    if name is not None:
        config = with_optimizer(config, name)
    default = Ros2(tyro.MISSING, planner=config, ros_args=ros_args)
    return parse("ros2", Ros2, words, default)


def parse_ros2_sim(argv: Sequence[str]) -> Command:
    """The words behind ``ros2-sim``."""
    words, ros_args = _split(argv)
    return parse("ros2-sim", Ros2Sim, words, Ros2Sim(tyro.MISSING, ros_args=ros_args))


def _split(argv: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Our words, and those from ``--ros-args`` on."""
    words = list(argv)
    at = words.index("--ros-args") if "--ros-args" in words else len(words)
    return words[:at], tuple(words[at:])
