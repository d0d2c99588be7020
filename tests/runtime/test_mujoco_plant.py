"""A robot simulated in real time: its pace, its faults, and what becomes of it when killed."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from mpc_robot.envs import PDServo, get_task, make_env, physics_state
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.mujoco_plant import MuJoCoPlant, Realism

TASK = get_task("CartpoleBalance-v0")
ENV = make_env(TASK)
ENV.reset(seed=3)
START = physics_state(ENV)
MODEL: mujoco.MjModel = ENV.unwrapped.model  # type: ignore[attr-defined]
CTRL = slice(
    mujoco.mj_stateSize(MODEL, mujoco.mjtState.mjSTATE_CTRL - 1),
    mujoco.mj_stateSize(MODEL, 2 * mujoco.mjtState.mjSTATE_CTRL - 1),
)


@contextmanager
def plant(realism: Realism | None = None) -> Iterator[MuJoCoPlant]:
    made = MuJoCoPlant(TASK, seed=3, realism=realism)
    try:
        yield made
    finally:
        made.close()


def states(plant: MuJoCoPlant, num: int) -> list[RobotState]:
    """The next ``num`` different states."""
    seen: list[RobotState] = []
    deadline = time.monotonic() + 20.0
    while len(seen) < num and time.monotonic() < deadline:
        state = plant.read()
        if state is not None and (not seen or state.stamp != seen[-1].stamp):
            seen.append(state)
        time.sleep(0.001)
    assert len(seen) == num
    return seen


def physics(state: RobotState) -> np.ndarray:
    assert state.physics is not None
    return state.physics


def test_it_is_simulated_as_the_environment_is_and_never_ahead_of_the_clock() -> None:
    began = time.monotonic()
    with plant() as robot:
        last = states(robot, 60)[-1]
    elapsed = time.monotonic() - began
    steps = round((physics(last)[0] - START[0]) / MODEL.opt.timestep)
    assert steps * MODEL.opt.timestep <= elapsed
    assert last.number == steps
    data = mujoco.MjData(MODEL)
    mujoco.mj_setState(MODEL, data, START, mujoco.mjtState.mjSTATE_INTEGRATION)
    for _ in range(steps):
        mujoco.mj_step(MODEL, data)
    np.testing.assert_array_equal(physics(last)[1 : 1 + MODEL.nq], data.qpos)
    assert began <= last.stamp <= began + elapsed


@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_commands_are_obeyed_late(delay: float) -> None:
    with plant(Realism(actuation_delay=delay)) as robot:
        states(robot, 3)
        sent = time.monotonic()
        robot.write(np.array([0.5]))
        while physics(state := states(robot, 1)[0])[CTRL] != 0.5:
            assert state.stamp < sent + 10.0
    assert state.stamp - sent >= delay


def test_states_are_noisy_and_get_lost() -> None:
    noise = Realism(position_noise=0.01, velocity_noise=0.1, dropout=0.5)
    with plant(noise) as robot:
        seen = states(robot, 100)
    numbers = np.array([state.number for state in seen])
    assert 1.5 < np.diff(numbers).mean()
    data, exact = mujoco.MjData(MODEL), {}
    mujoco.mj_setState(MODEL, data, START, mujoco.mjtState.mjSTATE_INTEGRATION)
    for number in range(1, numbers[-1] + 1):
        mujoco.mj_step(MODEL, data)
        exact[number] = np.concatenate([data.qpos, data.qvel])
    errors = np.array([physics(s)[1:5] - exact[s.number] for s in seen])
    np.testing.assert_allclose(errors.std(axis=0), [0.01, 0.01, 0.1, 0.1], rtol=0.35)


def test_a_robot_that_is_killed_begins_anew() -> None:
    with plant() as robot:
        while (before := states(robot, 1)[0]).number < 100:
            pass
        os.kill(robot.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20.0
        while (after := states(robot, 1)[0]).number >= before.number:
            assert time.monotonic() < deadline
    assert after.stamp > before.stamp
    elapsed = after.number * MODEL.opt.timestep  # since it began anew
    assert physics(after)[0] == pytest.approx(START[0] + elapsed)


def test_the_model_is_changed_for_the_simulation_only() -> None:
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><body><joint name="j"/><geom size="0.1" mass="2"/></body></worldbody>'
        '<actuator><position joint="j" kp="5" ctrlrange="-1 1"/></actuator></mujoco>'
    )
    inertia = model.body_inertia[1].copy()
    Realism(mass=3.0, friction=0.5, gain=2.0).put_into(model)
    assert model.body_mass[1] == 6.0
    np.testing.assert_allclose(model.body_inertia[1], 3.0 * inertia)
    assert model.geom_friction[0, 0] == 0.5
    assert model.actuator_gainprm[0, 0] == 10.0
    assert model.actuator_biasprm[0, 1] == -10.0
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    dense = np.zeros((1, 1))
    mujoco.mj_fullM(model, data, dense)
    assert dense[0, 0] == pytest.approx(3.0 * inertia[0])


def test_a_command_of_another_robot_is_refused() -> None:
    with plant() as robot, pytest.raises(ValueError, match=r"command: expected shape \(1,\), got"):
        robot.write(np.zeros(2))


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="task: expected one whose actions are commands"):
        MuJoCoPlant(replace(get_task("Hopper-v5"), servo=PDServo(1.0)))
    with pytest.raises(ValueError, match="mass: expected positive, got 0"):
        Realism(mass=0.0)
    with pytest.raises(ValueError, match=r"dropout: expected in \[0, 1\), got 1"):
        Realism(dropout=1.0)
    with pytest.raises(ValueError, match="actuation_delay: expected not negative"):
        Realism(actuation_delay=-1.0)
