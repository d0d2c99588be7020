"""The control loop as a ROS 2 lifecycle node.

======================  ============================================================================
configure               connects to the robot; no command is sent
activate                sends commands, safe ones until the node is armed; needs joint states
deactivate              makes the robot safe, then sends no more
cleanup                 lets go of the robot
``~/arm``               ``std_srvs/Trigger``: from now on the plan is followed
``~/stop``              emergency stop: the safe action is in command until reset
``~/reset``             ends the stop; the robot waits to be armed then
``/diagnostics``        ``diagnostic_msgs/DiagnosticArray``: the loop's counters, once per s
======================  ============================================================================

Parameters are the fields of :class:`ControlConfig`. Rates of commands and watchdogs can be set at
any time; the other fields only where the node is started.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

# Says what to install if there is no ROS, so it comes first.
from mpc_robot.runtime.ros2 import Ros2Plant, open_node  # isort: split

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.lifecycle import LifecycleNode, ManagedEntity, TransitionCallbackReturn
from std_srvs.srv import Trigger

from mpc_robot.envs import Task
from mpc_robot.errors import PlantError, RealTimeRefusedError
from mpc_robot.runtime.base import Clock
from mpc_robot.runtime.control import ControlConfig, Drive, arm, control_loop, model_of, reset
from mpc_robot.runtime.loop import ControlLoop, LoopStatus, Recorder
from mpc_robot.runtime.planner import Planner
from mpc_robot.runtime.safety import Watchdogs
from mpc_robot.runtime.topics import Topics

_POLL = 0.02  # s between looks for a first state
_LIVE = ("velocity", "acceleration", "jerk")
_DOGS = tuple(field.name for field in fields(Watchdogs))


def open_lifecycle_node(name: str, args: Sequence[str] = ()) -> AbstractContextManager[Any]:
    """As :func:`mpc_robot.runtime.ros2.open_node`, of the kind that :class:`ControlNode` needs."""
    return open_node(name, args, LifecycleNode)


class ControlNode(ManagedEntity):  # type: ignore[misc] # rclpy has no types
    """What a lifecycle node does with a control loop.

    Attributes:
        loop: the newest loop; None unless the node was activated since it was configured.
    """

    def __init__(
        self,
        node: LifecycleNode,
        planner: Planner,
        task: Task,
        config: ControlConfig | None = None,
        *,
        topics: Topics | None = None,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
        report: Path | None = None,
    ) -> None:
        """Add parameters, services and diagnostics to a node; whoever owns it spins it.

        Args:
            node: a ``LifecycleNode``.
            planner: what the robot shall do; whoever made it closes it.
            task: the robot's task.
            config: defaults of the parameters.
            topics: names, types and quality of service.
            clock: what the planner counts on.
            recorder: keeps what happens; None for nobody.
            report: file for the loop's counters; None for none.

        Raises:
            TypeError: if the task has no MuJoCo model.
            ValueError: if its actions are not commands, or a parameter that the node was started
                with makes no sense.
        """
        self.loop: ControlLoop | None = None
        self._node, self._planner, self._task = node, planner, task
        self._model = model_of(task)
        self._topics, self._clock = topics or Topics(), clock
        self._recorder, self._report = recorder, report
        self._plant: Ros2Plant | None = None
        self._drive: Drive | None = None
        self._config = _declared(node, config or ControlConfig())
        node.add_on_set_parameters_callback(self._set)
        for name, serve in (("arm", self._arm), ("stop", self._stop), ("reset", self._reset)):
            node.create_service(Trigger, f"~/{name}", serve)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        node.create_timer(1.0, self._diagnose)
        node.add_managed_entity(self)

    @property
    def running(self) -> bool:
        """Whether commands are sent."""
        return self._drive is not None and self._drive.going_on

    def begin(self, told: Callable[[], bool]) -> None:
        """Configure, and at the first state activate and arm, nobody else being there to do so.

        Args:
            told: to wait no longer for a state.

        Raises:
            PlantError: if the robot cannot be driven; the node's log says why.
        """
        self._node.trigger_configure()
        while self._plant is not None and self._plant.read() is None and not told():
            time.sleep(_POLL)
        if told():
            return
        if self._plant is not None:
            self._node.trigger_activate()
        if self.loop is None:
            raise PlantError("the robot cannot be driven; the node's log says why")
        arm(self.loop)

    def on_configure(self, state: Any) -> TransitionCallbackReturn:
        """Connect to the robot."""
        try:
            self._plant = Ros2Plant(self._node, self._model, self._topics, self._clock)
        except ValueError as error:
            self._node.get_logger().error(f"cannot configure: {error}")
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: Any) -> TransitionCallbackReturn:
        """Begin to send commands, safe ones, once there is a state to begin at."""
        if self._plant is None or self._plant.read() is None:
            self._node.get_logger().error(f"cannot activate: no {self._topics.joint_states} yet")
            return TransitionCallbackReturn.FAILURE
        try:
            self.loop = control_loop(
                self._plant, self._planner, self._task, self._config, self._recorder
            )
        except (ValueError, PlantError, RealTimeRefusedError) as error:
            self._node.get_logger().error(f"cannot activate: {error}")
            return TransitionCallbackReturn.FAILURE
        self._drive = Drive(self.loop, self._report)
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: Any) -> TransitionCallbackReturn:
        """Make the robot safe, and send no more."""
        self._end()
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: Any) -> TransitionCallbackReturn:
        """Let go of the robot."""
        self._let_go()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: Any) -> TransitionCallbackReturn:
        """Make the robot safe and let go of it, whatever the node was doing."""
        self._end()
        self._let_go()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: Any) -> TransitionCallbackReturn:
        """As on shutdown; the node can be configured again."""
        return self.on_shutdown(state)

    def _end(self) -> None:
        """End the loop, the robot being safe."""
        if self._drive is not None:
            self._drive.end()
        self._drive = None

    def _let_go(self) -> None:
        """Close the plant."""
        if self._plant is not None:
            self._plant.close()
        self._plant = self.loop = None

    def _set(self, parameters: list[Any]) -> SetParametersResult:
        """Take new values of parameters, all or none."""
        values = {parameter.name: parameter.value for parameter in parameters}
        try:
            config = _configured(self._config, values)
        except (TypeError, ValueError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._config = config
        if self.loop is not None:
            self.loop.safety.retune(config.watchdogs, config.limits(self._task))
        return SetParametersResult(successful=True)

    def _arm(self, request: Any, response: Any) -> Any:
        """Serve ``~/arm``."""
        if self.loop is None or not self.running:
            response.success, response.message = False, "the node is not active"
        else:
            response.success = arm(self.loop)
            stopped = self.loop.safety.stopped
            response.message = "armed" if response.success else f"stopped ({stopped}): reset first"
        return response

    def _stop(self, request: Any, response: Any) -> Any:
        """Serve ``~/stop``."""
        return self._told(response, lambda loop: loop.safety.stop("emergency stop"), "stopped")

    def _reset(self, request: Any, response: Any) -> Any:
        """Serve ``~/reset``."""
        return self._told(response, reset, "reset; not armed")

    def _told(self, response: Any, act: Callable[[ControlLoop], None], done: str) -> Any:
        """Do something to the loop, if there is one."""
        response.success = self.loop is not None
        response.message = done if self.loop is not None else "the node is not active"
        if self.loop is not None:
            act(self.loop)
        return response

    def _diagnose(self) -> None:
        """Publish the counters."""
        status = None if self.loop is None else self.loop.status()
        level, message = _health(status, self.running)
        found: dict[str, Any] = {} if status is None else status.as_dict()
        if self._plant is not None:
            found["connected"] = self._plant.connected
            found["refused"] = dict(self._plant.faults.counts)
        about = DiagnosticStatus(
            level=level,
            name=f"{self._node.get_name()}: control loop",
            message=message,
            hardware_id=self._task.name,
            values=[KeyValue(key=key, value=str(value)) for key, value in flat(found)],
        )
        array = DiagnosticArray(status=[about])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dicts, with their paths joined by dots."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _health(status: LoopStatus | None, running: bool) -> tuple[bytes, str]:
    """How bad it is, and in words."""
    if status is None or not running:
        return DiagnosticStatus.OK, "not active"
    if status.stopped is not None:
        return DiagnosticStatus.WARN, f"stopped: {status.stopped}"
    if status.tripped:
        return DiagnosticStatus.ERROR, "tripped: the safe action is in command"
    return DiagnosticStatus.OK, "following plans"


def _configured(config: ControlConfig, values: Mapping[str, Any]) -> ControlConfig:
    """The config with these parameters set; what is no field of it is somebody else's.

    Raises:
        ValueError: if a setting makes no sense.
    """
    dogs = {name: values[name] for name in _DOGS if name in values}
    others = {field.name: values[field.name] for field in fields(config) if field.name in values}
    return replace(config, watchdogs=replace(config.watchdogs, **dogs), **others)


def _declared(node: Any, config: ControlConfig) -> ControlConfig:
    """Declare the parameters, and take what the node was started with."""
    defaults = asdict(config)
    defaults |= defaults.pop("watchdogs")
    values = {}
    for name, default in defaults.items():
        live = name in _LIVE or name in _DOGS
        descriptor = ParameterDescriptor(read_only=not live)
        values[name] = node.declare_parameter(name, default, descriptor).value
    return _configured(config, values)
