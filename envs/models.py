"""MuJoCo models from MJCF, URDF or a specification, and what must hold before one is controlled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import mujoco
import numpy as np

from mpc_robot.envs.features import JOINT, names_of
from mpc_robot.envs.wrappers import muted_warnings
from mpc_robot.errors import UnknownNameError, require

Source: TypeAlias = str | Path | mujoco.MjSpec
"""A file of MJCF or URDF, its text, or a specification made in Python."""


@dataclass(frozen=True)
class Motor:
    """An actuator that pushes a joint; the action is the force.

    Attributes:
        limit: greatest force, N or N·m; None takes the joint's own (``effort`` in URDF,
            ``actuatorfrcrange`` in MJCF).
    """

    limit: float | None = None

    def add(self, spec: mujoco.MjSpec, joint: mujoco.MjsJoint) -> None:
        """Put it on a joint of the specification.

        Raises:
            ValueError: if no limit is given and the joint has none, either.
        """
        limits = tuple(joint.actfrcrange) if self.limit is None else (-self.limit, self.limit)
        require(
            limits[0] < limits[1],
            f"motor of joint {joint.name!r}",
            "a limit, N·m, or an effort limit of the joint",
            self.limit,
        )
        _actuator(spec, joint, limits).set_to_motor()


@dataclass(frozen=True)
class Servo:
    """An actuator that holds a joint at a position; the action is the position.

    Attributes:
        stiffness: kp, N·m/rad or N/m.
        damping: kv, N·m·s/rad or N·s/m.
        limits: least and greatest position, rad or m; None takes the joint's own range.
    """

    stiffness: float
    damping: float = 0.0
    limits: tuple[float, float] | None = None

    def add(self, spec: mujoco.MjSpec, joint: mujoco.MjsJoint) -> None:
        """Put it on a joint of the specification.

        Raises:
            ValueError: if no limits are given and the joint has none, either.
        """
        limits = tuple(joint.range) if self.limits is None else self.limits
        name = f"servo of joint {joint.name!r}"
        require(limits[0] < limits[1], name, "limits, rad, or a range of the joint", self.limits)
        _actuator(spec, joint, limits).set_to_position(kp=self.stiffness, kv=self.damping)


def _actuator(
    spec: mujoco.MjSpec, joint: mujoco.MjsJoint, limits: tuple[float, float]
) -> mujoco.MjsActuator:
    actuator = spec.add_actuator(name=joint.name, target=joint.name)
    actuator.trntype = mujoco.mjtTrn.mjTRN_JOINT
    actuator.ctrlrange, actuator.ctrllimited = limits, True
    return actuator


def read_spec(source: Source) -> mujoco.MjSpec:
    """The specification of a model; one made in Python is copied.

    Raises:
        FileNotFoundError: if it names a file that is not there.
        ValueError: with MuJoCo's own message and the file, if it is not MJCF or URDF.
    """
    if not isinstance(source, str | Path):
        return source.copy()
    text = isinstance(source, str) and source.lstrip().startswith("<")
    if not text and not Path(source).is_file():
        raise FileNotFoundError(f"model: expected MJCF, URDF or a file of it, got {str(source)!r}")
    read = mujoco.MjSpec.from_string if text else mujoco.MjSpec.from_file
    try:
        return read(str(source))
    except ValueError as error:
        raise ValueError(f"model {origin(source)}: {_one_line(error)}") from error


def compile_model(
    spec: mujoco.MjSpec, name: str, actuate: Mapping[str, Motor | Servo] | None = None
) -> mujoco.MjModel:
    """The model of a specification, with the actuators to add, checked to be controllable.

    Args:
        spec: what to compile; changed by the actuators that are added.
        name: what errors call it.
        actuate: actuators to add, by the name of their joint.

    Raises:
        ValueError: with MuJoCo's own message, if it does not compile; if it has no actuator, or
            one without a range of control.
        UnknownNameError: if a joint to actuate is not there.
    """
    joints = {joint.name: joint for joint in spec.joints}
    for joint, actuator in (actuate or {}).items():
        if joint not in joints:
            raise UnknownNameError("joint", joint, filter(None, joints))
        actuator.add(spec, joints[joint])
    try:
        with muted_warnings():
            model = spec.compile()
    except ValueError as error:
        raise ValueError(f"model {name}: {_one_line(error)}") from error
    _check_actuators(model)
    return model


def origin(source: Source) -> str:
    """What to call a model in errors: its file, or what it was given as."""
    if isinstance(source, mujoco.MjSpec):
        return "given as MjSpec"
    return "given as text" if str(source).lstrip().startswith("<") else str(source)


def _check_actuators(model: mujoco.MjModel) -> None:
    if model.nu == 0:
        joints = ", ".join(names_of(model, JOINT)) or "it has no named joint"
        raise ValueError(
            "model: expected an actuator, got none; add <actuator> to the MJCF, or name joints: "
            f'actuate={{"joint": Motor(limit=...)}} (joints: {joints})'
        )
    free = ~model.actuator_ctrllimited.astype(bool)
    wide = model.actuator_ctrlrange[:, 0] >= model.actuator_ctrlrange[:, 1]
    for at in np.flatnonzero(free | wide):
        low, high = model.actuator_ctrlrange[at]
        got = "none" if free[at] else f"{low:g} to {high:g}"
        raise ValueError(
            f"{_actuator_name(model, int(at))}: expected a range of control, got {got}; give it "
            'ctrlrange="low high" (and ctrllimited="true" where the compiler has no autolimits)'
        )


def _actuator_name(model: mujoco.MjModel, at: int) -> str:
    name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_ACTUATOR, at)
    if name:
        return f"actuator {name!r}"
    on_joint = model.actuator_trntype[at] == mujoco.mjtTrn.mjTRN_JOINT
    joint = mujoco.mj_id2name(model, JOINT, model.actuator_trnid[at, 0]) if on_joint else None
    return f"actuator {at}" + (f" (of joint {joint!r})" if joint else "")


def physics_steps(model: mujoco.MjModel, rate: float) -> int:
    """Physics steps in a control period of ``1 / rate`` seconds.

    Raises:
        ValueError: if they are no whole number; it names the rates that come near.
    """
    require(0 < rate < math.inf, "rate", "a positive number of actions per s (Hz)", rate)
    timestep = float(model.opt.timestep)
    steps = 1.0 / (rate * timestep)
    whole = round(steps)
    if whole < 1 or abs(steps - whole) > 1e-6 * steps:
        near = sorted({max(math.floor(steps), 1), max(math.ceil(steps), 1)}, reverse=True)
        rates = " or ".join(f"{1.0 / (n * timestep):.8g}" for n in near)
        raise ValueError(
            f"rate: expected a whole number of timesteps of {timestep:g} s in each "
            f"control period, got {rate:g} Hz, which is {steps:.4g} of them; nearest: {rates} Hz"
        )
    return whole


def _one_line(error: ValueError) -> str:
    return ", ".join(str(error).strip().splitlines())
