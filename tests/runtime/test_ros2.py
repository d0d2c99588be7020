"""Robot and controller as two processes over ROS 2, seen by a DDS stack that is none of theirs.

The interpreter with ROS 2 is that of .venv-ros (make test sets it up), or this one if it has rclpy.
"""

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from mpc_robot.envs import get_task
from mpc_robot.runtime import dds_types as types
from mpc_robot.runtime.control import model_of
from mpc_robot.runtime.dds import Participant
from mpc_robot.runtime.mcap_reader import read_recording
from mpc_robot.runtime.stamps import joined
from mpc_robot.runtime.topics import Topics

ROOT = Path(__file__).parents[2]
RATE, WATCHDOG, GOAL = 100.0, 0.1, (-0.2, 0.3)
DOMAINS = itertools.count(os.getpid())
TASK = ["--task", "ReacherTwoLink-v0"]
MODEL = model_of(get_task(TASK[1]))
PLAN = ["--planner.optimizer.num-samples", "20", "--planner.optimizer.iterations", "2"]


@pytest.fixture(scope="module")
def ros_python() -> str:
    if importlib.util.find_spec("rclpy"):
        return sys.executable
    python = ROOT / ".venv-ros/bin/python"
    if not python.exists():
        message = f"no rclpy here and no {python}; make test sets it up"
        if os.environ.get("CI") or os.environ.get("MPC_ROBOT_NEEDS_ROS"):
            pytest.fail(message)
        pytest.skip(message)
    return str(python)


@pytest.fixture(autouse=True)
def domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(50 + next(DOMAINS) % 50))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"):  # of another interpreter
        monkeypatch.delenv(name, raising=False)


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as ends:

        def begin(python: str, *words: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [python, *words],
                cwd=ROOT,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            ends.enter_context(process)
            ends.callback(process.kill)
            return process

        yield begin


def outcome(process: "subprocess.Popen[str]", told: int = signal.SIGINT) -> dict[str, Any]:
    """What it prints when it is told to end."""
    process.send_signal(told)
    out, errors = process.communicate(timeout=30.0)
    assert process.returncode == 0, errors
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


class Observer:
    """Who only looks on, with stamps of its own."""

    def __init__(self) -> None:
        self.states: list[tuple[float, types.JointState]] = []
        self.commands: list[tuple[float, np.ndarray]] = []
        self.participant = Participant()
        take, topics = self.participant.subscribe, Topics()
        take(types.JointState, topics.joint_states, self._state, depth=50)
        take(types.Float64MultiArray, topics.commands, self._command, depth=50)
        self.goals = self.participant.advertise(types.PoseStamped, topics.goal)
        self.participant.start()

    def _state(self, message: types.JointState) -> None:
        self.states.append((time.monotonic(), message))

    def _command(self, message: types.Float64MultiArray) -> None:
        self.commands.append((time.monotonic(), np.array(message.data)))

    def close(self) -> None:
        self.participant.close()

    def tip(self) -> np.ndarray:
        """Where the tip of the arm is, m."""
        data, state = mujoco.MjData(MODEL), self.states[-1][1]
        for name, angle in zip(state.name, state.position, strict=True):
            data.joint(name).qpos[:] = angle
        mujoco.mj_kinematics(MODEL, data)
        where: np.ndarray = data.site("tip").xpos[:2]
        return where

    def efforts(self, since: float) -> np.ndarray:
        """Torques from then on, N·m."""
        return np.array([state.effort for at, state in self.states if at > since])

    def aim(self, goal: tuple[float, float]) -> None:
        """Publish a goal, m."""
        pose = types.Pose(types.Point(*goal, 0.0), types.Quaternion())
        self.goals.write(types.PoseStamped(types.Header(frame_id="world"), pose))

    def near(self, goal: tuple[float, float]) -> Callable[[], bool]:
        """Whether the tip is there by now."""
        return lambda: bool(self.states) and float(np.linalg.norm(self.tip() - goal)) < 0.05

    def led(self, goal: tuple[float, float]) -> Callable[[], bool]:
        """Whether the tip is there by now, told again and again: who is not known yet hears not."""

        def there() -> bool:
            self.aim(goal)
            time.sleep(0.1)
            return self.near(goal)()

        return there


@pytest.fixture
def observer(domain: None) -> Iterator[Observer]:
    with closing(Observer()) as looking_on:
        yield looking_on


def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.005)


def followed(observer: Observer) -> Callable[[], bool]:
    """Whether plans are followed by now: commands are not those of rest."""
    now = time.monotonic()
    return lambda: sum(command.any() for at, command in observer.commands if at > now) > 20


def robot(python: str, start: Start) -> "subprocess.Popen[str]":
    return start(python, "-m", "mpc_robot", "ros2-sim", *TASK, "--json")


def test_an_arm_goes_where_goals_are_in_closed_loop_at_100_hz(
    ros_python: str, start: Start, observer: Observer, tmp_path: Path
) -> None:
    plant = robot(ros_python, start)
    report = tmp_path / "loop.json"
    words = ["ros2", *TASK, *PLAN, "--report", str(report), "--json"]
    controller = start(ros_python, "-m", "mpc_robot", *words)
    until(followed(observer))
    began, seconds = time.monotonic(), 5.0
    time.sleep(seconds)
    ended = time.monotonic()
    until(observer.near((0.4, 0.0)))  # as the model has it
    observer.aim(GOAL)
    until(observer.near(GOAL))
    sent = sum(began < at < ended for at, _ in observer.commands)
    told = sum(began < at < ended for at, _ in observer.states)
    # On a busy machine some are late and some are lost, as there is room for one to wait.
    assert 0.75 < sent / (RATE * seconds) < 1.05 and 0.75 < told / (RATE * seconds) < 1.05

    status = outcome(controller)
    assert status["ticks"] > RATE * seconds and status["stopped"] == "ended"
    assert status["times"]["state_age"]["p50"] < 0.05
    assert json.loads(report.read_text())["ticks"] >= status["ticks"]
    rests(observer)
    assert outcome(plant, signal.SIGTERM).items() >= {"trips": 1, "refused": {}}.items()


def rests(observer: Observer) -> None:
    """The robot is in its safe state from two watchdog periods on."""
    began = time.monotonic()
    time.sleep(4 * WATCHDOG)
    until(lambda: len(observer.efforts(began + 2 * WATCHDOG)) > 5)  # busy machines tell late
    assert (observer.efforts(began + 2 * WATCHDOG) == 0.0).all()


def test_whoever_is_stopped_or_killed_the_other_is_safe_and_goes_on_afterwards(
    ros_python: str, start: Start, observer: Observer, tmp_path: Path
) -> None:
    plant = robot(ros_python, start)
    words = ["-m", "mpc_robot", "ros2", *TASK, *PLAN, "--json"]
    record = tmp_path / "killed.mcap"
    controller = start(ros_python, *words, "--record", str(record))
    until(followed(observer))

    controller.send_signal(signal.SIGSTOP)
    rests(observer)
    controller.send_signal(signal.SIGCONT)
    until(followed(observer))

    controller.kill()
    seen = len(observer.commands)
    rests(observer)
    until(lambda: len(read_recording(record).signals["/commands"].times) > seen - RATE)
    controller = start(ros_python, *words)
    until(followed(observer))

    plant.kill()
    killed = time.monotonic()
    time.sleep(4 * WATCHDOG)
    until(lambda: observer.commands[-1][0] > killed + 3 * WATCHDOG)
    late = [command for at, command in observer.commands if at > killed + 2 * WATCHDOG]
    assert (np.array(late) == 0.0).all()
    robot(ros_python, start)
    until(followed(observer))
    events = outcome(controller)["events"]
    assert events["fault: stale state"] >= 1 and events["recovered: no more faults"] >= 2


def test_an_operator_has_the_say(ros_python: str, start: Start, observer: Observer) -> None:
    robot(ros_python, start)
    ros_args = ["--ros-args", "-r", "__ns:=/left", "-p", "velocity:=40.0"]
    node = start(ros_python, "-m", "mpc_robot", "ros2", *TASK, *PLAN, "--wait", *ros_args)
    operator = start(ros_python, str(Path(__file__).with_name("ros2_operator.py")))
    out, errors = operator.communicate(timeout=90.0)
    assert operator.returncode == 0, errors
    found = json.loads(out)
    assert found["velocity at start"] == 40.0
    assert found["arm unconfigured"] == [False, "the node is not active"]
    assert found["configure"] == found["configure again"] == [True, "inactive"]
    assert found["activate"] == found["activate again"] == [True, "active"]
    assert found["arm"] == found["arm again"] == [True, "armed"]
    assert int(found["following"]["ticks"]) > 0 and found["following"]["connected"] == "True"
    assert found["slower"] == [True, ""] and found["velocity"] == 5.0
    assert found["senseless"] == [False, "velocity: expected positive, got -1.0"]
    assert not found["too late"][0] and found["velocity after"] == 5.0
    assert found["limits"] == "1"
    assert found["stop"] == [True, "stopped"]
    assert found["arm stopped"] == [False, "stopped (emergency stop): reset first"]
    assert found["reset"] == [True, "reset; not armed"]
    assert found["deactivate"] == [True, "inactive"]
    assert found["cleanup"] == [True, "unconfigured"]
    assert found["unlimited"]
    rates = np.diff([command for _, command in observer.commands], axis=0) * RATE
    assert np.abs(rates).max() <= 40.0 * (1 + 1e-9)
    node.send_signal(signal.SIGTERM)
    node.communicate(timeout=30.0)
    assert node.returncode == 0


def test_commands_are_trajectories_and_time_is_the_robots_own_if_asked_for(
    ros_python: str, start: Start, observer: Observer
) -> None:
    same = [*TASK, "--topics.command-type", "trajectory", "--topics.sim-time", "--json"]
    plant = start(ros_python, "-m", "mpc_robot", "ros2-sim", *same, "--robot.pace", "1.5")
    controller = start(ros_python, "-m", "mpc_robot", "ros2", *same, *PLAN)
    until(lambda: observer.states)
    until(observer.near((0.4, 0.0)))
    until(observer.led(GOAL))
    stamps = [(at, joined(state.header.stamp)) for at, state in observer.states]
    pace = np.diff(stamps[:: len(stamps) - 1], axis=0)[0]
    assert pace[1] / pace[0] == pytest.approx(1.5, rel=0.15)
    status = outcome(controller)
    assert status["times"]["state_age"]["p99"] < 0.1 and not observer.commands
    assert outcome(plant)["refused"] == {}


def test_plain_dds_controls_a_robot_of_ros_2(
    ros_python: str, start: Start, observer: Observer
) -> None:
    plant = robot(ros_python, start)
    words = ["ros2", *TASK, *PLAN, "--transport", "dds", "--json"]
    controller = start(sys.executable, "-m", "mpc_robot", *words)
    until(followed(observer))
    until(observer.led(GOAL))
    assert outcome(controller, signal.SIGTERM)["times"]["state_age"]["p50"] < 0.05
    assert outcome(plant)["refused"] == {}


@pytest.mark.skipif(importlib.util.find_spec("rclpy") is not None, reason="rclpy is here")
def test_without_rclpy_the_extra_is_named(start: Start) -> None:
    process = start(sys.executable, "-m", "mpc_robot", "ros2", *TASK)
    _, errors = process.communicate(timeout=60.0)
    assert process.returncode == 1
    assert "expected rclpy" in errors and "mpc-robot[ros]" in errors and "Traceback" not in errors
