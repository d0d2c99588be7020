"""A simulated robot that one meets only by messages, like a real one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.envs import Task, make_env, physics_state
from mpc_robot.errors import require
from mpc_robot.runtime.clock import RealClock
from mpc_robot.runtime.control import model_of, servos_of
from mpc_robot.runtime.joints import CommandInbox

Floats = npt.NDArray[np.float64]
INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)
CATCH_UP = 0.05
"""Delay of the simulation behind the clock, s, that it makes up for."""


class Port(Protocol):
    """How a robot talks: over ROS 2, or over plain DDS."""

    @property
    def commands(self) -> CommandInbox:
        """What arrived."""
        ...

    def publish(self, now: float, position: Floats, velocity: Floats, effort: Floats) -> None:
        """Send joint positions, velocities and efforts ``[J]``, at ``now`` s in the simulation."""
        ...

    def tick(self, now: float) -> None:
        """Send the simulation's time, s, to whoever goes by it."""
        ...

    def close(self) -> None:
        """Send and take nothing more."""
        ...


@dataclass(frozen=True)
class RobotConfig:
    """How the robot behaves.

    Attributes:
        rate: joint states per s of the simulation; no more than it has physics steps.
        watchdog: age of the last command, s, at which the robot goes into its safe state: motors
            off, servos at the positions where their joints are then.
        pace: simulated seconds per second; with other than 1, controllers must go by ``/clock``.
    """

    rate: float = 100.0
    watchdog: float = 0.1
    pace: float = 1.0

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        for name in ("rate", "watchdog", "pace"):
            value = getattr(self, name)
            require(0.0 < value < np.inf, name, "positive", value)


@dataclass(frozen=True)
class RobotStatus:
    """What a robot has done so far.

    Attributes:
        steps: of physics.
        published: joint states.
        trips: how often it went into its safe state for want of commands.
        safe: whether it is in it.
        refused: commands that made no sense, by what was wrong.
    """

    steps: int
    published: int
    trips: int
    safe: bool
    refused: dict[str, int]


class SimulatedRobot:
    """A task's robot in MuJoCo, at the pace of the world's clock.

    Attributes:
        model: its MuJoCo model.
    """

    def __init__(self, task: Task, config: RobotConfig | None = None, seed: int = 0) -> None:
        """Begin at the state after ``reset(seed=seed)`` of the task's environment, in safe state.

        Raises:
            TypeError: if the task is not simulated by MuJoCo.
            ValueError: if there are servos beneath the task's actions.
        """
        self.model = model_of(task)
        self._data = mujoco.MjData(self.model)
        with closing(make_env(task)) as env:
            env.reset(seed=seed)
            mujoco.mj_setState(self.model, self._data, physics_state(env), INTEGRATION)
        self._config = config or RobotConfig()
        self._every = max(1, round(1.0 / (self._config.rate * self.model.opt.timestep)))
        self._servos = servos_of(self.model)
        self._steps = self._published = self._trips = 0
        self._safe = True
        self._data.ctrl[:] = self._safe_command()

    def run(
        self,
        port: Port,
        seconds: float | None = None,
        told: Callable[[], bool] = lambda: False,
    ) -> RobotStatus:
        """Live for so many seconds of the simulation, or until ``told`` to end."""
        clock, timestep = RealClock(), self.model.opt.timestep
        due = clock.now()
        limit = np.inf if seconds is None else self._data.time + seconds
        while not told() and self._data.time < limit - 0.5 * timestep:
            self._obey(port.commands.newest, clock.now())
            mujoco.mj_step(self.model, self._data)
            self._steps += 1
            self._tell(port)
            # What was stopped for long, say by a debugger, does not make up for it.
            due = max(due + timestep / self._config.pace, clock.now() - CATCH_UP)
            clock.sleep_until(due)
        refused = dict(port.commands.faults.counts)
        return RobotStatus(self._steps, self._published, self._trips, self._safe, refused)

    def _obey(self, newest: tuple[float, Floats] | None, now: float) -> None:
        """Put the newest command into force, or the safe one."""
        if newest is not None and now - newest[0] <= self._config.watchdog:
            self._data.ctrl[:], self._safe = newest[1], False
        elif not self._safe:
            self._data.ctrl[:], self._safe = self._safe_command(), True
            self._trips += 1

    def _safe_command(self) -> Floats:
        """Motors off; servos where they are."""
        return np.where(self._servos, self._data.actuator_length, 0.0)

    def _tell(self, port: Port) -> None:
        """Send what is due after a step."""
        data = self._data
        port.tick(data.time)
        if self._steps % self._every == 0:
            port.publish(data.time, data.qpos, data.qvel, data.qfrc_actuator)
            self._published += 1
