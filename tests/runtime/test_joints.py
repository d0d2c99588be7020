"""Messages by name: MuJoCo's own state, set field by field, is the oracle."""

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_robot.runtime.clock import ManualClock
from mpc_robot.runtime.joints import CommandInbox, StateInbox, command_names, joint_names

INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)
ARM = """
<mujoco>
  <worldbody>
    <body name="target" mocap="true"><geom size="0.01" contype="0"/></body>
    <body>
      <joint name="lift" type="slide" axis="0 0 1"/><geom size="0.1"/>
      <body pos="0 0 0.5">
        <joint name="shoulder" type="hinge"/><geom size="0.1"/>
        <body pos="0 0 0.5"><joint name="elbow" type="hinge"/><geom size="0.1"/></body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="elbow" ctrllimited="true" ctrlrange="-1 1"/>
    <motor joint="lift" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>"""
MODEL = mujoco.MjModel.from_xml_string(ARM)
NAMES = ["lift", "shoulder", "elbow"]
NUMBERS = st.lists(st.floats(-10, 10), min_size=3, max_size=3)


def inbox() -> tuple[StateInbox, ManualClock]:
    clock = ManualClock()
    clock.time = 50.0
    return StateInbox(MODEL, clock), clock


@settings(max_examples=50)
@given(NUMBERS, NUMBERS, st.permutations([*NAMES, "gripper", "wheel"]))
def test_joints_are_known_by_name_in_any_order(
    position: list[float], velocity: list[float], order: list[str]
) -> None:
    states, _ = inbox()
    at = dict(zip(NAMES, position, strict=True)) | {"gripper": np.nan, "wheel": 1.0}
    speed = dict(zip(NAMES, velocity, strict=True)) | {"gripper": np.nan, "wheel": 1.0}
    states.joint_state(7.0, order, [at[name] for name in order], [speed[name] for name in order])
    data = mujoco.MjData(MODEL)
    for name in NAMES:
        data.joint(name).qpos[:], data.joint(name).qvel[:] = at[name], speed[name]
    expected = np.empty(mujoco.mj_stateSize(MODEL, INTEGRATION))
    mujoco.mj_getState(MODEL, data, expected, INTEGRATION)
    assert states.newest is not None and states.newest.physics is not None
    np.testing.assert_array_equal(states.newest.physics, expected)
    assert states.newest.stamp == 50.0 and not states.faults.counts


GOOD = (NAMES, [0.1, 0.2, 0.3], [0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("names", "position", "velocity", "said"),
    [
        (["lift", "elbow"], [0.0, 0.0], [0.0, 0.0], "missing: shoulder"),
        ([*NAMES, "lift"], [0.0] * 4, [0.0] * 4, "each joint once"),
        (NAMES, [0.0, 0.0], [0.0] * 3, "joint_states.position: expected 3 numbers"),
        (NAMES, [0.0] * 3, [], "joint_states.velocity: expected 3 numbers"),
        (NAMES, [0.0, np.nan, 0.0], [0.0] * 3, "joint_states.position: expected finite"),
        (NAMES, [0.0] * 3, [0.0, 0.0, -np.inf], "joint_states.velocity: expected finite"),
    ],
)
def test_what_makes_no_sense_is_told_of_and_goes_no_further(
    names: list[str], position: list[float], velocity: list[float], said: str
) -> None:
    states, clock = inbox()
    states.joint_state(1.0, *GOOD)
    before = states.newest
    clock.time += 0.01
    states.joint_state(1.01, names, position, velocity)
    assert states.newest is before
    assert states.faults.newest is not None and said in states.faults.newest
    assert states.faults.counts.total() == 1
    states.joint_state(1.01, *GOOD)  # the refused one left no trace
    assert states.newest is not None and states.newest.number == 1


def test_numbers_count_arrivals_and_begin_anew_with_the_sender() -> None:
    states, clock = inbox()
    told = []
    for stamp in (9.0, 9.01, 9.005, 9.02, *(0.01 * k for k in range(1, 15))):
        clock.time += 0.01
        states.joint_state(stamp, *GOOD)
        assert states.newest is not None and states.newest.physics is not None
        told.append((states.newest.number, round(float(states.newest.physics[0]), 9)))
    assert told[:4] == [(0, 0.0), (1, 0.01), (1, 0.01), (2, 0.02)]
    assert told[4:13] == [(2, 0.02)] * 9  # is it out of order or did it begin anew?
    assert told[13:] == [(k, round(0.01 * k, 9)) for k in range(5)]
    assert states.faults.counts == {"out of order": 10}


def test_a_sender_without_stamps_is_believed_to_be_prompt() -> None:
    states, clock = inbox()
    for _ in range(3):
        clock.time += 1.0
        states.joint_state(0.0, *GOOD)
        assert states.newest is not None and states.newest.stamp == clock.time


def test_a_goal_moves_the_mocap_body_of_all_later_states() -> None:
    states, _ = inbox()
    half = np.sqrt(0.5)
    states.goal("world", (0.1, 0.2, 0.3), (0.0, 0.0, half, half))  # a quarter turn about z
    states.joint_state(1.0, *GOOD)
    data = mujoco.MjData(MODEL)
    assert states.newest is not None
    mujoco.mj_setState(MODEL, data, states.newest.physics, INTEGRATION)
    mujoco.mj_forward(MODEL, data)
    target = data.body("target")
    np.testing.assert_allclose(target.xpos, (0.1, 0.2, 0.3))
    np.testing.assert_allclose(
        target.xmat.reshape(3, 3), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12
    )


@pytest.mark.parametrize(
    ("frame", "position", "turn", "said"),
    [
        ("map", (0, 0, 0), (0, 0, 0, 1), "goal.header.frame_id: expected 'world', got 'map'"),
        ("", (0, np.nan, 0), (0, 0, 0, 1), "goal.pose.position"),
        ("", (0, 0, 0), (0, 0, 0, 0), "goal.pose.orientation: expected length 1"),
    ],
)
def test_goals_that_make_no_sense_are_refused(
    frame: str, position: tuple[float, ...], turn: tuple[float, ...], said: str
) -> None:
    states, _ = inbox()
    states.goal(frame, position, turn)
    assert states.faults.newest is not None and said in states.faults.newest
    states.joint_state(1.0, *GOOD)
    data = mujoco.MjData(MODEL)
    assert states.newest is not None
    mujoco.mj_setState(MODEL, data, states.newest.physics, INTEGRATION)
    np.testing.assert_array_equal(data.mocap_pos, 0.0)


def test_commands_are_in_the_order_of_the_actuators() -> None:
    clock = ManualClock()
    commands = CommandInbox(MODEL, clock)
    assert command_names(MODEL) == ("elbow", "lift")
    commands.forward([0.3, -0.4])
    assert commands.newest is not None
    np.testing.assert_array_equal(commands.newest[1], [0.3, -0.4])
    clock.time = 2.0
    commands.trajectory(["lift", "gripper", "elbow"], [[9.0, 9.0, 9.0], [1.0, np.nan, 2.0]])
    arrived, command = commands.newest
    assert arrived == 2.0
    np.testing.assert_array_equal(command, [2.0, 1.0])


@pytest.mark.parametrize("data", [[0.1], [0.1, 0.2, 0.3], [0.1, np.nan], [np.inf, 0.0], []])
def test_commands_that_make_no_sense_are_not_obeyed(data: list[float]) -> None:
    commands = CommandInbox(MODEL, ManualClock())
    commands.forward(data)
    commands.trajectory(["elbow", "lift"], [data])
    commands.trajectory(["elbow"], [[0.0]])
    commands.trajectory(["elbow", "lift"], [])
    assert commands.newest is None and commands.faults.counts.total() == 4


@pytest.mark.parametrize(
    ("joint", "said"),
    [
        ('<freejoint name="root"/>', "joint 'root': expected a hinge or slide"),
        ('<joint name="hip" type="ball"/>', "joint 'hip'"),
        ('<joint type="hinge"/>', "joint 0: expected a name"),
    ],
)
def test_models_that_joint_states_cannot_tell_of_are_refused(joint: str, said: str) -> None:
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><worldbody><body>{joint}<geom size='1'/></body></worldbody></mujoco>"
    )
    with pytest.raises(ValueError, match=said):
        joint_names(model)
