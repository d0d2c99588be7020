"""Robots over plain DDS, with the topics of ROS 2, for machines without rclpy.

Needs cyclonedds, from the extra ``[dds]``. It heeds ``ROS_DOMAIN_ID`` and
``ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST`` as ROS 2 does, and ``CYCLONEDDS_URI`` above both.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

try:
    from cyclonedds.core import (
        Entity,
        InstanceState,
        Policy,
        Qos,
        ReadCondition,
        SampleState,
        ViewState,
        WaitSet,
    )
    from cyclonedds.domain import Domain, DomainParticipant
    from cyclonedds.pub import DataWriter
    from cyclonedds.sub import DataReader
    from cyclonedds.topic import Topic
    from cyclonedds.util import duration

    from mpc_robot.runtime import dds_types as types
except ImportError as error:
    raise ImportError(
        f"DDS: expected cyclonedds, got {error}; pip install 'mpc-robot[dds]'"
    ) from error

from mpc_robot.errors import require
from mpc_robot.runtime.base import Clock, RobotState
from mpc_robot.runtime.clock import RealClock
from mpc_robot.runtime.joints import CommandInbox, StateInbox, command_names, finite, joint_names
from mpc_robot.runtime.stamps import SimulatedClock, clock_of, joined, split
from mpc_robot.runtime.topics import Reliability, Topics

Floats = npt.NDArray[np.float64]
_ANYTHING = ViewState.Any | SampleState.Any | InstanceState.Any
# Ports of this machine are tried one after the other, for good: a peer may come at any time.
_LOCALHOST = """
<General><AllowMulticast>false</AllowMulticast></General>
<Discovery>
  <ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>
  <Peers><Peer address="localhost"/></Peers>
  <SPDPInterval>500 ms</SPDPInterval><InitialLocatorPruneDelay>inf</InitialLocatorPruneDelay>
</Discovery>"""


class Participant:
    """A member of a DDS domain that takes messages in a thread of its own."""

    def __init__(self) -> None:
        """Join the domain ``ROS_DOMAIN_ID``, by default 0.

        Raises:
            ValueError: if that is no number from 0 to 232.
        """
        given = os.environ.get("ROS_DOMAIN_ID") or "0"
        valid = given.isdecimal() and int(given) <= 232
        require(valid, "ROS_DOMAIN_ID", "a number from 0 to 232", given)
        if os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") == "LOCALHOST":
            _keep_local(int(given))
        self._participant = DomainParticipant(int(given))
        self._waiting = WaitSet(self._participant)
        self._entities: list[Entity] = [self._participant, self._waiting]
        self._taken: list[tuple[ReadCondition, Callable[[], None]]] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._take, name="dds", daemon=True)

    def subscribe(
        self,
        kind: Any,
        topic: str,
        take: Callable[[Any], None],
        depth: int = 1,
        reliability: Reliability = "best_effort",
    ) -> DataReader[Any]:
        """Have ``take`` called with each message once :meth:`start` was called."""
        about = Topic(self._participant, f"rt{topic}", kind)
        qos = _qos(depth, reliability)
        reader: DataReader[Any] = DataReader(self._participant, about, qos=qos)

        def take_all() -> None:
            """Hand on what there is, but for notes that a writer has gone."""
            for message in reader.take(N=depth):
                if isinstance(message, kind):
                    take(message)

        condition = ReadCondition(reader, _ANYTHING)
        self._waiting.attach(condition)
        self._entities += [about, reader]
        self._taken.append((condition, take_all))
        return reader

    def advertise(
        self, kind: Any, topic: str, depth: int = 1, reliability: Reliability = "reliable"
    ) -> DataWriter[Any]:
        """What writes messages to ``topic``."""
        about = Topic(self._participant, f"rt{topic}", kind)
        qos = _qos(depth, reliability)
        writer: DataWriter[Any] = DataWriter(self._participant, about, qos=qos)
        self._entities += [about, writer]
        return writer

    def start(self) -> None:
        """Begin to take messages."""
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it left."""
        return self._closed.is_set()

    def close(self) -> None:
        """Leave the domain; a second time does nothing."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        for condition, _ in self._taken:
            self._waiting.detach(condition)
            condition.__del__()
        self._taken.clear()
        while self._entities:  # cyclonedds has no other way to let go of one
            self._entities.pop().__del__()

    def _take(self) -> None:
        """Wait for messages and hand them on."""
        while not self.closed:
            self._waiting.wait(duration(milliseconds=100))
            for condition, take in self._taken:
                if condition.triggered:
                    take()


class DdsPlant:
    """A robot that publishes joint states and takes commands.

    Attributes:
        clock: what stamps are counted on: the machine's monotonic clock, or ``/clock``.
        faults: messages that were refused.
    """

    def __init__(
        self, model: mujoco.MjModel, topics: Topics | None = None, clock: Clock | None = None
    ) -> None:
        """Join the domain, subscribe and advertise.

        Args:
            model: the robot's.
            topics: names, types and quality of service.
            clock: to count on; by default, as ``topics`` say.

        Raises:
            ValueError: if a joint of the model has no name, or is none that a JointState tells of.
        """
        self._topics = topics = topics or Topics()
        self.clock = clock or clock_of(topics)
        self._inbox = StateInbox(model, self.clock, topics.frame)
        self.faults = self._inbox.faults
        self._names = list(command_names(model))
        self._participant = participant = Participant()
        depth = topics.depth
        self._states = participant.subscribe(
            types.JointState, topics.joint_states, self._state, depth, topics.state_reliability
        )
        if model.nmocap:
            participant.subscribe(types.PoseStamped, topics.goal, self._goal, 1, "reliable")
        if isinstance(self.clock, SimulatedClock):
            participant.subscribe(types.Clock, "/clock", self._time)
        forward = topics.command_type == "forward"
        self._commands = participant.advertise(
            types.Float64MultiArray if forward else types.JointTrajectory,
            topics.commands,
            depth,
            topics.command_reliability,
        )
        participant.start()

    @property
    def over(self) -> bool:
        """Whether it was closed."""
        return self._participant.closed

    @property
    def connected(self) -> bool:
        """Whether somebody publishes states and somebody takes commands."""
        if self.over:
            return False
        senders = self._states.get_matched_publications()
        return bool(senders and self._commands.get_matched_subscriptions())

    def read(self) -> RobotState | None:
        """The newest sound state."""
        return self._inbox.newest

    def write(self, command: Floats) -> None:
        """Publish the command ``[A]``.

        Raises:
            ValueError: if it has the wrong size or is not finite.
        """
        numbers = finite("command", command, len(self._names)).tolist()
        if self.over:
            return
        if self._topics.command_type == "forward":
            self._commands.write(types.Float64MultiArray(data=numbers))
            return
        reach = types.Duration(*split(self._topics.reach))
        point = types.JointTrajectoryPoint(positions=numbers, time_from_start=reach)
        self._commands.write(types.JointTrajectory(joint_names=self._names, points=[point]))

    def close(self) -> None:
        """Send nothing more; the robot's own watchdog sees to its safety."""
        if isinstance(self.clock, SimulatedClock):
            self.clock.close()
        self._participant.close()

    def _state(self, message: types.JointState) -> None:
        """A JointState arrived."""
        stamp = joined(message.header.stamp)
        self._inbox.joint_state(stamp, message.name, message.position, message.velocity)

    def _goal(self, message: types.PoseStamped) -> None:
        """A PoseStamped arrived."""
        at, turn = message.pose.position, message.pose.orientation
        quaternion = turn.x, turn.y, turn.z, turn.w
        self._inbox.goal(message.header.frame_id, (at.x, at.y, at.z), quaternion)

    def _time(self, message: types.Clock) -> None:
        """A Clock arrived."""
        if isinstance(self.clock, SimulatedClock):
            self.clock.set(joined(message.clock))


class DdsPort:
    """The other end: what a robot publishes and takes.

    Attributes:
        commands: what arrived.
    """

    def __init__(self, model: mujoco.MjModel, topics: Topics | None = None) -> None:
        """Join the domain, subscribe and advertise."""
        topics = topics or Topics()
        self.commands = CommandInbox(model, RealClock())
        self._names = list(joint_names(model))
        self._participant = participant = Participant()
        self._states = participant.advertise(types.JointState, topics.joint_states, topics.depth)
        self._clock = participant.advertise(types.Clock, "/clock") if topics.sim_time else None
        forward = topics.command_type == "forward"
        participant.subscribe(
            types.Float64MultiArray if forward else types.JointTrajectory,
            topics.commands,
            self._forward if forward else self._trajectory,
            topics.depth,
        )
        participant.start()

    def publish(self, now: float, position: Floats, velocity: Floats, effort: Floats) -> None:
        """Send a JointState of the moment ``now``, s in the simulation."""
        numbers = [values.tolist() for values in (position, velocity, effort)]
        stamp = time.time() if self._clock is None else now
        header = types.Header(types.Time(*split(stamp)))
        self._states.write(types.JointState(header, self._names, *numbers))

    def tick(self, now: float) -> None:
        """Send the simulation's time, s, if that is what to go by."""
        if self._clock is not None:
            self._clock.write(types.Clock(types.Time(*split(now))))

    def close(self) -> None:
        """Send and take nothing more."""
        self._participant.close()

    def _forward(self, message: types.Float64MultiArray) -> None:
        """A Float64MultiArray arrived."""
        self.commands.forward(message.data)

    def _trajectory(self, message: types.JointTrajectory) -> None:
        """A JointTrajectory arrived."""
        self.commands.trajectory(message.joint_names, [p.positions for p in message.points])


@cache
def _keep_local(domain: int) -> Domain | None:
    """Keep a domain to this machine; cyclonedds can be told so once per process."""
    return None if "CYCLONEDDS_URI" in os.environ else Domain(domain, _LOCALHOST)


def _qos(depth: int, reliability: Reliability) -> Qos:
    """A quality of service: volatile, the last ``depth`` messages, in the encoding of ROS 2."""
    reliable = Policy.Reliability.Reliable(duration(milliseconds=10))
    return Qos(
        reliable if reliability == "reliable" else Policy.Reliability.BestEffort,
        Policy.History.KeepLast(depth),
        Policy.DataRepresentation(use_cdrv0_representation=True),
    )
