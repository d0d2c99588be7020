"""A simulated robot in real time, in a process of its own, with the faults that real ones have."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.envs import Task, make_env, physics_state
from mpc_robot.errors import require
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.clock import RealClock
from mpc_robot.runtime.kept import KeptProcess
from mpc_robot.runtime.mailbox import Mailbox

Floats = npt.NDArray[np.float64]
INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)
CATCH_UP = 0.05
"""Delay of a simulation behind the clock, s, that it makes up for."""


@dataclass(frozen=True)
class Realism:
    """By how much a simulated robot is unlike its model.

    Attributes:
        actuation_delay: time from a command's arrival to its effect, s.
        position_noise: standard deviation of measured positions, rad or m.
        velocity_noise: standard deviation of measured velocities, rad/s or m/s.
        dropout: share of states that are lost.
        mass: factor of all masses and inertias.
        friction: factor of all friction coefficients.
        gain: factor of what actuators do.
        seed: of noise and dropouts.
    """

    actuation_delay: float = 0.0
    position_noise: float = 0.0
    velocity_noise: float = 0.0
    dropout: float = 0.0
    mass: float = 1.0
    friction: float = 1.0
    gain: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        for name in ("actuation_delay", "position_noise", "velocity_noise"):
            require(getattr(self, name) >= 0, name, "not negative", getattr(self, name))
        for name in ("mass", "friction", "gain"):
            require(getattr(self, name) > 0, name, "positive", getattr(self, name))
        require(0 <= self.dropout < 1, "dropout", "in [0, 1)", self.dropout)

    def put_into(self, model: mujoco.MjModel) -> None:
        """Change the model."""
        model.body_mass *= self.mass
        model.body_inertia *= self.mass
        model.geom_friction *= self.friction
        model.actuator_gainprm[:, 0] *= self.gain
        model.actuator_biasprm[:, :3] *= self.gain
        mujoco.mj_setConst(model, mujoco.MjData(model))


class MuJoCoPlant:
    """A task's robot, simulated at the pace of the world's clock.

    Nobody waits for it and it waits for nobody: it obeys the newest command until there is another.
    It reports its state after every physics step. If its process is killed, the robot begins anew
    where it began.

    Attributes:
        clock: the world's.
        model: the MuJoCo model of the task, without what ``realism`` changes.
    """

    def __init__(self, task: Task, seed: int = 0, realism: Realism | None = None) -> None:
        """Begin at the state after ``reset(seed=seed)`` of the task's environment.

        Raises:
            TypeError: if the task is not simulated by MuJoCo.
            ValueError: if there are servos beneath the task's actions.
        """
        require(task.servo is None, "task", "one whose actions are commands", task.name)
        env = make_env(task)
        env.reset(seed=seed)
        self._start = physics_state(env)
        self.model: mujoco.MjModel = env.unwrapped.model  # type: ignore[attr-defined]
        env.close()
        self.clock = RealClock()
        self._realism = realism or Realism()
        self._over = False
        self._states = Mailbox(2 + len(self._start))
        self._commands = Mailbox(self.model.nu)
        self._state: RobotState | None = None
        self._process = KeptProcess(self._live, pause=0.3)

    @property
    def over(self) -> bool:
        """Whether it was closed."""
        return self._over

    @property
    def pid(self) -> int:
        """The process that simulates, 0 while it is being begun."""
        return self._process.pid

    def read(self) -> RobotState | None:
        """The newest state."""
        if (got := self._states.get()) is not None:
            stamp, number = got[1][:2]
            self._state = RobotState(stamp, int(number), got[1][2:])
        return self._state

    def write(self, command: Floats) -> None:
        """Have it obeyed, after the actuation delay.

        Raises:
            ValueError: if it is not ``[A]``.
        """
        shape = (self.model.nu,)
        require(np.shape(command) == shape, "command", f"shape {shape}", np.shape(command))
        self._commands.put(command)

    def close(self) -> None:
        """End the process."""
        self._over = True
        self._process.close()

    def _live(self) -> None:
        """Simulate in step with the clock, for good."""
        real, model = self._realism, self.model
        real.put_into(model)
        data, rng = mujoco.MjData(model), np.random.default_rng(real.seed)
        mujoco.mj_setState(model, data, self._start, INTEGRATION)
        arriving: deque[tuple[float, Floats]] = deque()
        last, number, due = 0, 0, self.clock.now()
        while True:
            if (got := self._commands.get()) is not None and got[0] != last:
                last = got[0]
                arriving.append((self.clock.now() + real.actuation_delay, got[1]))
            while arriving and arriving[0][0] <= self.clock.now():
                data.ctrl[:] = arriving.popleft()[1]
            mujoco.mj_step(model, data)
            number += 1
            if real.dropout == 0 or rng.random() >= real.dropout:
                self._states.put(self.clock.now(), number, self._measured(data, rng))
            # What was stopped for long, say by a debugger, does not make up for it.
            due = max(due + model.opt.timestep, self.clock.now() - CATCH_UP)
            self.clock.sleep_until(due)

    def _measured(self, data: mujoco.MjData, rng: np.random.Generator) -> Floats:
        """The physics state ``[S]`` as noisy sensors have it."""
        state = np.empty(len(self._start))
        mujoco.mj_getState(self.model, data, state, INTEGRATION)
        nq, nv, real = self.model.nq, self.model.nv, self._realism
        qpos, qvel = state[1 : 1 + nq], state[1 + nq : 1 + nq + nv]
        if real.position_noise > 0:
            qpos += rng.normal(0.0, real.position_noise, nq)
            mujoco.mj_normalizeQuat(self.model, qpos)
        if real.velocity_noise > 0:
            qvel += rng.normal(0.0, real.velocity_noise, nv)
        return state
