"""How long a joint state takes to come back as a command: over Ros2Plant and over bare rclpy.

One process publishes joint states at a rate; two others answer each with a command that names it,
one by a Ros2Plant whose loop looks for news every 0.2 ms, one by a callback of rclpy alone.
Both answer the same messages, so that they meet the same disturbances.

    ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST .venv-ros/bin/python -m benchmarks.ros2_echo
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import torch
import tyro
from benchmarks.common import RESULTS, Row, about
from benchmarks.planning import publish
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from mpc_robot.envs import get_task
from mpc_robot.runtime.control import model_of
from mpc_robot.runtime.ros2 import Ros2Plant, open_node
from mpc_robot.runtime.topics import Topics

PLANT, BARE = "/plant/commands", "/bare/commands"
NAMES = {PLANT: "Ros2Plant", BARE: "bare rclpy"}
LOOK = 2e-4
MODEL = model_of(get_task("ReacherTwoLink-v0"))


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        rate: joint states per s.
        seconds: how long.
        json: print the result as one JSON object on the last line.
        out: file to write the result to.
    """

    rate: float = 100.0
    seconds: float = 60.0
    json: bool = False
    out: Path = RESULTS / "control_loop" / "ros2_echo.json"


def answer_by_plant() -> None:
    """Write each new state's first position back, for good."""
    with open_node("echo_plant") as node:
        plant, last = Ros2Plant(node, MODEL, Topics(commands=PLANT)), None
        while not plant.over:
            state = plant.read()
            if state is not None and state is not last and state.physics is not None:
                last = state
                plant.write(np.array([state.physics[1], 0.0]))
            time.sleep(LOOK)


def answer_barely() -> None:
    """Publish each state's first position from the callback that took it, for good."""
    rclpy.init()
    node = Node("echo_bare")
    publisher = node.create_publisher(Float64MultiArray, BARE, 1)

    def answer(message: Any) -> None:
        """Send it back."""
        publisher.publish(Float64MultiArray(data=[message.position[0], 0.0]))

    node.create_subscription(JointState, "/joint_states", answer, 1)
    rclpy.spin(node)


def ask(rate: float, seconds: float) -> tuple[int, dict[str, list[float]]]:
    """Publish states and take the answers: how many states, and all round trips by topic, s."""
    rclpy.init()
    node = Node("asker")
    publisher = node.create_publisher(JointState, "/joint_states", 1)
    sent: dict[int, float] = {}
    trips: dict[str, list[float]] = {PLANT: [], BARE: []}

    def taker(topic: str) -> Callable[[Any], None]:
        """What takes the answers on a topic."""
        return lambda message: trips[topic].append(time.monotonic() - sent[int(message.data[0])])

    subscriptions = [
        node.create_subscription(Float64MultiArray, topic, taker(topic), 10) for topic in trips
    ]
    while publisher.get_subscription_count() < 2 or not all(
        node.count_publishers(topic) for topic in trips
    ):
        rclpy.spin_once(node, timeout_sec=0.05)
    names = [MODEL.joint(i).name for i in range(MODEL.njnt)]

    def tell() -> None:
        """Send the next state."""
        message = JointState(name=names, velocity=[0.0, 0.0], position=[float(len(sent)), 0.0])
        message.header.stamp = node.get_clock().now().to_msg()
        sent[len(sent)] = time.monotonic()
        publisher.publish(message)

    timer = node.create_timer(1.0 / rate, tell)
    while len(sent) < rate * seconds:
        rclpy.spin_once(node, timeout_sec=0.1)
    timer.cancel()
    ended = time.monotonic() + 0.5
    while time.monotonic() < ended:
        rclpy.spin_once(node, timeout_sec=0.05)
    del subscriptions
    node.destroy_node()
    rclpy.try_shutdown()
    return len(sent), trips


def rows(asked: int, trips: dict[str, list[float]]) -> list[Row]:
    """What is to be said of the answers."""
    found = []
    for topic, beside in ((BARE, None), (PLANT, BARE)):
        of = None if beside is None else NAMES[beside]
        share = len(trips[topic]) / asked
        found.append(Row(NAMES[topic], "answered", share, "1", of))
        for quantile in (0.5, 0.99):
            value = float(np.quantile(trips[topic], quantile))
            ratio = None if beside is None else value / float(np.quantile(trips[beside], quantile))
            metric = f"round_trip_p{100 * quantile:.0f}"
            found.append(Row(NAMES[topic], metric, value, "s", of, ratio))
    return found


def measure(options: Options) -> dict[str, Any]:
    """Have both answer at once."""
    spawn = multiprocessing.get_context("spawn")
    peers = [spawn.Process(target=peer, daemon=True) for peer in (answer_by_plant, answer_barely)]
    for peer in peers:
        peer.start()
    try:
        found = rows(*ask(options.rate, options.seconds))
    finally:
        for peer in peers:
            peer.kill()
    return {
        **about("ros2_echo"),
        "rate": options.rate,
        "seconds": options.seconds,
        "rows": [asdict(row) for row in found],
        "notes": [f"Ros2Plant is looked at every {1e3 * LOOK:g} ms, which is part of its times"],
    }


def main() -> None:
    """Measure, write, tell."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    publish(measure(options), options.out, options.json)


if __name__ == "__main__":
    main()
