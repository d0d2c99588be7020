"""Recordings are read by others as they were written, survive any death, and teach models."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from mcap.reader import make_reader
from mcap.records import ChunkIndex
from mcap.writer import Writer as PlainWriter
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from mpc_robot.data.replay import Experience, ReplayBuffer
from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.dynamics.ensemble_fit import FitConfig, fit
from mpc_robot.envs import env_spec, get_task, make_env
from mpc_robot.envs.base import sensed_state
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.clock import ManualClock, RealClock
from mpc_robot.runtime.events import Event
from mpc_robot.runtime.lockstep import GymnasiumPlant
from mpc_robot.runtime.mcap_reader import Recording, Signal, read_recording
from mpc_robot.runtime.recording import McapRecorder
from mpc_robot.runtime.replay import episodes, replay

CARTPOLE = get_task("CartpoleSwingup-v0")
PERIOD = 0.02
ROS = get_typestore(Stores.ROS2_JAZZY)
Rows = list[tuple[str, int, Any]]


def rolled_out(path: Path, steps: int, seed: int) -> Experience:
    """Record an episode in lock step under random commands; what the environment did in it."""
    env = make_env(CARTPOLE)
    plant, rng = GymnasiumPlant(env, seed), np.random.default_rng(seed)
    recorder = McapRecorder(path, plant.clock, env.unwrapped.model)  # type: ignore[attr-defined]
    observations, actions = [], []
    for _ in range(steps + 1):
        state = plant.read()
        assert state is not None
        recorder.state(state)
        observations.append(state.observation)
        actions.append(rng.uniform(-1.0, 1.0, 1))
        recorder.command(plant.clock.now(), actions[-1])
        plant.write(actions[-1])
    recorder.event(plant.clock.now(), "end", "that was it: all of it")
    recorder.close()
    plant.close()
    assert recorder.dropped == 0
    none = np.zeros(steps, dtype=bool)
    seen, done = np.array(observations), np.array(actions[:steps])
    return Experience(seen[:-1], done, np.array(plant.rewards[:steps]), seen[1:], none, none)


@pytest.fixture(scope="module")
def lockstep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Experience]:
    path = tmp_path_factory.mktemp("recordings") / "lockstep.mcap"
    return path, rolled_out(path, 400, seed=0)


def rosbags_rows(path: Path) -> Rows:
    """Topic, ns and message of all messages, decoded by rosbags by the definitions in the file."""
    with Reader(path) as reader:
        return [
            (connection.topic, stamp, ROS.deserialize_cdr(data, connection.msgtype))
            for connection, stamp, data in reader.messages()
        ]


# What is written.


def test_rosbags_reads_the_same_numbers(tmp_path: Path) -> None:
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><worldbody><body name="ball"><freejoint/><geom size="1"/>
        <body><joint name="lift" type="slide"/><geom size="1"/>
        <body><joint name="Δ" axis="0 1 0"/><geom size="1"/></body></body></body></worldbody>
        </mujoco>"""
    )
    sent = np.random.default_rng(0).normal(size=(5, 40))
    sent[1, 3], sent[2, 9], sent[3, 20] = np.nan, np.inf, -np.inf
    clock = ManualClock()
    recorder = McapRecorder(tmp_path / "a.mcap", clock, model)
    for k, numbers in enumerate(sent):
        recorder.state(RobotState(0.1 * k, 7 + k, numbers, numbers[:3]))
        recorder.command(0.1 * k, numbers[5:7])
    recorder.event(0.5, "trip", "Δ: stale state")
    recorder.close()
    recorder.close()

    rows = rosbags_rows(tmp_path / "a.mcap")
    said = {topic: [row[2] for row in rows if row[0] == topic] for topic in {r[0] for r in rows}}
    stamps = [stamp for topic, stamp, _ in rows if topic == "/joint_states"]
    assert np.diff(stamps).tolist() == [100_000_000] * 4
    assert abs(stamps[0] * 1e-9 - time.time()) < 60.0
    for topic, columns in (("physics_state", slice(40)), ("observation", slice(3))):
        np.testing.assert_array_equal([m.data for m in said[f"/{topic}"]], sent[:, columns])
    np.testing.assert_array_equal([m.data for m in said["/commands"]], sent[:, 5:7])
    joints = said["/joint_states"]
    np.testing.assert_array_equal(
        [m.position for m in joints], sent[:, 8:10]
    )  # time, 7 of the ball
    np.testing.assert_array_equal([m.velocity for m in joints], sent[:, 16:18])
    assert [m.name for m in joints] == [["lift", "Δ"]] * 5
    headers = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in joints]
    assert headers == stamps
    assert [m.data for m in said["/events"]] == ["trip: Δ: stale state"]


def test_types_are_those_of_ros(lockstep: tuple[Path, Experience]) -> None:
    with Reader(lockstep[0]) as reader:
        written = {c.msgtype: c.msgdef.data for c in reader.connections}
    for name, text in written.items():
        for part, (_, fields) in get_types_from_msg(text, name).items():
            assert fields == ROS.fielddefs[part][1]


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        McapRecorder(path, ManualClock())
    assert path.read_text() == "precious"


# What survives.


def record_in_real_time(path: Path, seconds: float) -> McapRecorder:
    """Record 100 states and commands per s, of 30 numbers; not closed yet."""
    clock = RealClock()
    recorder, began = McapRecorder(path, clock), clock.now()
    for k in range(int(100 * seconds)):
        clock.wait_until(began + 0.01 * k)
        recorder.state(RobotState(clock.now(), k, np.full(30, float(k))))
        recorder.command(clock.now(), np.full(2, float(k)))
    return recorder


@pytest.fixture(scope="module")
def chunked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "chunked.mcap"
    record_in_real_time(path, 1.5).close()
    return path


def chunks_of(path: Path) -> list[ChunkIndex]:
    """Where the chunks of a whole file are."""
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    return summary.chunk_indexes


def test_a_file_cut_anywhere_is_read_up_to_its_last_whole_chunk(
    chunked: Path, tmp_path: Path
) -> None:
    whole, cut = chunked.read_bytes(), tmp_path / "cut.mcap"
    chunks = [
        (chunk.chunk_start_offset + chunk.chunk_length, chunk.message_end_time)
        for chunk in chunks_of(chunked)
    ]
    written = np.array([stamp for topic, stamp, _ in rosbags_rows(chunked) if "phy" in topic])
    assert max(np.diff([written[0], *(end for _, end in chunks)])) < 1e9
    ends = {near for end, _ in chunks for near in (end - 1, end, end + 1)}
    for size in [*range(0, len(whole), 199), *sorted(ends), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        if size < 8:
            with pytest.raises(ValueError, match="expected an MCAP file"):
                read_recording(cut)
            continue
        got = read_recording(cut)
        last = max((until for end, until in chunks if end <= size), default=0)
        count = int((written <= last).sum())
        states = got.signals["/physics_state"].values[:, 0] if count else np.empty(0)
        assert not got.whole
        np.testing.assert_array_equal(states, np.arange(count))


def test_of_a_file_without_chunks_only_whole_messages_are_read(tmp_path: Path) -> None:
    path, kind = tmp_path / "a.mcap", "std_msgs/msg/String"
    said = [Event(float(k), "trip", f"reason {k}") for k in range(3)]
    writer = PlainWriter(str(path), use_chunking=False, enable_crcs=False)
    writer.start(profile="ros2")
    topic = writer.register_channel(
        "/events", "cdr", writer.register_schema(kind, "ros2msg", b"string data")
    )
    for k, event in enumerate(said):
        message = ROS.types[kind](f"{event.name}: {event.reason}")
        writer.add_message(topic, 10**9 * k, bytes(ROS.serialize_cdr(message, kind)), 0)
    writer.finish()
    whole, counts = path.read_bytes(), []
    for size in range(8, len(whole)):
        path.write_bytes(whole[:size])
        events = read_recording(path).events
        assert list(events) == said[: len(events)]
        counts.append(len(events))
    assert counts == sorted(counts)
    assert counts[-1] == 3


def test_a_damaged_file_is_read_up_to_the_damage(chunked: Path, tmp_path: Path) -> None:
    damaged, third = bytearray(chunked.read_bytes()), chunks_of(chunked)[2]
    damaged[third.chunk_start_offset + third.chunk_length // 2] ^= 0xFF
    path = tmp_path / "damaged.mcap"
    path.write_bytes(damaged)
    got = read_recording(path)
    states = got.signals["/physics_state"].values[:, 0]
    written = [stamp for topic, stamp, _ in rosbags_rows(chunked) if "phy" in topic]
    before = [stamp for stamp in written if stamp < third.message_start_time]
    assert not got.whole
    np.testing.assert_array_equal(states, np.arange(len(before)))


def test_a_killed_robot_leaves_a_whole_file(
    killed_after: Callable[[float, Callable[[], None]], int], tmp_path: Path
) -> None:
    path = tmp_path / "a.mcap"
    killed_after(1.5, lambda: record_in_real_time(path, 60.0).close())
    now = time.time()
    while not (got := read_recording(path)).whole and time.time() < now + 5.0:
        time.sleep(0.05)
    assert got.whole
    assert now - rosbags_rows(path)[-1][1] * 1e-9 < 0.5


def test_a_killed_writer_leaves_what_it_had(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mcap"
    recorder = record_in_real_time(path, 1.5)
    os.kill(recorder.pid, signal.SIGKILL)
    os.waitid(os.P_PID, recorder.pid, os.WEXITED | os.WNOWAIT)
    for _ in range(3):
        recorder.command(RealClock().now(), np.zeros(2))
    recorder.close()
    assert recorder.dropped == 3
    assert "the writer ended with -9" in caplog.text
    got = read_recording(path)
    assert not got.whole
    assert got.signals["/commands"].times[-1] > 0.75


def _is_taken(recorder: McapRecorder, number: int) -> bool:
    """Whether there is room for one more command."""
    dropped = recorder.dropped
    recorder.command(2.0, np.full(500, float(number)))
    return recorder.dropped == dropped


def test_a_writer_that_hangs_delays_nobody(tmp_path: Path) -> None:
    recorder = McapRecorder(tmp_path / "a.mcap", ManualClock())
    os.kill(recorder.pid, signal.SIGSTOP)
    began = time.monotonic()
    for k in range(2000):
        recorder.command(0.001 * k, np.full(500, float(k)))  # 8 MB
    assert time.monotonic() - began < 2.0
    os.kill(recorder.pid, signal.SIGCONT)
    number, deadline = 2000, time.monotonic() + 60.0
    while not _is_taken(recorder, number) and time.monotonic() < deadline:
        number += 1
        time.sleep(0.05)
    recorder.close()
    commands = read_recording(tmp_path / "a.mcap").signals["/commands"]
    np.testing.assert_array_equal(commands.numbers, commands.values[:, 0])
    assert commands.numbers[-1] == number
    assert len(commands.numbers) + recorder.dropped == number + 1
    assert recorder.dropped > 0


# What it teaches.


def test_replay_is_what_the_environment_did(lockstep: tuple[Path, Experience]) -> None:
    path, truth = lockstep
    buffer = ReplayBuffer(5, 1)
    assert replay(path, CARTPOLE, buffer) == 400 == len(buffer)
    got = buffer.all()
    for name in ("observation", "action", "reward", "next_observation", "terminated"):
        np.testing.assert_allclose(getattr(got, name), getattr(truth, name), atol=1e-12)
    assert np.flatnonzero(got.truncated).tolist() == [399]


def test_a_model_learns_from_a_recording(lockstep: tuple[Path, Experience], tmp_path: Path) -> None:
    spec, rng = env_spec(make_env(CARTPOLE)), torch.Generator().manual_seed(0)
    buffer = ReplayBuffer(5, 1)
    replay(lockstep[0], CARTPOLE, buffer)
    config = EnsembleConfig(members=2, elites=2, hidden=32, layers=2, particles=2)
    model = ProbabilisticEnsemble(CARTPOLE, spec, config, rng)
    fit(model, buffer.all(), FitConfig(max_steps=400), rng)
    unseen = rolled_out(tmp_path / "unseen.mcap", 50, seed=1)
    inputs = [torch.tensor(x, dtype=torch.float32) for x in (unseen.observation, unseen.action)]
    with torch.no_grad():
        predicted = model.predict(*inputs).mean.mean(0).numpy()
    mean_change = (lockstep[1].next_observation - lockstep[1].observation).mean(0)
    constant = unseen.observation + mean_change
    assert error(predicted, unseen) < 0.2 * error(constant, unseen)


def error(predicted: np.ndarray, truth: Experience) -> float:
    """Mean squared error, each entry in units of how much it changes."""
    change = (truth.next_observation - truth.observation).std(0)
    return float((((predicted - truth.next_observation) / change) ** 2).mean())


def signal_of(times: np.ndarray, values: np.ndarray) -> Signal:
    return Signal(times, np.arange(len(times)), values)


def recording(
    states: Signal, commands: Signal, *events: Event, topic: str = "/observation"
) -> Recording:
    return Recording({topic: states, "/commands": commands}, events, whole=True)


TIMES = np.arange(101) * 0.01  # 1 s: 50 periods
STATES = signal_of(TIMES, np.cos(TIMES[:, None] + np.arange(5.0)))
COMMANDS = signal_of(TIMES, np.sin(40 * TIMES[:, None]))


def lengths(told: Recording, gap: float) -> list[int]:
    """Steps of each episode, all of which are truncated."""
    found = episodes(told, CARTPOLE, gap=gap)
    for episode in found:
        assert not episode.terminated.any()
        assert np.flatnonzero(episode.truncated).tolist() == [len(episode.reward) - 1]
    return [len(episode.reward) for episode in found]


def without(whole: Signal, missing: slice) -> Signal:
    kept = np.delete(np.arange(101), missing)
    return Signal(whole.times[kept], whole.numbers[kept], whole.values[kept])


def but(whole: Signal, field: str, at: object, value: float) -> Signal:
    """The signal with one entry changed."""
    changed = getattr(whole, field).copy()
    changed[at] = value
    return dataclasses.replace(whole, **{field: changed})


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (recording(STATES, COMMANDS), [50]),
        (recording(without(STATES, slice(41, 44)), COMMANDS), [20, 28]),
        (recording(without(STATES, slice(41, 43)), COMMANDS), [50]),
        (recording(STATES, without(COMMANDS, slice(21, 22))), [10, 39]),
        (recording(STATES, but(COMMANDS, "values", (21, 0), np.nan)), [10, 39]),
        (recording(but(STATES, "values", (slice(41, 44), 2), np.inf), COMMANDS), [20, 28]),
        (recording(but(STATES, "numbers", slice(51, None), 0), COMMANDS), [25, 24]),
        (recording(STATES, COMMANDS, Event(0.5, "trip", "see faults")), [25, 25]),
        (recording(STATES, COMMANDS, Event(0.5, "recovered", "no more faults")), [50]),
        (recording(STATES, signal_of(TIMES[30:90], COMMANDS.values[30:90])), [29]),
        (recording(STATES, signal_of(TIMES[:1], COMMANDS.values[:1])), []),
    ],
)
def test_what_is_missing_parts_episodes(told: Recording, expected: list[int]) -> None:
    assert lengths(told, gap=0.031) == expected


def test_the_action_is_the_mean_of_the_commands_in_force() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(-0.1, 1.1, 150))
    commands = signal_of(times, rng.normal(size=(150, 1)))
    late = 0.013
    (episode,) = episodes(recording(STATES, commands), CARTPOLE, gap=0.1, actuation_delay=late)
    assert len(episode.action) == 50
    fine = PERIOD * np.arange(50)[:, None] + np.linspace(0, PERIOD, 20_001)
    in_force = commands.values[np.searchsorted(times + late, fine, side="right") - 1, 0]
    np.testing.assert_allclose(episode.action[:, 0], in_force.mean(1), atol=2e-3)


def test_observations_are_interpolated() -> None:
    uneven = np.sort(np.random.default_rng(0).uniform(0.0, 1.0, 99))
    times = np.concatenate([[0.0], uneven, [1.0]])
    states = signal_of(times, 3.0 * times[:, None] - np.arange(5.0))
    (episode,) = episodes(recording(states, COMMANDS), CARTPOLE, gap=0.2)
    expected = 3.0 * PERIOD * np.arange(51)[:, None] - np.arange(5.0)
    np.testing.assert_allclose(episode.observation, expected[:-1], atol=1e-12)
    np.testing.assert_allclose(episode.next_observation, expected[1:], atol=1e-12)


def seen(fields: Mapping[str, Any]) -> np.ndarray:
    """An observation from which the test can tell what was interpolated how."""
    return np.concatenate([fields["qpos"][..., 3:7], fields["ctrl"][..., :1]], axis=-1)


def test_orientations_turn_evenly_and_what_was_set_jumps() -> None:
    task = dataclasses.replace(
        get_task("Ant-v5"),
        observe=seen,
        fields=("qpos", "ctrl"),
        reward=lambda obs, action, next_obs: obs[..., 0],
        terminated=lambda next_obs: np.zeros(next_obs.shape[:-1], dtype=bool),
    )
    env: Any = make_env(task)
    model, period, times = env.unwrapped.model, env_spec(env).dt, 0.03 * np.arange(30)
    states = []
    for k, half in enumerate(2.0 * times):  # rad; it turns with 4 rad/s
        qpos = model.qpos0.copy()
        qpos[3:7] = np.cos(half), 0.0, 0.0, np.sin(half)
        states.append(sensed_state(model, qpos, np.zeros(model.nv), ctrl=np.full(8, float(k))))
    commands = signal_of(times, np.zeros((30, 8)))
    told = recording(signal_of(times, np.array(states)), commands, topic="/physics_state")
    (episode,) = episodes(told, task)
    at = period * np.arange(len(episode.reward))
    assert len(at) == 17
    np.testing.assert_allclose(episode.observation[:, 0], np.cos(2.0 * at), atol=1e-9)
    np.testing.assert_allclose(episode.observation[:, 3], np.sin(2.0 * at), atol=1e-9)
    np.testing.assert_array_equal(episode.observation[:, 4], np.round(at / 0.03))  # the nearest


def test_the_task_terminates_and_nothing_follows_until_it_would_go_on() -> None:
    task = get_task("InvertedPendulum-v5")
    times = env_spec(make_env(task)).dt * np.arange(21)
    angle = np.interp(np.arange(21), [0, 10, 20], [0.0, 0.3, 0.0])  # fallen beyond 0.2
    observations = np.zeros((21, 4))
    observations[:, 1] = angle
    told = recording(signal_of(times, observations), signal_of(times, np.zeros((21, 1))))
    fallen, risen = episodes(told, dataclasses.replace(task, observe=None))
    assert fallen.terminated.tolist() == [False] * 6 + [True]  # 0.21 after seven steps of 0.03
    assert not fallen.truncated.any()
    assert risen.observation[0, 1] == pytest.approx(0.18)
    assert len(risen.reward) == 6
    assert not risen.terminated.any()
    assert risen.truncated.tolist() == [False] * 5 + [True]


def test_bags_of_ros_teach_as_well(lockstep: tuple[Path, Experience], tmp_path: Path) -> None:
    """Of joint states and commands only, their joints in another order."""
    bag = tmp_path / "bag"
    joint_state, array = "sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray"
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        states = writer.add_connection("/joint_states", joint_state, typestore=ROS)
        commands = writer.add_connection("/effort/commands", array, typestore=ROS)
        other = writer.add_connection("/something/else", array, typestore=ROS)
        for topic, stamp, said in rosbags_rows(lockstep[0]):
            if topic == "/joint_states":
                swapped = dataclasses.replace(
                    said,
                    name=said.name[::-1],
                    position=np.flip(said.position).copy(),
                    velocity=np.flip(said.velocity).copy(),
                )
                writer.write(states, stamp, ROS.serialize_cdr(swapped, joint_state))
            if topic == "/commands":
                writer.write(commands, stamp, ROS.serialize_cdr(said, array))
                said.data = np.zeros(1 + len(said.data) * (stamp % 7))
                writer.write(other, stamp - 5_000_000_000, ROS.serialize_cdr(said, array))
    buffer = ReplayBuffer(5, 1)
    (file,) = bag.glob("*.mcap")
    assert replay(file, CARTPOLE, buffer, commands="/effort/commands") == 400
    for name in ("observation", "action", "reward", "next_observation"):
        expected = getattr(lockstep[1], name)
        np.testing.assert_allclose(getattr(buffer.all(), name), expected, atol=1e-12)


# What makes no sense.


def test_recordings_of_something_else_are_refused(lockstep: tuple[Path, Experience]) -> None:
    path, buffer = lockstep[0], ReplayBuffer(5, 1)
    with pytest.raises(ValueError, match=r"recording: expected messages on /cmd, got '/joint_st"):
        replay(path, CARTPOLE, buffer, commands="/cmd")
    with pytest.raises(ValueError, match=r"recording /physics_state: expected \d+ numbers"):
        replay(path, get_task("Hopper-v5"), buffer)
    with pytest.raises(ValueError, match="gap: expected at least a control period"):
        replay(path, CARTPOLE, buffer, gap=0.01)
    with pytest.raises(ValueError, match="actuation_delay: expected not negative"):
        replay(path, CARTPOLE, buffer, actuation_delay=-0.1)
    with pytest.raises(ValueError, match="expected `reward` and `terminated`"):
        replay(path, dataclasses.replace(CARTPOLE, reward=None), buffer)
    with pytest.raises(ValueError, match="replay observation: expected rows of shape"):
        replay(path, CARTPOLE, ReplayBuffer(4, 1))
    assert len(buffer) == 0
