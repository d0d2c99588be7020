"""Robots over ROS 2: the plant that a controller sees, and the port that a simulated robot has.

Needs rclpy, from a sourced /opt/ros or from the wheels of the extra ``[ros]``.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

try:
    import rclpy
    from builtin_interfaces.msg import Duration, Time
    from geometry_msgs.msg import PoseStamped
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.node import Node
    from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
    from rclpy.signals import SignalHandlerOptions
    from rosgraph_msgs.msg import Clock as ClockMessage
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
except ImportError as error:
    raise ImportError(
        f"ROS 2: expected rclpy, got {error}; source /opt/ros/<distro>/setup.bash, "
        "or pip install 'mpc-robot[ros]' (Jazzy, Linux)"
    ) from error

from mpc_robot.runtime.base import Clock, RobotState
from mpc_robot.runtime.clock import RealClock
from mpc_robot.runtime.joints import CommandInbox, StateInbox, command_names, finite
from mpc_robot.runtime.joints import joint_names as joint_names_of
from mpc_robot.runtime.stamps import SimulatedClock, clock_of, joined, split
from mpc_robot.runtime.topics import Reliability, Topics

Floats = npt.NDArray[np.float64]


@contextmanager
def spinning(node: Any) -> Iterator[None]:
    """Take messages for ``node`` in a thread of its own, which is done when the context ends."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def spin() -> None:
        """Until the executor or the context is shut down; a callback that fails ends both."""
        try:
            executor.spin()
        except ExternalShutdownException:
            pass
        except BaseException:
            node.context.try_shutdown()
            raise

    thread = threading.Thread(target=spin, name="ros2", daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()


@contextmanager
def open_node(name: str, args: Sequence[str] = (), kind: Any = Node) -> Iterator[Any]:
    """A node that takes messages until the context ends; signals are left to the caller.

    Args:
        name: of the node.
        args: from ``--ros-args`` on, such as ``-r __ns:=/left -p velocity:=2.0``.
        kind: class of the node.
    """
    rclpy.init(args=list(args), signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = kind(name)
        try:
            with spinning(node):
                yield node
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()


class Ros2Plant:
    """A robot whose node publishes joint states and takes commands.

    Attributes:
        clock: what stamps are counted on: the machine's monotonic clock, or ``/clock``.
        faults: messages that were refused.
    """

    def __init__(
        self,
        node: Any,
        model: mujoco.MjModel,
        topics: Topics | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Subscribe and advertise; whoever owns ``node`` spins it.

        Args:
            node: subscriptions and publishers are its own.
            model: the robot's.
            topics: names, types and quality of service.
            clock: to count on; by default, as ``topics`` say.

        Raises:
            ValueError: if a joint of the model has no name, or is none that a JointState tells of.
        """
        self._node, self._topics = node, topics or Topics()
        self.clock = clock or clock_of(self._topics)
        self._inbox = StateInbox(model, self.clock, self._topics.frame)
        self.faults = self._inbox.faults
        self._names = list(command_names(model))
        self._closed = False
        states = _qos(self._topics.depth, self._topics.state_reliability)
        self._subscriptions = [
            node.create_subscription(JointState, self._topics.joint_states, self._state, states)
        ]
        if model.nmocap:
            goals = node.create_subscription(
                PoseStamped, self._topics.goal, self._goal, _qos(1, "reliable")
            )
            self._subscriptions.append(goals)
        if isinstance(self.clock, SimulatedClock):
            times = node.create_subscription(
                ClockMessage, "/clock", self._time, _qos(1, "best_effort")
            )
            self._subscriptions.append(times)
        kind = Float64MultiArray if self._topics.command_type == "forward" else JointTrajectory
        commands = _qos(self._topics.depth, self._topics.command_reliability)
        self._publisher = node.create_publisher(kind, self._topics.commands, commands)

    @property
    def over(self) -> bool:
        """Whether it was closed, or ROS was shut down."""
        return self._closed or not self._node.context.ok()

    @property
    def connected(self) -> bool:
        """Whether somebody publishes states and somebody takes commands."""
        senders = self._node.count_publishers(self._topics.joint_states)
        return bool(senders and self._publisher.get_subscription_count())

    def read(self) -> RobotState | None:
        """The newest sound state."""
        return self._inbox.newest

    def write(self, command: Floats) -> None:
        """Publish the command ``[A]``.

        Raises:
            ValueError: if it has the wrong size or is not finite.
        """
        numbers = array("d", finite("command", command, len(self._names)).tobytes())
        if self.over:
            return
        if self._topics.command_type == "forward":
            self._publisher.publish(Float64MultiArray(data=numbers))
            return
        point = JointTrajectoryPoint(positions=numbers)
        point.time_from_start = _at(Duration, self._topics.reach)
        self._publisher.publish(JointTrajectory(joint_names=self._names, points=[point]))

    def close(self) -> None:
        """Send nothing more; the robot's own watchdog sees to its safety."""
        if self._closed:
            return
        self._closed = True
        if isinstance(self.clock, SimulatedClock):
            self.clock.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._node.destroy_publisher(self._publisher)

    def _state(self, message: Any) -> None:
        """A JointState arrived."""
        stamp = joined(message.header.stamp)
        self._inbox.joint_state(stamp, message.name, message.position, message.velocity)

    def _goal(self, message: Any) -> None:
        """A PoseStamped arrived."""
        at, turn = message.pose.position, message.pose.orientation
        quaternion = turn.x, turn.y, turn.z, turn.w
        self._inbox.goal(message.header.frame_id, (at.x, at.y, at.z), quaternion)

    def _time(self, message: Any) -> None:
        """A Clock arrived."""
        if isinstance(self.clock, SimulatedClock):
            self.clock.set(joined(message.clock))


class Ros2Port:
    """The other end: what a robot publishes and takes.

    Attributes:
        commands: what arrived.
    """

    def __init__(self, node: Any, model: mujoco.MjModel, topics: Topics | None = None) -> None:
        """Subscribe and advertise; whoever owns ``node`` spins it."""
        self._node, self._topics = node, topics or Topics()
        self.commands = CommandInbox(model, RealClock())
        self._names = list(joint_names_of(model))
        depth = self._topics.depth
        self._states = node.create_publisher(
            JointState, self._topics.joint_states, _qos(depth, "reliable")
        )
        self._clock = None
        if self._topics.sim_time:
            self._clock = node.create_publisher(ClockMessage, "/clock", _qos(1, "reliable"))
        forward = self._topics.command_type == "forward"
        self._commands = node.create_subscription(
            Float64MultiArray if forward else JointTrajectory,
            self._topics.commands,
            self._forward if forward else self._trajectory,
            _qos(depth, "best_effort"),
        )

    def publish(self, now: float, position: Floats, velocity: Floats, effort: Floats) -> None:
        """Send a JointState of the moment ``now``, s in the simulation."""
        message = JointState(name=self._names)
        message.header.stamp = _at(Time, now if self._topics.sim_time else time.time())
        message.position = array("d", position)
        message.velocity = array("d", velocity)
        message.effort = array("d", effort)
        self._states.publish(message)

    def tick(self, now: float) -> None:
        """Send the simulation's time, s, if that is what to go by."""
        if self._clock is not None:
            self._clock.publish(ClockMessage(clock=_at(Time, now)))

    def close(self) -> None:
        """Send and take nothing more."""
        self._node.destroy_subscription(self._commands)
        self._node.destroy_publisher(self._states)

    def _forward(self, message: Any) -> None:
        """A Float64MultiArray arrived."""
        self.commands.forward(message.data)

    def _trajectory(self, message: Any) -> None:
        """A JointTrajectory arrived."""
        points = [point.positions for point in message.points]
        self.commands.trajectory(message.joint_names, points)


def _qos(depth: int, reliability: Reliability) -> Any:
    """A quality of service: volatile, the last ``depth`` messages."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=(
            ReliabilityPolicy.RELIABLE
            if reliability == "reliable"
            else ReliabilityPolicy.BEST_EFFORT
        ),
    )


def _at(kind: Any, seconds: float) -> Any:
    """``seconds`` as a Time or Duration."""
    whole, rest = split(seconds)
    return kind(sec=whole, nanosec=rest)
