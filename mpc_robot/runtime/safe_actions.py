"""What to do when the plan cannot be trusted: ways to command a robot into a safe state."""

from __future__ import annotations

from typing import Protocol

import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.controllers.base import Controller
from mpc_robot.errors import require
from mpc_robot.runtime.actuators import Actuators
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.sensing import Sensing

Floats = npt.NDArray[np.float64]
INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)


class SafeAction(Protocol):
    """Decides the command while a trip lasts."""

    def command(self, state: RobotState | None, last: Floats) -> Floats:
        """The command ``[A]``, from the newest sound state, if any, and the last command sent."""
        ...


class Hold:
    """Go on as commanded last: servos then hold their position."""

    def command(self, state: RobotState | None, last: Floats) -> Floats:
        """The last command."""
        return last


class Rest:
    """A fixed command, such as no torque."""

    def __init__(self, command: npt.ArrayLike) -> None:
        """Command that ``[A]``."""
        self._command = np.array(command, dtype=np.float64)

    def command(self, state: RobotState | None, last: Floats) -> Floats:
        """Always the same."""
        return self._command


class Damp:
    """Brake every joint in proportion to its speed; without a state, no force."""

    def __init__(self, model: mujoco.MjModel, damping: float) -> None:
        """Brake by ``damping`` N·m·s/rad or N·s/m.

        Raises:
            ValueError: if that is negative, or an actuator is no motor or servo.
        """
        require(0 <= damping < np.inf, "damping", "not negative", damping)
        self._actuators, self._damping = Actuators(model), damping
        self._still = np.zeros(mujoco.mj_stateSize(model, INTEGRATION))

    def command(self, state: RobotState | None, last: Floats) -> Floats:
        """The force -damping * velocity on each driven joint."""
        physics = _physics(state, self._still)
        speed = physics[self._actuators.velocity]
        return self._actuators.command(physics, -self._damping * speed)


class HoldAgainstGravity:
    """Carry the robot's weight and brake it: it stays where it is, and yields to a push.

    The forces are qfrc_bias, gravity and Coriolis forces, of the driven joints, less what springs
    carry; what damps the joints by itself may do so. Without a state, the last command.
    """

    def __init__(self, model: mujoco.MjModel, damping: float) -> None:
        """Brake by ``damping`` N·m·s/rad or N·s/m besides.

        Raises:
            ValueError: if that is negative, or an actuator is no motor or servo.
        """
        require(0 <= damping < np.inf, "damping", "not negative", damping)
        self._model, self._data = model, mujoco.MjData(model)
        self._actuators, self._damping = Actuators(model), damping
        self._dofs = model.jnt_dofadr[self._actuators.joints]

    def command(self, state: RobotState | None, last: Floats) -> Floats:
        """The force that carries the weight, less damping * velocity."""
        if state is None or state.physics is None:
            return last
        mujoco.mj_setState(self._model, self._data, state.physics, INTEGRATION)
        mujoco.mj_forward(self._model, self._data)
        data = self._data
        carry = (data.qfrc_bias - data.qfrc_spring - data.qfrc_gravcomp)[self._dofs]
        speed = data.qvel[self._dofs]
        return self._actuators.command(state.physics, carry - self._damping * speed)


class Fallback:
    """Another controller, which must answer at once; without a state, the last command."""

    def __init__(self, controller: Controller, sensing: Sensing) -> None:
        """Ask ``controller``."""
        self._controller, self._sensing = controller, sensing

    def command(self, state: RobotState | None, last: Floats) -> Floats:
        """What it does now."""
        if state is None:
            return last
        return self._controller.act(self._sensing.sensed(state, self._controller.observes))


def _physics(state: RobotState | None, default: Floats) -> Floats:
    """The physics of ``state``, or ``default``."""
    return default if state is None or state.physics is None else state.physics
