"""A simulated robot and its controller over real DDS, in one process."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import mujoco
import numpy as np
import pytest

from mpc_robot.envs import get_task
from mpc_robot.runtime import dds_types as types
from mpc_robot.runtime.control import model_of
from mpc_robot.runtime.dds import DdsPlant, DdsPort, Participant
from mpc_robot.runtime.simulated_robot import RobotConfig, RobotStatus, SimulatedRobot
from mpc_robot.runtime.topics import Topics

TASK = get_task("ReacherTwoLink-v0")
MODEL = model_of(TASK)
WATCHDOG = 0.1
DOMAINS = itertools.count(os.getpid())


@pytest.fixture(autouse=True)
def domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(10 + next(DOMAINS) % 40))


class Life:
    """A robot that lives in a thread."""

    def __init__(self, topics: Topics, config: RobotConfig, seed: int = 0) -> None:
        self.robot = SimulatedRobot(TASK, config, seed)
        self.port = DdsPort(self.robot.model, topics)
        self.status: RobotStatus | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def _live(self) -> None:
        self.status = self.robot.run(self.port, told=self._ended.is_set)

    def end(self) -> RobotStatus:
        self._ended.set()
        self._thread.join()
        self.port.close()
        assert self.status is not None
        return self.status


@pytest.fixture
def begin() -> Iterator[Callable[..., Life]]:
    with ExitStack() as lives:

        def start(topics: Topics, config: RobotConfig | None = None) -> Life:
            life = Life(topics, config or RobotConfig(watchdog=WATCHDOG))
            lives.callback(life.end)
            return life

        yield start


def until(true: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.005)


def steer(plant: DdsPlant, target: np.ndarray, seconds: float) -> np.ndarray:
    """Drive the joints to ``target`` by a PD law at 100 Hz; how old states were."""
    ages = []
    due = plant.clock.now()
    for _ in range(round(100 * seconds)):
        state = plant.read()
        assert state is not None and state.physics is not None
        ages.append(plant.clock.now() - state.stamp)
        error, speed = target - state.physics[1:3], state.physics[3:5]
        plant.write(np.clip(0.5 * error - 0.1 * speed, -0.05, 0.05))
        due += 0.01
        plant.clock.wait_until(due)
    return np.array(ages)


class Observer:
    """Who only looks on."""

    def __init__(self) -> None:
        self.efforts: list[tuple[float, np.ndarray]] = []
        self.participant = Participant()
        self.participant.subscribe(types.JointState, "/joint_states", self._see, depth=10)
        self.participant.start()

    def _see(self, message: types.JointState) -> None:
        self.efforts.append((time.monotonic(), np.array(message.effort)))

    def close(self) -> None:
        self.participant.close()


@pytest.mark.parametrize("kind", ["forward", "trajectory"])
def test_a_robot_is_driven_and_is_safe_when_commands_stop(
    kind: Any, begin: Callable[..., Life]
) -> None:
    topics = Topics(command_type=kind)
    life = begin(topics)
    with closing(DdsPlant(MODEL, topics)) as plant, closing(Observer()) as observer:
        until(lambda: plant.connected and plant.read() and observer.efforts)
        target = np.array([1.0, -0.5])
        ages = steer(plant, target, 3.0)
        state = plant.read()
        assert state is not None and state.physics is not None
        np.testing.assert_allclose(state.physics[1:3], target, atol=0.05)
        assert np.median(ages) < 0.03
        plant.write(np.array([0.04, -0.03]))  # and nothing more
        sent = time.monotonic()
        time.sleep(5 * WATCHDOG)
        after = [(t - sent, effort) for t, effort in observer.efforts if t > sent + 0.03]
    torque = MODEL.actuator_gear[:, 0] * [0.04, -0.03]
    assert any(np.allclose(effort, torque) for t, effort in after if t < WATCHDOG)
    assert all((effort == 0.0).all() for t, effort in after if t > 2 * WATCHDOG)
    status = life.end()
    assert status.trips == 1 and status.safe
    assert not status.refused and not plant.faults.counts


def test_what_others_send_is_checked(begin: Callable[..., Life]) -> None:
    topics = Topics()
    life = begin(topics)
    peer = Participant()
    commands = peer.advertise(types.Float64MultiArray, topics.commands)
    states = peer.advertise(types.JointState, topics.joint_states)
    with closing(peer), closing(DdsPlant(MODEL, topics)) as plant, closing(Observer()) as observer:
        until(lambda: len(commands.get_matched_subscriptions()) == 1)
        until(lambda: len(states.get_matched_subscriptions()) == 2)
        for data in ([np.nan, 0.0], [0.05], [0.05] * 3):
            commands.write(types.Float64MultiArray(data=data))
            time.sleep(0.05)
        partial = types.JointState(name=["shoulder"], position=[0.0], velocity=[0.0])

        def refused() -> bool:
            states.write(partial)  # until it is not at once replaced by one of the robot's
            return "joint_states.name" in plant.faults.counts

        until(refused)
        with pytest.raises(ValueError, match="command: expected finite"):
            plant.write(np.array([np.nan, 0.0]))
        with pytest.raises(ValueError, match="command: expected 2 numbers"):
            plant.write(np.zeros(3))
        assert all((effort == 0.0).all() for _, effort in observer.efforts)
    assert life.end().refused == {"commands.data": 3}


def test_goals_come_by_their_topic(begin: Callable[..., Life]) -> None:
    begin(Topics())
    peer = Participant()
    goals = peer.advertise(types.PoseStamped, "/goal")
    with closing(peer), closing(DdsPlant(MODEL)) as plant:
        until(lambda: plant.read() and goals.get_matched_subscriptions())
        pose = types.Pose(types.Point(0.1, -0.2, 0.0), types.Quaternion())
        goals.write(types.PoseStamped(types.Header(frame_id="world"), pose))

        def arrived() -> bool:
            state = plant.read()
            assert state is not None and state.physics is not None
            return _target(state.physics) == (0.1, -0.2)

        until(arrived)


def _target(physics: np.ndarray) -> tuple[float, float]:
    data = mujoco.MjData(MODEL)
    mujoco.mj_setState(MODEL, data, physics, mujoco.mjtState.mjSTATE_INTEGRATION)
    return float(data.mocap_pos[0, 0]), float(data.mocap_pos[0, 1])


def test_a_robot_that_begins_anew_is_noticed(begin: Callable[..., Life]) -> None:
    first = begin(Topics())
    with closing(DdsPlant(MODEL)) as plant:
        until(lambda: (state := plant.read()) and state.number > 20)
        first.end()
        before = plant.read()
        begin(Topics())
        assert before is not None
        until(lambda: (state := plant.read()) and state.number > before.number)
        after = plant.read()
        assert after is not None and after.stamp > before.stamp
        assert not plant.faults.counts  # its stamps are of the same day


def test_with_its_own_time_a_robot_may_be_faster_than_the_world(begin: Callable[..., Life]) -> None:
    topics, pace = Topics(sim_time=True), 3.0
    begin(topics, RobotConfig(pace=pace, watchdog=1.0))
    with closing(DdsPlant(MODEL, topics)) as plant:
        until(lambda: plant.connected and plant.read() is not None)
        began, now = time.monotonic(), plant.clock.now()
        steer(plant, np.array([1.0, -0.5]), 3.0)
        world = time.monotonic() - began
        simulated = plant.clock.now() - now
        assert simulated == pytest.approx(3.0, abs=0.1)
        assert world == pytest.approx(simulated / pace, rel=0.3)
        state = plant.read()
        assert state is not None and state.physics is not None
        np.testing.assert_allclose(state.physics[1:3], [1.0, -0.5], atol=0.05)


def test_who_has_left_is_not_there_any_more() -> None:
    with closing(Participant()) as peer:
        states = peer.subscribe(types.JointState, "/joint_states", lambda message: None)
        port = DdsPort(MODEL)
        until(states.get_matched_publications)
        port.close()
        port.close()
        until(lambda: not states.get_matched_publications())


@pytest.mark.parametrize("given", ["-1", "300", "abc"])
def test_a_domain_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", given)
    with pytest.raises(ValueError, match="ROS_DOMAIN_ID: expected a number from 0 to 232"):
        Participant()


@pytest.mark.parametrize("name", ["rate", "watchdog", "pace"])
def test_settings_of_a_robot_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected positive"):
        RobotConfig(**{name: 0.0})
