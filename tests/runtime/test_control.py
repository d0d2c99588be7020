"""Loops from settings, on a robot simulated in real time; commands are differenced from outside."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_robot.controllers import RandomController
from mpc_robot.envs import PDServo, env_spec, get_task, make_env
from mpc_robot.errors import PlantError
from mpc_robot.robot import from_mjcf
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.control import ControlConfig, Drive, arm, control_loop, model_of, reset
from mpc_robot.runtime.limits import CommandLimiter, CommandLimits
from mpc_robot.runtime.lockstep import GymnasiumPlant
from mpc_robot.runtime.loop import ControlLoop
from mpc_robot.runtime.mujoco_plant import MuJoCoPlant
from mpc_robot.runtime.plan import TimedPlan
from mpc_robot.runtime.planner import InStep
from mpc_robot.runtime.safe_actions import Rest
from mpc_robot.runtime.safety import Safety, Watchdogs

TASK = get_task("ReacherTwoLink-v0")
SPEC = env_spec(make_env(TASK))
DT = 0.01


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20.0
    while not true():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.005)


@pytest.fixture
def loop() -> Iterator[ControlLoop]:
    """Somebody moves an arm at random."""
    with closing(MuJoCoPlant(TASK)) as plant:
        controller = RandomController(SPEC.action_low, SPEC.action_high)
        yield control_loop(plant, InStep(controller, TASK), TASK, ControlConfig())


def moving(loop: ControlLoop) -> bool:
    return bool(loop.safety.sent.any())


def test_nothing_moves_before_it_is_armed(loop: ControlLoop, tmp_path: Path) -> None:
    drive = Drive(loop, tmp_path / "loop.json")
    until(lambda: loop.status().ticks > 30)
    assert loop.status().stopped == "not armed" and not moving(loop)

    assert arm(loop) and arm(loop)
    until(lambda: moving(loop))

    loop.safety.stop("somebody is near")
    until(lambda: not moving(loop))
    assert not arm(loop) and loop.status().stopped == "somebody is near"
    reset(loop)
    assert loop.status().stopped == "not armed"
    assert arm(loop)
    until(lambda: moving(loop))

    drive.end()
    assert not drive.going_on and not moving(loop)
    found = json.loads((tmp_path / "loop.json").read_text())
    assert found["ticks"] == loop.status().ticks and found["stopped"] == "ended"


class Leaving(MuJoCoPlant):
    """A robot that may go away, and come back."""

    gone = False

    @property
    def over(self) -> bool:
        return self.gone or super().over


def test_a_loop_can_be_run_again_after_it_ended_by_itself() -> None:
    with closing(Leaving(TASK)) as plant:
        planner = InStep(RandomController(SPEC.action_low, SPEC.action_high), TASK)
        loop = control_loop(plant, planner, TASK, ControlConfig())
        drive = Drive(loop)
        plant.gone = True
        until(lambda: not drive.going_on)
        drive.end()
        drive.end()
        plant.gone = False
        assert loop.run(0.2).ticks > 5


def test_a_drive_that_is_ended_at_once_does_not_go_on(loop: ControlLoop) -> None:
    Drive(loop).end()
    ticks = loop.status().ticks
    time.sleep(0.05)
    assert loop.status().ticks == ticks
    assert loop.run(0.1).ticks > 5


SERVOS = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body>
      <joint name="a" type="hinge" axis="0 0 1" ref="0" damping="1"/>
      <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02"/>
      <body pos="0.3 0 0">
        <joint name="b" type="hinge" axis="0 0 1" damping="1"/>
        <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position joint="a" kp="20" ctrlrange="-2 2"/>
    <motor joint="b" ctrlrange="-1 1"/>
  </actuator>
  <keyframe><key name="bent" qpos="1.2 -0.7" ctrl="1.2 0"/></keyframe>
</mujoco>"""


def unrewarded(obs: Any, action: Any, next_obs: Any) -> Any:
    return 0.0 * next_obs[..., 0]


def test_a_servo_begins_where_its_joint_is_and_stays_when_it_is_stopped() -> None:
    task = from_mjcf(SERVOS, unrewarded, rate=50, start="bent").task
    spec = env_spec(make_env(task))
    planner = InStep(RandomController(spec.action_low, spec.action_high), task)
    with closing(MuJoCoPlant(task)) as plant:
        with pytest.raises(PlantError, match="servos: expected a state"):
            control_loop(Mute(), planner, task, ControlConfig())
        until(plant.read)
        loop = control_loop(plant, planner, task, ControlConfig(velocity=5.0))
        np.testing.assert_allclose(loop.safety.sent, [1.2, 0.0], atol=0.05)
        drive = Drive(loop)
        arm(loop)
        until(lambda: loop.safety.sent[1] != 0.0)
        loop.safety.stop("somebody is near")
        until(lambda: loop.safety.sent[1] == 0.0)
        held = loop.safety.sent
        time.sleep(0.1)
        np.testing.assert_array_equal(loop.safety.sent, held)
        drive.end()


class Mute(GymnasiumPlant):
    """A robot that has not said anything yet."""

    def __init__(self) -> None: ...

    def read(self) -> None: ...


LIMIT = st.floats(0.5, 20.0)
LIMITS = st.builds(
    lambda low, high, velocity, acceleration: CommandLimits(low, high, velocity, 10 * acceleration),
    st.floats(-1.0, -0.2),
    st.floats(0.2, 1.0),
    LIMIT,
    LIMIT,
)


@settings(max_examples=40, deadline=None)
@given(LIMITS, LIMITS, st.integers(0, 1000), st.integers(20, 200))
def test_limits_change_without_a_command_outside_of_them(
    before: CommandLimits, after: CommandLimits, seed: int, change: int
) -> None:
    rng = np.random.default_rng(seed)
    dogs = Watchdogs(recover_after=0.0, blend=0.0)
    safety = Safety(CommandLimiter(before, DT, np.zeros(1)), dogs, action=Rest([0.0]))
    sent, wanted = [0.0, 0.0, 0.0], 0.0
    for k in range(600):
        if k == change:
            safety.retune(dogs, after)
        wanted = rng.uniform(-1.5, 1.5) if k % 15 == 0 else wanted
        now = DT * k
        plan = TimedPlan(now, DT, np.full((2, 1), wanted), now)
        sent.append(float(safety.command(now, RobotState(now, k, np.zeros(1)), plan)[0]))
    assert safety.events.counts["limits: changed"] == 1
    changed = next(k for k in range(change, 600) if _excess(sent[k:], after) < 1e-6)
    assert _excess(sent[: changed + 3], before) < 1e-6
    assert changed < 550  # and there is something to see of both
    assert np.ptp(sent[changed:]) > 0.05


def _excess(sent: list[float], limits: CommandLimits) -> float:
    """By how much the commands, three of them at rest first, leave the limits."""
    u = np.array(sent)
    v, a = np.diff(u) / DT, np.diff(u, n=2) / DT**2
    relative = [
        np.max(u - limits.high, initial=0.0),
        np.max(limits.low - u, initial=0.0),
        np.max(np.abs(v), initial=0.0) / limits.velocity - 1.0,
        np.max(np.abs(a), initial=0.0) / limits.acceleration - 1.0,
    ]
    return float(max(relative))


@pytest.mark.parametrize("on_trip", ["rest", "hold", "damp", "carry"])
def test_every_way_to_be_safe_is_to_be_had(on_trip: Any) -> None:
    config = ControlConfig(on_trip=on_trip, velocity=10.0)
    with closing(MuJoCoPlant(TASK)) as plant:
        controller = RandomController(SPEC.action_low, SPEC.action_high)
        loop = control_loop(plant, InStep(controller, TASK), TASK, config)
        loop.run(0.2)
    assert np.isfinite(loop.safety.sent).all()


def test_a_task_whose_actions_are_no_commands_is_refused() -> None:
    task = replace(get_task("HalfCheetah-v5"), servo=PDServo(1.0))
    with pytest.raises(ValueError, match="task: expected one whose actions are commands"):
        model_of(task)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"rate": 0.0}, "rate: expected a positive number of Hz"),
        ({"jerk": -1.0}, "jerk: expected positive"),
        ({"patience": 0.0}, "patience"),
        ({"damping": np.inf}, "damping: expected not negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ControlConfig(**setting)
