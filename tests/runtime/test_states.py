"""Only sound, newer states pass; why others do not is counted."""

import numpy as np
import pytest

from mpc_robot.envs import env_spec, get_task, make_env, physics_state
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.events import EventLog
from mpc_robot.runtime.sensing import Sensing
from mpc_robot.runtime.states import StateGate

SOUND = np.array([0.0, 1.0])


def test_a_state_passes_once() -> None:
    gate = StateGate(EventLog())
    assert gate.pass_on(1.0, None) is None
    state = RobotState(1.0, 1, SOUND)
    assert gate.pass_on(1.0, state) is state
    assert gate.pass_on(1.1, state) is None
    assert gate.pass_on(1.2, RobotState(1.0, 1, SOUND)) is None  # the same, read again
    later = RobotState(1.2, 2, SOUND)
    assert gate.pass_on(1.2, later) is later is gate.newest


def test_a_plant_that_began_anew_is_believed() -> None:
    gate = StateGate(EventLog())
    gate.pass_on(1.0, RobotState(1.0, 500, SOUND))
    again = RobotState(2.0, 1, SOUND)
    assert gate.pass_on(2.0, again) is again


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (RobotState(0.5, 2, SOUND), "out of order"),
        (RobotState(1.0, 2, SOUND), "out of order"),
        (RobotState(np.nan, 2, SOUND), "stamp is not finite"),
        (RobotState(5.0, 2, SOUND), "from the future"),
        (RobotState(1.5, 2, np.array([0.0, np.nan])), "not finite"),
        (RobotState(1.5, 2, SOUND, np.array([np.inf])), "not finite"),
        (RobotState(1.5, 2), "empty"),
    ],
)
def test_what_is_refused(state: RobotState, why: str) -> None:
    events = EventLog()
    gate = StateGate(events)
    first = RobotState(1.0, 1, SOUND)
    gate.pass_on(1.0, first)
    assert gate.pass_on(2.0, state) is None
    assert gate.newest is first
    assert gate.pass_on(2.1, state) is None  # and is counted once
    assert events.counts == {f"state refused: {why}": 1}


def test_physics_must_be_that_of_the_model() -> None:
    env = make_env(get_task("Ant-v5"))
    env.reset(seed=0)
    events = EventLog()
    gate = StateGate(events, Sensing(get_task("Ant-v5")))
    sound = physics_state(env)
    assert gate.pass_on(1.0, RobotState(1.0, 1, sound)) is not None
    bent = sound.copy()
    bent[4:8] *= 2.0
    assert gate.pass_on(2.0, RobotState(2.0, 2, bent)) is None
    assert gate.pass_on(3.0, RobotState(3.0, 3, sound[:-1])) is None
    reasons = " ".join(events.counts)
    assert "quaternion of joint 'root': expected length 1, got 2" in reasons
    assert f"expected shape ({len(sound)},)" in reasons
    assert env_spec(env).dt == 0.05


@pytest.mark.parametrize(
    ("task_name", "physics", "observation", "why"),
    [
        ("CartpoleBalance-v0", None, 4, "observation: expected shape (5,), got (4,)"),
        ("CartpoleBalance-v0", None, 6, "observation: expected shape (5,), got (6,)"),
        ("CartpoleBalance-v0", 99, 5, "physics: expected shape"),
        ("Pendulum-v1", 3, 3, "physics: expected shape (0,), got (3,)"),
    ],
)
def test_sizes_must_be_those_of_the_task(
    task_name: str, physics: int | None, observation: int, why: str
) -> None:
    events = EventLog()
    sensing = Sensing(get_task(task_name))
    gate = StateGate(events, sensing)
    wrong = None if physics is None else np.zeros(physics)
    assert gate.pass_on(1.0, RobotState(1.0, 1, wrong, np.zeros(observation))) is None
    (event,) = events.newest
    assert event.name == "state refused" and event.reason.startswith(why)
    sound = RobotState(1.5, 2, None, np.zeros(sensing.spec.observation_dim))
    assert gate.pass_on(1.5, sound) is sound
