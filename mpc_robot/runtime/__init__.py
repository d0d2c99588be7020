"""The real-time side: the control loop, safety, and plants.

ROS 2 is in :mod:`mpc_robot.runtime.ros2`; it needs the extra ``[ros]`` or a sourced ``/opt/ros``.
"""

from mpc_robot.runtime.base import Clock, Plant, RobotState
from mpc_robot.runtime.guards import Box, ForceLimit, Guard, JointEnds, Workspace
from mpc_robot.runtime.limits import CommandLimiter, CommandLimits
from mpc_robot.runtime.lockstep import GymnasiumPlant
from mpc_robot.runtime.loop import ControlLoop, LoopStatus, Recorder
from mpc_robot.runtime.mujoco_plant import MuJoCoPlant, Realism
from mpc_robot.runtime.plan import TimedPlan
from mpc_robot.runtime.planner import InStep, Planner, PlannerProcess, Timing
from mpc_robot.runtime.reporter import LoopReporter
from mpc_robot.runtime.safe_actions import (
    Damp,
    Fallback,
    Hold,
    HoldAgainstGravity,
    Rest,
    SafeAction,
)
from mpc_robot.runtime.safety import Safety, Watchdogs

__all__ = [
    "Box",
    "Clock",
    "CommandLimiter",
    "CommandLimits",
    "ControlLoop",
    "Damp",
    "Fallback",
    "ForceLimit",
    "Guard",
    "GymnasiumPlant",
    "Hold",
    "HoldAgainstGravity",
    "InStep",
    "JointEnds",
    "LoopReporter",
    "LoopStatus",
    "MuJoCoPlant",
    "Planner",
    "PlannerProcess",
    "Plant",
    "Realism",
    "Recorder",
    "Rest",
    "RobotState",
    "SafeAction",
    "Safety",
    "TimedPlan",
    "Timing",
    "Watchdogs",
    "Workspace",
]
