"""What a command must respect besides its own limits: forces, power, joint ends, places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.errors import require
from mpc_robot.runtime.actuators import Actuators

Floats = npt.NDArray[np.float64]
INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)


class Guard(Protocol):
    """Changes a command that would do harm."""

    @property
    def reason(self) -> str:
        """What the log says where it does."""
        ...

    def allow(self, physics: Floats, command: Floats) -> Floats:
        """The command ``[A]`` nearest to ``command[A]`` that is allowed in ``physics[S]``."""
        ...


class ForceLimit:
    """No actuator pushes harder, or with more power, than it may."""

    reason = "force limit"

    def __init__(
        self,
        model: mujoco.MjModel,
        force: npt.ArrayLike = np.inf,
        power: npt.ArrayLike = np.inf,
    ) -> None:
        """Guard each actuator of a model.

        Args:
            model: the robot's.
            force: greatest force or torque on a joint ``[A]`` or one for all, N or N·m.
            power: greatest mechanical power, in either direction, ``[A]`` or one for all, W.

        Raises:
            ValueError: if a limit is not positive or not ``[A]``, or an actuator is no motor or
                servo.
        """
        self._actuators = Actuators(model)
        self._force, self._power = np.asarray(force, np.float64), np.asarray(power, np.float64)
        require(bool((self._force > 0).all()), "force", "positive", force)
        require(bool((self._power > 0).all()), "power", "positive", power)
        for name, limit in (("force", self._force), ("power", self._power)):
            shapes = ((), (model.nu,))
            require(limit.shape in shapes, name, f"one number or {model.nu}", limit.shape)

    def allow(self, physics: Floats, command: Floats) -> Floats:
        """The nearest command with |force| and |force * velocity| within their limits."""
        speed = np.maximum(np.abs(physics[self._actuators.velocity]), 1e-9)
        most = np.minimum(self._force, self._power / speed)
        return self._actuators.within(physics, command, -most, most)


class JointEnds:
    """No joint is driven towards an end of its range faster than it can brake before it.

    A velocity damper: at a distance d from the end, the speed towards it shall not exceed
    ``sqrt(2 * deceleration * d)``; beyond that the actuator may push no more towards the end than
    ``damping`` times what speed is left, which beyond the allowed speed is a push away from it.
    """

    reason = "joint end"

    def __init__(
        self, model: mujoco.MjModel, deceleration: float, damping: float, margin: float = 0.0
    ) -> None:
        """Guard the driven joints that have a range.

        Args:
            model: the robot's.
            deceleration: that its joints can count on, rad/s² or m/s².
            damping: force per speed, N·m·s/rad or N·s/m.
            margin: distance from the end of the range where a joint shall stop, rad or m.

        Raises:
            ValueError: if a setting makes no sense, or an actuator is no motor or servo.
        """
        require(deceleration > 0, "deceleration", "positive", deceleration)
        require(damping > 0, "damping", "positive", damping)
        require(margin >= 0, "margin", "not negative", margin)
        self._actuators = Actuators(model)
        joints = self._actuators.joints
        limited = model.jnt_limited[joints].astype(bool)
        self._least = np.where(limited, model.jnt_range[joints, 0] + margin, -np.inf)
        self._most = np.where(limited, model.jnt_range[joints, 1] - margin, np.inf)
        self._deceleration, self._damping = deceleration, damping

    def allow(self, physics: Floats, command: Floats) -> Floats:
        """The nearest command that lets every joint stop in time."""
        position = physics[self._actuators.position]
        speed = physics[self._actuators.velocity]
        up = self._damping * (self._allowed(self._most - position) - speed)
        down = self._damping * (self._allowed(position - self._least) + speed)
        return self._actuators.within(physics, command, -down, up)

    def _allowed(self, distance: Floats) -> Floats:
        """Speed towards an end that is ``distance`` away; back towards the range beyond it."""
        speed: Floats = np.sign(distance) * np.sqrt(2.0 * self._deceleration * np.abs(distance))
        return speed


@dataclass(frozen=True)
class Box:
    """Where a site of the robot must be.

    Attributes:
        site: its name in the model.
        low: least coordinates ``[3]``, m, in the world's frame.
        high: greatest coordinates ``[3]``, m.
    """

    site: str
    low: tuple[float, float, float]
    high: tuple[float, float, float]


class Workspace:
    """Boxes that sites must stay in, now and a moment ahead at the speed they have."""

    def __init__(self, model: mujoco.MjModel, boxes: tuple[Box, ...], ahead: float = 0.1) -> None:
        """Watch the sites of a model.

        Args:
            model: the robot's.
            boxes: where its sites must be.
            ahead: how far to look ahead, s.

        Raises:
            ValueError: if the model has no such site, or a box no inside.
        """
        known = [model.site(i).name for i in range(model.nsite)]
        for box in boxes:
            require(box.site in known, "site", f"one of {', '.join(known)}", box.site)
            inside = all(low < high for low, high in zip(box.low, box.high, strict=True))
            require(inside, f"box of {box.site}", "low below high", (box.low, box.high))
        self._model, self._data, self._ahead = model, mujoco.MjData(model), ahead
        self._sites = [model.site(box.site).id for box in boxes]
        self._low, self._high = (
            np.array([getattr(box, end) for box in boxes]).reshape(-1, 3) for end in ("low", "high")
        )
        self._names = [box.site for box in boxes]

    def left(self, physics: Floats) -> str | None:
        """The first site that is, or is about to be, outside its box in ``physics[S]``."""
        if not self._names:
            return None
        mujoco.mj_setState(self._model, self._data, physics, INTEGRATION)
        now = self._places()
        mujoco.mj_integratePos(self._model, self._data.qpos, self._data.qvel, self._ahead)
        soon = self._places()
        outside = [
            ((place < self._low) | (place > self._high)).any(axis=1) for place in (now, soon)
        ]
        out = np.flatnonzero(outside[0] | outside[1])
        return self._names[out[0]] if len(out) > 0 else None

    def _places(self) -> Floats:
        """Where the watched sites are ``[B, 3]``, m."""
        mujoco.mj_kinematics(self._model, self._data)
        places: Floats = self._data.site_xpos[self._sites].copy()
        return places
