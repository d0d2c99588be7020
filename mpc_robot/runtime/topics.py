"""What a robot and its controller call their topics, and how messages are carried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mpc_robot.errors import require, require_choices

Reliability = Literal["reliable", "best_effort"]
CommandType = Literal["forward", "trajectory"]


@dataclass(frozen=True)
class Topics:
    """Names, types and quality of service; the same over ROS 2 and over plain DDS.

    Attributes:
        joint_states: ``sensor_msgs/JointState`` of the robot, positions in rad or m.
        command_type: what commands are sent as: ``forward`` is ``std_msgs/Float64MultiArray``, one
            number per actuator in the model's order, as forward command controllers take them;
            ``trajectory`` is ``trajectory_msgs/JointTrajectory`` with one point, for robots whose
            commands are joint positions.
        commands: the topic that they go to.
        reach: when that point shall be reached, s after it was sent.
        goal: ``geometry_msgs/PoseStamped`` of the model's mocap body, in ``frame``, m.
        frame: the frame of goals; it is the model's world.
        sim_time: take the time from ``/clock`` (``rosgraph_msgs/Clock``), as with a simulator that
            does not run at the pace of the world.
        depth: messages that wait for a slow receiver; with 1 the newest wins.
        state_reliability: of subscriptions to states; ``best_effort`` receives from either kind of
            publisher.
        command_reliability: of publishers of commands; ``reliable`` sends to either kind of
            subscription.
    """

    joint_states: str = "/joint_states"
    command_type: CommandType = "forward"
    commands: str = "/forward_command_controller/commands"
    reach: float = 0.02
    goal: str = "/goal"
    frame: str = "world"
    sim_time: bool = False
    depth: int = 1
    state_reliability: Reliability = "best_effort"
    command_reliability: Reliability = "reliable"

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require_choices(self)
        for name in ("joint_states", "commands", "goal"):
            topic = getattr(self, name)
            absolute = topic.startswith("/") and len(topic) > 1
            require(absolute, name, "a topic that begins with /", topic)
        require(0.0 <= self.reach < 60.0, "reach", "from 0 to 60 s", self.reach)
        require(self.depth >= 1, "depth", "at least 1", self.depth)
