"""The messages of ROS 2 that controllers need, as DDS types (sensor_msgs, std_msgs, ... 5.3)."""

# No postponed annotations: cyclonedds reads the types of fields as they stand.

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import float64, int32, uint32

if TYPE_CHECKING:
    from collections.abc import Sequence
else:
    from cyclonedds.idl.types import sequence as Sequence  # noqa: N812


@dataclass
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    """Time of day, or of a simulator."""

    sec: int32 = 0
    nanosec: uint32 = 0


@dataclass
class Duration(IdlStruct, typename="builtin_interfaces::msg::dds_::Duration_"):
    """A time span."""

    sec: int32 = 0
    nanosec: uint32 = 0


@dataclass
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    """When and in which frame."""

    stamp: Time = field(default_factory=Time)
    frame_id: str = ""


@dataclass
class JointState(IdlStruct, typename="sensor_msgs::msg::dds_::JointState_"):
    """Positions in rad or m, velocities in rad/s or m/s, efforts in N·m or N."""

    header: Header = field(default_factory=Header)
    name: Sequence[str] = field(default_factory=list)
    position: Sequence[float64] = field(default_factory=list)
    velocity: Sequence[float64] = field(default_factory=list)
    effort: Sequence[float64] = field(default_factory=list)


@dataclass
class MultiArrayDimension(IdlStruct, typename="std_msgs::msg::dds_::MultiArrayDimension_"):
    """One axis of an array."""

    label: str = ""
    size: uint32 = 0
    stride: uint32 = 0


@dataclass
class MultiArrayLayout(IdlStruct, typename="std_msgs::msg::dds_::MultiArrayLayout_"):
    """The axes of an array."""

    dim: Sequence[MultiArrayDimension] = field(default_factory=list)
    data_offset: uint32 = 0


@dataclass
class Float64MultiArray(IdlStruct, typename="std_msgs::msg::dds_::Float64MultiArray_"):
    """Numbers."""

    layout: MultiArrayLayout = field(default_factory=MultiArrayLayout)
    data: Sequence[float64] = field(default_factory=list)


@dataclass
class JointTrajectoryPoint(IdlStruct, typename="trajectory_msgs::msg::dds_::JointTrajectoryPoint_"):
    """Where joints shall be, and when."""

    positions: Sequence[float64] = field(default_factory=list)
    velocities: Sequence[float64] = field(default_factory=list)
    accelerations: Sequence[float64] = field(default_factory=list)
    effort: Sequence[float64] = field(default_factory=list)
    time_from_start: Duration = field(default_factory=Duration)


@dataclass
class JointTrajectory(IdlStruct, typename="trajectory_msgs::msg::dds_::JointTrajectory_"):
    """Where joints shall be, one point after the other."""

    header: Header = field(default_factory=Header)
    joint_names: Sequence[str] = field(default_factory=list)
    points: Sequence[JointTrajectoryPoint] = field(default_factory=list)


@dataclass
class Point(IdlStruct, typename="geometry_msgs::msg::dds_::Point_"):
    """A place, m."""

    x: float64 = 0.0
    y: float64 = 0.0
    z: float64 = 0.0


@dataclass
class Quaternion(IdlStruct, typename="geometry_msgs::msg::dds_::Quaternion_"):
    """An orientation."""

    x: float64 = 0.0
    y: float64 = 0.0
    z: float64 = 0.0
    w: float64 = 1.0


@dataclass
class Pose(IdlStruct, typename="geometry_msgs::msg::dds_::Pose_"):
    """Place and orientation."""

    position: Point = field(default_factory=Point)
    orientation: Quaternion = field(default_factory=Quaternion)


@dataclass
class PoseStamped(IdlStruct, typename="geometry_msgs::msg::dds_::PoseStamped_"):
    """A pose, when and in which frame."""

    header: Header = field(default_factory=Header)
    pose: Pose = field(default_factory=Pose)


@dataclass
class Clock(IdlStruct, typename="rosgraph_msgs::msg::dds_::Clock_"):
    """The time of a simulator."""

    clock: Time = field(default_factory=Time)
