"""Somebody at the controls of a lifecycle node, by ROS 2 alone; prints what came of it as JSON."""

import json
import math
import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from std_srvs.srv import Trigger

NODE = "/left/mpc_robot"


class Operator:
    def __init__(self) -> None:
        self.node = Node("operator")
        self.health: list[tuple[str, dict[str, str]]] = []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 10)

    def _diagnosed(self, message: Any) -> None:
        for status in message.status:
            values = {entry.key: entry.value for entry in status.values}
            self.health.append((f"{status.level[0]} {status.message}", values))

    def answer(self, future: Any) -> Any:
        rclpy.spin_until_future_complete(self.node, future, timeout_sec=20.0)
        assert future.done(), "no answer"
        return future.result()

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(kind, f"{NODE}/{name}")
        assert client.wait_for_service(30.0), name
        return self.answer(client.call_async(request))

    def change(self, transition: int) -> tuple[bool, str]:
        request = ChangeState.Request(transition=Transition(id=transition))
        success = self.call(ChangeState, "change_state", request).success
        return success, self.call(GetState, "get_state", GetState.Request()).current_state.label

    def activate(self) -> tuple[bool, str]:
        """Try until there are joint states to begin at."""
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline:
            success, label = self.change(Transition.TRANSITION_ACTIVATE)
            if success:
                break
            assert label == "inactive"
            time.sleep(0.1)
        return success, label

    def press(self, name: str) -> tuple[bool, str]:
        response = self.call(Trigger, name, Trigger.Request())
        return response.success, response.message

    def set(self, **values: Any) -> tuple[bool, str]:
        client = AsyncParameterClient(self.node, NODE)
        assert client.wait_for_services(20.0)
        parameters = [Parameter(name, value=value) for name, value in values.items()]
        results = self.answer(client.set_parameters_atomically(parameters)).result
        return results.successful, results.reason

    def get(self, name: str) -> float:
        response = self.call(GetParameters, "get_parameters", GetParameters.Request(names=[name]))
        value: float = response.values[0].double_value
        return value

    def wait_for(self, start: str) -> dict[str, str]:
        """The values of the first diagnosis from now on that begins so."""
        self.health.clear()
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline:
            rclpy.spin_once(self.node, timeout_sec=0.1)
            for message, values in self.health:
                if message.startswith(start):
                    return values
        raise AssertionError(f"{start!r} is none of {[message for message, _ in self.health]}")


def main() -> None:
    rclpy.init()
    operator = Operator()
    found: dict[str, Any] = {"velocity at start": operator.get("velocity")}
    found["arm unconfigured"] = operator.press("arm")
    found["configure"] = operator.change(Transition.TRANSITION_CONFIGURE)
    found["activate"] = operator.activate()
    operator.wait_for("1 stopped: not armed")
    found["arm"] = operator.press("arm")
    found["following"] = operator.wait_for("0 following plans")
    found["slower"] = operator.set(velocity=5.0, state_age=0.2)
    found["velocity"] = operator.get("velocity")
    found["senseless"] = operator.set(velocity=-1.0)
    found["too late"] = operator.set(rate=50.0)
    found["velocity after"] = operator.get("velocity")
    found["limits"] = operator.wait_for("0 following plans").get("events.limits: changed")
    found["stop"] = operator.press("stop")
    operator.wait_for("1 stopped: emergency stop")
    found["arm stopped"] = operator.press("arm")
    found["reset"] = operator.press("reset")
    operator.wait_for("1 stopped: not armed")
    found["arm again"] = operator.press("arm")
    operator.wait_for("0 following plans")
    found["deactivate"] = operator.change(Transition.TRANSITION_DEACTIVATE)
    operator.wait_for("0 not active")
    found["cleanup"] = operator.change(Transition.TRANSITION_CLEANUP)
    found["configure again"] = operator.change(Transition.TRANSITION_CONFIGURE)
    found["activate again"] = operator.activate()
    found["unlimited"] = math.isinf(operator.get("jerk"))
    operator.node.destroy_node()
    rclpy.try_shutdown()
    print(json.dumps(found))


main()
