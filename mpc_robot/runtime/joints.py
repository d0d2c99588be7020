"""Messages and what they mean to a MuJoCo model: joints by name, commands, goals.

Both transports share this. Whatever a message says is checked here; what makes no sense is counted
and told of, and goes no further.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.envs.base import UNIT, sensed_state
from mpc_robot.errors import require
from mpc_robot.runtime.base import Clock, RobotState
from mpc_robot.runtime.stamps import SimulatedClock, StampMap

Floats = npt.NDArray[np.float64]
_LOG = logging.getLogger(__name__)
_ONE_NUMBER = {int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)}
_STATE = mujoco.mjtState


def joint_names(model: mujoco.MjModel) -> tuple[str, ...]:
    """The joints of a model, in its order, which is that of ``qpos`` and ``qvel`` as well.

    Raises:
        ValueError: if a joint has no name, or is none that a JointState can tell of.
    """
    for i in range(model.njnt):
        joint = model.joint(i)
        kind = mujoco.mjtJoint(int(model.jnt_type[i])).name
        require(bool(joint.name), f"joint {i}", "a name, by which messages call it", joint.name)
        one = int(model.jnt_type[i]) in _ONE_NUMBER
        require(one, f"joint {joint.name!r}", "a hinge or slide, as JointState has them", kind)
    return tuple(model.joint(i).name for i in range(model.njnt))


def command_names(model: mujoco.MjModel) -> tuple[str, ...]:
    """What each command is for: the joint that its actuator drives, or else the actuator."""
    return tuple(_driven(model, i) or model.actuator(i).name or str(i) for i in range(model.nu))


def _driven(model: mujoco.MjModel, actuator: int) -> str | None:
    """The name of the joint that an actuator drives, if it drives one."""
    if model.actuator_trntype[actuator] != mujoco.mjtTrn.mjTRN_JOINT:
        return None
    name: str = model.joint(int(model.actuator_trnid[actuator, 0])).name
    return name


def in_order(field: str, names: Sequence[str], wanted: tuple[str, ...]) -> npt.NDArray[np.intp]:
    """Where the ``wanted`` are among ``names``; whatever else there is does not matter.

    Raises:
        ValueError: naming ``field``, if one is missing or is there twice.
    """
    missing = [name for name in wanted if name not in names]
    require(not missing, field, f"{', '.join(wanted)} (missing: {', '.join(missing)})", list(names))
    twice = [name for name in wanted if names.count(name) > 1]
    require(not twice, field, "each joint once", list(names))
    return np.array([names.index(name) for name in wanted], dtype=np.intp)


def finite(
    field: str, values: npt.ArrayLike, size: int, order: npt.NDArray[np.intp] | None = None
) -> Floats:
    """``size`` numbers, or those of them that ``order`` picks.

    Raises:
        ValueError: naming ``field``, if there are more or fewer, or one of those is not finite.
    """
    numbers = np.array(values, dtype=np.float64)
    require(numbers.shape == (size,), field, f"{size} numbers", numbers.shape)
    picked: Floats = numbers if order is None else numbers[order]
    if not np.isfinite(picked).all():
        raise ValueError(f"{field}: expected finite numbers, got {picked}")
    return picked


class Faults:
    """Messages that were refused.

    Attributes:
        counts: how many, by field or kind of fault.
        newest: what was wrong with the last one; None before the first.
    """

    def __init__(self) -> None:
        """None yet."""
        self.counts: Counter[str] = Counter()
        self.newest: str | None = None

    def add(self, kind: str, message: str) -> None:
        """Count one; it is logged unless it is like the one before."""
        self.counts[kind] += 1
        if message != self.newest:
            self.newest = message
            _LOG.warning("refused: %s", message)

    def guarded(self, take: Callable[[], None]) -> None:
        """Take a message; if it makes no sense it is counted by the field that is wrong."""
        try:
            take()
        except ValueError as error:
            message = str(error)
            self.add(message.split(":", 1)[0], message)


class StateInbox:
    """Makes of messages the state of a robot.

    Attributes:
        newest: the last sound state; None before there is one.
        faults: what was refused.
    """

    def __init__(self, model: mujoco.MjModel, clock: Clock, frame: str = "world") -> None:
        """Read the model's joints.

        Args:
            model: the robot's.
            clock: stamps are counted on it.
            frame: of goals.

        Raises:
            ValueError: if a joint has no name, or is none that a JointState can tell of.
        """
        self.newest: RobotState | None = None
        self.faults = Faults()
        self._clock, self._frame = clock, frame
        self._names, self._nmocap = joint_names(model), model.nmocap
        self._order: tuple[tuple[str, ...], npt.NDArray[np.intp]] | None = None
        self._stamps, self._restarts, self._number, self._began = StampMap(), 0, 0, 0.0
        self._physics = sensed_state(model, model.qpos0, np.zeros(model.nv))
        self._parts = {
            part: _slice(model, part)
            for part in (
                _STATE.mjSTATE_QPOS,
                _STATE.mjSTATE_QVEL,
                _STATE.mjSTATE_MOCAP_POS,
                _STATE.mjSTATE_MOCAP_QUAT,
            )
        }
        self._lock = threading.Lock()

    def joint_state(
        self, stamp: float, names: Sequence[str], position: npt.ArrayLike, velocity: npt.ArrayLike
    ) -> None:
        """A JointState arrived, stamped ``stamp`` s, or 0 if the sender does not stamp."""
        moment = self._moment(stamp)
        self.faults.guarded(lambda: self._take(moment, stamp, tuple(names), position, velocity))

    def goal(self, frame: str, position: npt.ArrayLike, quaternion: npt.ArrayLike) -> None:
        """A goal arrived, ``position[3]`` in m and ``quaternion[4]`` as ROS has it, w last."""
        self.faults.guarded(lambda: self._aim(frame, position, quaternion))

    def _moment(self, stamp: float) -> float:
        """When a message that arrives now was sent, at the latest; both may have the same clock."""
        if isinstance(self._clock, SimulatedClock) and stamp != 0.0:
            return self._clock.of(stamp)
        return self._clock.now()

    def _take(
        self,
        moment: float,
        stamp: float,
        names: tuple[str, ...],
        position: npt.ArrayLike,
        velocity: npt.ArrayLike,
    ) -> None:
        """Check it, and make it the newest state."""
        if self._order is None or self._order[0] != names:
            self._order = names, in_order("joint_states.name", names, self._names)
        order = self._order[1]
        at = finite("joint_states.position", position, len(names), order)
        speed = finite("joint_states.velocity", velocity, len(names), order)
        local = moment if stamp == 0.0 else self._stamps.local(stamp, moment)
        if local is None:
            self.faults.add("out of order", "joint_states.header.stamp: not newer than before")
            return
        if self._number == 0 or self._stamps.restarts > self._restarts:
            self._restarts, self._number, self._began = self._stamps.restarts, 0, local
        with self._lock:
            physics = self._physics.copy()
        physics[0] = local - self._began
        physics[self._parts[_STATE.mjSTATE_QPOS]] = at
        physics[self._parts[_STATE.mjSTATE_QVEL]] = speed
        self.newest = RobotState(local, self._number, physics)
        self._number += 1

    def _aim(self, frame: str, position: npt.ArrayLike, quaternion: npt.ArrayLike) -> None:
        """Check it, and let all states from now on have it."""
        require(self._nmocap == 1, "goal", "a model with one mocap body", f"{self._nmocap}")
        require(frame in ("", self._frame), "goal.header.frame_id", repr(self._frame), frame)
        place = finite("goal.pose.position", position, 3)
        turn = finite("goal.pose.orientation", quaternion, 4)
        length = float(np.linalg.norm(turn))
        require(abs(length - 1.0) <= UNIT, "goal.pose.orientation", "length 1", length)
        with self._lock:
            self._physics[self._parts[_STATE.mjSTATE_MOCAP_POS]] = place
            self._physics[self._parts[_STATE.mjSTATE_MOCAP_QUAT]] = np.roll(turn, 1)


def _slice(model: mujoco.MjModel, part: mujoco.mjtState) -> slice:
    """Where a part of the state is in an integration state."""
    before = int(_STATE.mjSTATE_INTEGRATION) & (int(part) - 1)
    start = mujoco.mj_stateSize(model, before)
    return slice(start, start + mujoco.mj_stateSize(model, int(part)))


class CommandInbox:
    """Makes of messages the command to a robot.

    Attributes:
        newest: when the last sound command arrived, s, and the command ``[A]``; None before.
        faults: what was refused.
    """

    def __init__(self, model: mujoco.MjModel, clock: Clock) -> None:
        """Take commands for the model's actuators."""
        self.newest: tuple[float, Floats] | None = None
        self.faults = Faults()
        self._names, self._clock = command_names(model), clock

    def forward(self, data: npt.ArrayLike) -> None:
        """A Float64MultiArray arrived."""
        self.faults.guarded(lambda: self._take(finite("commands.data", data, len(self._names))))

    def trajectory(self, names: Sequence[str], points: Sequence[npt.ArrayLike]) -> None:
        """A JointTrajectory arrived, whose points have these positions; the last one counts."""
        self.faults.guarded(lambda: self._follow(list(names), points))

    def _follow(self, names: list[str], points: Sequence[npt.ArrayLike]) -> None:
        """Check it, and take it."""
        order = in_order("commands.joint_names", names, self._names)
        require(len(points) > 0, "commands.points", "at least one", 0)
        self._take(finite("commands.points.positions", points[-1], len(names), order))

    def _take(self, command: Floats) -> None:
        """Make it the newest command."""
        self.newest = self._clock.now(), command
