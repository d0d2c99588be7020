"""Commands and the forces they make, for actuators that each drive one hinge or slide joint."""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_AFFINE = {int(mujoco.mjtBias.mjBIAS_NONE), int(mujoco.mjtBias.mjBIAS_AFFINE)}
_ONE_JOINT = {int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)}


class Actuators:
    """Motors and servos of a model: force = gain * command + bias(position, velocity).

    Forces are those on the joints, N·m or N: the gear is in the gain.

    Attributes:
        joints: the joint that each actuator drives ``[A]``.
        low: least commands ``[A]``.
        high: greatest commands ``[A]``.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        """Read them off the model.

        Raises:
            ValueError: if an actuator has dynamics of its own, no command range, or drives anything
                but one hinge or slide joint.
        """
        for i in range(model.nu):
            _check(model, i)
        self.joints = model.actuator_trnid[:, 0].astype(int)
        self.low, self.high = model.actuator_ctrlrange.T.copy()
        self.position = 1 + model.jnt_qposadr[self.joints]  # the state begins with the time
        self.velocity = 1 + model.nq + model.jnt_dofadr[self.joints]
        self._gear = model.actuator_gear[:, 0].copy()
        self._gain = self._gear * model.actuator_gainprm[:, 0]
        self._bias = model.actuator_biasprm[:, :3].copy()

    def bias(self, physics: Floats) -> Floats:
        """Forces ``[A]`` under the command 0 in ``physics[S]``, N·m or N."""
        length = self._gear * physics[self.position]
        speed = self._gear * physics[self.velocity]
        constant, per_length, per_speed = self._bias.T
        force: Floats = self._gear * (constant + per_length * length + per_speed * speed)
        return force

    def forces(self, physics: Floats, command: Floats) -> Floats:
        """Forces ``[A]`` under ``command[A]`` in ``physics[S]``, N·m or N."""
        force: Floats = self._gain * command + self.bias(physics)
        return force

    def command(self, physics: Floats, forces: Floats) -> Floats:
        """The command ``[A]``, within its range, that makes ``forces[A]`` as nearly as it can."""
        wanted: Floats = (forces - self.bias(physics)) / self._gain
        return np.clip(wanted, self.low, self.high)

    def within(self, physics: Floats, command: Floats, least: Floats, most: Floats) -> Floats:
        """The command nearest to ``command[A]`` whose forces are from ``least`` to ``most``."""
        ends = [(force - self.bias(physics)) / self._gain for force in (least, most)]
        nearest: Floats = np.clip(command, np.minimum(*ends), np.maximum(*ends))
        return nearest


def _check(model: mujoco.MjModel, i: int) -> None:
    """Raises ValueError if actuator ``i`` is none that this module knows."""
    name = model.actuator(i).name or str(i)
    joint = model.actuator_trntype[i] == mujoco.mjtTrn.mjTRN_JOINT
    if not joint or int(model.jnt_type[model.actuator_trnid[i, 0]]) not in _ONE_JOINT:
        raise ValueError(f"actuator {name}: expected one that drives a hinge or slide joint")
    fixed = model.actuator_gaintype[i] == mujoco.mjtGain.mjGAIN_FIXED
    affine = int(model.actuator_biastype[i]) in _AFFINE
    still = model.actuator_dyntype[i] == mujoco.mjtDyn.mjDYN_NONE
    if not (fixed and affine and still and model.actuator_gainprm[i, 0] != 0):
        raise ValueError(f"actuator {name}: expected a motor or servo without dynamics of its own")
    if not model.actuator_ctrllimited[i]:
        raise ValueError(f"actuator {name}: expected a ctrlrange, got none")
