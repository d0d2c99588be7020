"""Recordings: MCAP files of what a robot did, which ROS tools open and models learn from.

Topics: ``/joint_states``, ``/physics_state`` (``mjSTATE_INTEGRATION``), ``/observation``,
``/commands`` and ``/events`` (``name: reason``). Needs mcap (extra ``[mcap]``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mujoco
import numpy as np
import numpy.typing as npt

try:
    from mpc_robot.runtime import mcap_writer
except ImportError as error:
    raise ImportError(
        f"recordings: expected mcap, got {error}; pip install 'mpc-robot[mcap]'"
    ) from error

from mpc_robot.runtime import cdr
from mpc_robot.runtime.base import Clock, RobotState

Floats = npt.NDArray[np.float64]
_LOG = logging.getLogger(__name__)
_NUMBERS = {topic: i for i, topic in enumerate(mcap_writer.TOPICS, 1)}
_PATIENCE = 3.0  # s that closing waits for the writer, at each step
_ONE_NUMBER = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)


class McapRecorder:
    """Writes states, commands and events to an MCAP file, in a process of its own.

    Nothing here waits: what finds the pipe to that process full is dropped and counted, and its
    number is missing in the file. What is in the pipe outlives this process, whatever kills it;
    what the writer took is in the file within 0.3 s, whatever kills that. One thread records.

    Attributes:
        dropped: messages that never reached the writer.
    """

    def __init__(self, path: Path, clock: Clock, model: mujoco.MjModel | None = None) -> None:
        """Begin a file.

        Args:
            path: the file, which must not exist yet.
            clock: the plant's; what it shows now is put down as the date and time of day.
            model: the robot's, whose hinges and slides make up the joint states; None for none.

        Raises:
            FileExistsError: if there is such a file.
            OSError: if it cannot be written.
        """
        self.dropped = 0
        self._epoch = time.time_ns() - _nanoseconds(clock.now())
        self._counts: Counter[str] = Counter()
        self._left = b""
        self._joints = None if model is None else _Joints(model)
        with path.open("xb") as file:
            self._writer = subprocess.Popen(
                [sys.executable, "-P", mcap_writer.__file__],
                stdin=subprocess.PIPE,
                stdout=file,
                pipesize=mcap_writer.PIPE,
                start_new_session=True,  # Ctrl-C is not for it: it ends with the pipe
            )
        assert self._writer.stdin is not None
        self._pipe = self._writer.stdin.fileno()
        os.set_blocking(self._pipe, False)

    @property
    def pid(self) -> int:
        """The process that writes."""
        return self._writer.pid

    def state(self, state: RobotState) -> None:
        """Record what the plant reported."""
        if state.physics is not None:
            if self._joints is not None:
                date = self._epoch + _nanoseconds(state.stamp)
                self._send("/joint_states", state.stamp, self._joints.message(date, state.physics))
            physics = cdr.float64_multi_array(state.physics)
            self._send("/physics_state", state.stamp, physics, state.number)
        if state.observation is not None:
            observation = cdr.float64_multi_array(state.observation)
            self._send("/observation", state.stamp, observation, state.number)

    def command(self, stamp: float, command: Floats) -> None:
        """Record what was sent."""
        self._send("/commands", stamp, cdr.float64_multi_array(command))

    def event(self, stamp: float, name: str, reason: str) -> None:
        """Record what happened."""
        self._send("/events", stamp, cdr.string(f"{name}: {reason}"))

    def close(self) -> None:
        """Finish the file; a second time does nothing."""
        assert self._writer.stdin is not None
        if self._writer.stdin.closed:
            return
        self._drain()
        self.dropped += bool(self._left)
        self._left += mcap_writer.FRAME.pack(0, 0, 0, 0)
        self._drain()
        with contextlib.suppress(BrokenPipeError):
            self._writer.stdin.close()
        try:
            code = self._writer.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._writer.kill()
            code = self._writer.wait()
        if code != 0:
            _LOG.error("recording: the writer ended with %d; the file is cut off", code)

    def _send(self, topic: str, stamp: float, data: bytes, number: int | None = None) -> None:
        """Put a message into the pipe or drop it; a message's number counts those dropped, too."""
        counted = self._counts[topic]
        self._counts[topic] += 1
        if not self._push():
            if self.dropped == 0:
                _LOG.warning("recording: the writer does not keep up; messages are dropped")
            self.dropped += 1
            return
        date = self._epoch + _nanoseconds(stamp)
        number = counted if number is None else number
        self._left = mcap_writer.FRAME.pack(_NUMBERS[topic], number, date, len(data)) + data
        self._push()

    def _push(self) -> bool:
        """Whether nothing is left of the last message, once what fits of it is in the pipe."""
        try:
            while self._left:
                self._left = self._left[os.write(self._pipe, self._left) :]
        except (BlockingIOError, BrokenPipeError):
            return False
        return True

    def _drain(self) -> None:
        """Wait until all is in the pipe, or the writer is dead or as good as dead."""
        deadline = time.monotonic() + _PATIENCE
        while not self._push() and self._writer.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)


class _Joints:
    """Where hinges and slides are in a physics state."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Read the model."""
        joints = np.flatnonzero(np.isin(model.jnt_type, [int(kind) for kind in _ONE_NUMBER]))
        self._states = cdr.JointStates([model.joint(int(i)).name or str(i) for i in joints])
        self._qpos = 1 + model.jnt_qposadr[joints]  # time comes first
        self._qvel = 1 + model.nq + model.jnt_dofadr[joints]

    def message(self, nanoseconds: int, physics: Floats) -> bytes:
        """The JointState of a physics state."""
        return self._states.message(nanoseconds, physics[self._qpos], physics[self._qvel])


def _nanoseconds(seconds: float) -> int:
    """``seconds`` as ROS counts them."""
    return round(seconds * 1e9)
