"""Joint servos beneath the actions: a plan says where joints shall be, not what torques to apply.

Random torques make a legged robot fall within a tenth of a second; random postures that a servo
holds do not. So a search over postures finds plans where one over torques finds none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.errors import require

Floats = npt.NDArray[np.float64]
INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)


@dataclass(frozen=True)
class PDServo:
    """Gains of the servos, one per actuator, each on the hinge or slide joint that it drives.

    Attributes:
        stiffness: command per rad (or m) that the joint is away from the action.
        damping: command per rad/s (or m/s) of the joint.
    """

    stiffness: float
    damping: float = 0.0

    def __post_init__(self) -> None:
        """Raises: ValueError: if a gain makes no sense."""
        require(0 < self.stiffness < math.inf, "stiffness", "positive", self.stiffness)
        require(0 <= self.damping < math.inf, "damping", "not negative", self.damping)


class ServoLaw:
    """What a :class:`PDServo` commands the actuators of a model.

    Attributes:
        low: least joint positions ``[A]``, rad or m: the range of the actions.
        high: greatest joint positions ``[A]``.
        rest: joint positions of the model as it loads ``[A]``, within the range.
    """

    def __init__(self, servo: PDServo, model: mujoco.MjModel) -> None:
        """Find each actuator's joint.

        Raises:
            ValueError: if an actuator drives no hinge or slide joint with a range.
        """
        self._servo = servo
        joints = np.array([_joint(model, i) for i in range(model.nu)], dtype=int)
        self.low, self.high = model.jnt_range[joints].T.copy()
        self.rest = np.clip(model.qpos0[model.jnt_qposadr[joints]], self.low, self.high)
        self._position = 1 + model.jnt_qposadr[joints]  # the state begins with the time
        self._velocity = 1 + model.nq + model.jnt_dofadr[joints]
        self._least, self._most = model.actuator_ctrlrange.T.copy()

    def command(self, state: Floats, action: Floats) -> Floats:
        """Commands ``[..., A]`` in physics states ``[..., S]`` for joint positions ``[..., A]``."""
        error = action - state[..., self._position]
        push = self._servo.stiffness * error - self._servo.damping * state[..., self._velocity]
        return np.clip(push, self._least, self._most)


class ServoActions(gym.ActionWrapper[Any, Any, Any]):
    """A MuJoCo environment whose actions are the joint positions that servos hold.

    Attributes:
        law: what the servos command.
    """

    def __init__(self, env: gym.Env[Any, Any], servo: PDServo) -> None:
        """Put the servos between the actions and the actuators.

        Raises:
            TypeError: if the environment is not simulated by MuJoCo.
            ValueError: if an actuator drives no hinge or slide joint with a range.
        """
        super().__init__(env)
        base: Any = env.unwrapped
        if not isinstance(getattr(base, "data", None), mujoco.MjData):
            raise TypeError(f"servo: expected a MuJoCo environment, got {base!r}")
        self.law = ServoLaw(servo, base.model)
        self.action_space = gym.spaces.Box(self.law.low, self.law.high, dtype=np.float64)
        self._state = np.empty(mujoco.mj_stateSize(base.model, INTEGRATION))

    def action(self, action: Any) -> Floats:
        """The command ``[A]`` that moves the joints towards ``action[A]``, rad or m."""
        base: Any = self.unwrapped
        mujoco.mj_getState(base.model, base.data, self._state, INTEGRATION)
        return self.law.command(self._state, np.asarray(action, dtype=np.float64))


def _joint(model: mujoco.MjModel, actuator: int) -> int:
    """The limited hinge or slide joint that an actuator drives."""
    joint = int(model.actuator_trnid[actuator, 0])
    drives = model.actuator_trntype[actuator] == mujoco.mjtTrn.mjTRN_JOINT
    kinds = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))
    if not (drives and model.jnt_type[joint] in kinds and model.jnt_limited[joint]):
        name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_ACTUATOR, actuator) or str(actuator)
        raise ValueError(
            f"servo: expected a hinge or slide joint with a range, got actuator {name}"
        )
    return joint
