"""A control loop from settings: what is to be known about how to drive a robot."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.envs import Task
from mpc_robot.errors import PlantError, require, require_choices
from mpc_robot.runtime.base import Plant, RobotState
from mpc_robot.runtime.limits import CommandLimiter, CommandLimits
from mpc_robot.runtime.loop import ControlLoop, Recorder
from mpc_robot.runtime.plan import Sampling
from mpc_robot.runtime.planner import Planner
from mpc_robot.runtime.reporter import LoopReporter
from mpc_robot.runtime.safe_actions import Damp, Hold, HoldAgainstGravity, SafeAction
from mpc_robot.runtime.safety import Safety, Watchdogs
from mpc_robot.runtime.sensing import Sensing

Floats = npt.NDArray[np.float64]
OnTrip = Literal["rest", "hold", "damp", "carry"]
NOT_ARMED = "not armed"
"""Why a loop is stopped that nobody has armed yet."""
SETTLE = 0.2
"""How long the safe action is in command before commands end, s."""


@dataclass(frozen=True)
class ControlConfig:
    """How a robot is driven.

    Attributes:
        rate: commands per s.
        sampling: how plans are sampled between their steps.
        velocity: greatest change of a command per s, in its own unit; the same for all actuators.
        acceleration: greatest change of that per s.
        jerk: greatest change of that per s.
        watchdogs: what counts as a fault.
        on_trip: what to do at a fault: ``rest`` switches motors off and has servos hold the last
            command, ``hold`` holds the last command, ``damp`` brakes the joints, ``carry`` holds
            them against gravity.
        damping: of ``damp`` and ``carry``, N·m·s/rad or N·s/m.
        patience: time without a plan, s, after which the planner is begun anew.
        real_time: run the loop's thread under real-time scheduling (SCHED_FIFO), so that nothing
            ordinary delays a command; needs CAP_SYS_NICE or an RLIMIT_RTPRIO.
    """

    rate: float = 100.0
    sampling: Sampling = "zero"
    velocity: float = np.inf
    acceleration: float = np.inf
    jerk: float = np.inf
    watchdogs: Watchdogs = field(default_factory=Watchdogs)
    on_trip: OnTrip = "rest"
    damping: float = 1.0
    patience: float = 2.0
    real_time: bool = False

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require_choices(self)
        require(0.0 < self.rate < np.inf, "rate", "a positive number of Hz", self.rate)
        for name in ("velocity", "acceleration", "jerk", "patience"):
            require(getattr(self, name) > 0.0, name, "positive", getattr(self, name))
        require(0.0 <= self.damping < np.inf, "damping", "not negative", self.damping)

    def limits(self, task: Task) -> CommandLimits:
        """What commands may be: the task's actions, and these rates."""
        spec = Sensing(task).spec
        return CommandLimits(
            spec.action_low, spec.action_high, self.velocity, self.acceleration, self.jerk
        )


def control_loop(
    plant: Plant,
    planner: Planner,
    task: Task,
    config: ControlConfig,
    recorder: Recorder | None = None,
) -> ControlLoop:
    """A loop of these parts; servos are first commanded to where their joints are.

    Args:
        plant: the robot.
        planner: what it shall do.
        task: says how large commands are, and what the robot's model is.
        config: settings.
        recorder: keeps what happens; None for nobody.

    Raises:
        TypeError: if the task has no MuJoCo model.
        ValueError: if the task's actions are not commands, or the model's actuators are none that
            can do what is to be done on a trip.
        PlantError: if there are servos, but no state of the robot that says where they are.
        RealTimeRefusedError: if real-time scheduling is asked for, but not allowed.
    """
    model, limits = model_of(task), config.limits(task)
    start = np.clip(_start(model, plant.read()), limits.low, limits.high)
    safety = Safety(
        CommandLimiter(limits, 1.0 / config.rate, start),
        config.watchdogs,
        action=_safe_action(config, model),
    )
    return ControlLoop(
        plant,
        planner,
        safety,
        config.rate,
        sampling=config.sampling,
        recorder=recorder,
        patience=config.patience,
        real_time=config.real_time,
    )


class Drive:
    """A loop in a thread of its own, that does not end before the robot is safe."""

    def __init__(self, loop: ControlLoop, report: Path | None = None) -> None:
        """Begin, stopped until somebody arms it.

        Args:
            loop: sends the commands.
            report: file for its counters; None for none.
        """
        self._loop, self._report = loop, report
        self._told = threading.Event()
        reset(loop)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    @property
    def going_on(self) -> bool:
        """Whether commands are sent."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Have the safe action in command for a moment, and send no more then.

        Whether this run is over by then or not, the loop can be run again.
        """
        self._loop.safety.stop("ended")
        self._thread.join(SETTLE)
        self._told.set()
        self._thread.join()

    def _run(self) -> None:
        """Run the loop."""
        with nullcontext() if self._report is None else LoopReporter(self._loop, self._report):
            self._loop.run(told=self._told.is_set)


def model_of(task: Task) -> mujoco.MjModel:
    """The model of the robot that a task is for, whose actuators take the task's actions.

    Raises:
        TypeError: if the task has no MuJoCo model.
        ValueError: if the task's actions are not commands to its actuators.
    """
    model = Sensing(task).model
    if model is None:
        raise TypeError(f"task {task.name}: expected one simulated by MuJoCo, got one without")
    require(task.servo is None, "task", "one whose actions are commands", task.name)
    return model


def arm(loop: ControlLoop) -> bool:
    """Let plans be followed; False if the robot was stopped, which :func:`reset` undoes."""
    if loop.safety.stopped not in (None, NOT_ARMED):
        return False
    loop.safety.reset()
    return True


def reset(loop: ControlLoop) -> None:
    """End an emergency stop; the robot waits to be armed then."""
    loop.safety.stop(NOT_ARMED)


class _SwitchOff:
    """Motors off; servos hold the last command."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """For the actuators of a model."""
        self._servos = servos_of(model)

    def command(self, state: RobotState | None, last: Floats) -> Floats:
        """0 or the last command."""
        return np.where(self._servos, last, 0.0)


def servos_of(model: mujoco.MjModel) -> npt.NDArray[np.bool_]:
    """Which actuators ``[A]`` are commanded positions."""
    servos: npt.NDArray[np.bool_] = model.actuator_biasprm[:, 1] != 0.0
    return servos


def _start(model: mujoco.MjModel, state: RobotState | None) -> Floats:
    """The commands ``[A]`` that leave a robot as it is."""
    servos, data = servos_of(model), mujoco.MjData(model)
    if state is not None and state.physics is not None:
        mujoco.mj_setState(model, data, state.physics, mujoco.mjtState.mjSTATE_INTEGRATION)
    elif servos.any():
        raise PlantError("servos: expected a state of the robot to begin at, got none yet")
    mujoco.mj_forward(model, data)
    return np.where(servos, data.actuator_length, 0.0)


def _safe_action(config: ControlConfig, model: mujoco.MjModel) -> SafeAction:
    """What to do on a trip."""
    if config.on_trip == "hold":
        return Hold()
    if config.on_trip == "damp":
        return Damp(model, config.damping)
    if config.on_trip == "carry":
        return HoldAgainstGravity(model, config.damping)
    return _SwitchOff(model)
