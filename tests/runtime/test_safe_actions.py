"""Safe actions bring a simulated arm to rest, or hold it where it is."""

import mujoco
import numpy as np
import pytest

from mpc_robot.controllers import RandomController
from mpc_robot.envs import get_task
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.safe_actions import (
    INTEGRATION,
    Damp,
    Fallback,
    Hold,
    HoldAgainstGravity,
    Rest,
    SafeAction,
)
from mpc_robot.runtime.sensing import Sensing

ARM = """<mujoco><option timestep="0.002"/><worldbody>
<body><joint name="shoulder" axis="0 1 0"/><geom type="capsule" size="0.03" fromto="0 0 0 0.4 0 0"/>
  <body pos="0.4 0 0"><joint name="elbow" axis="0 1 0"/>
    <geom type="capsule" size="0.03" fromto="0 0 0 0.3 0 0"/></body></body></worldbody>
<actuator><motor joint="shoulder" gear="20" ctrlrange="-1 1"/>
<motor joint="elbow" gear="10" ctrlrange="-1 1"/></actuator></mujoco>"""
MODEL = mujoco.MjModel.from_xml_string(ARM)
LAST = np.array([0.2, -0.1])


def reported(data: mujoco.MjData) -> RobotState:
    state = np.empty(mujoco.mj_stateSize(MODEL, INTEGRATION))
    mujoco.mj_getState(MODEL, data, state, INTEGRATION)
    return RobotState(data.time, 0, state)


def act(action: SafeAction, data: mujoco.MjData, seconds: float) -> None:
    while data.time < seconds:
        data.ctrl[:] = action.command(reported(data), data.ctrl.copy())
        mujoco.mj_step(MODEL, data)


def test_the_weight_is_carried() -> None:
    data = mujoco.MjData(MODEL)
    data.qpos[:] = 0.3, -0.5
    act(HoldAgainstGravity(MODEL, damping=1.0), data, 3.0)
    np.testing.assert_allclose(data.qpos, [0.3, -0.5], atol=1e-3)


def test_motion_is_braked_against_gravity() -> None:
    data = mujoco.MjData(MODEL)
    data.qvel[:] = 2.0, -3.0
    act(HoldAgainstGravity(MODEL, damping=1.0), data, 3.0)
    np.testing.assert_allclose(data.qvel, 0.0, atol=1e-2)


def test_what_damps_the_joints_is_not_compensated() -> None:
    """Carried and left alone, a joint with a damper slows down as its equation of motion says."""
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><option timestep="0.001"/><worldbody><body><joint name="j" axis="0 1 0" '
        'damping="0.4" stiffness="3"/><inertial mass="1" pos="0.2 0 0" '
        'diaginertia="0.1 0.16 0.1"/></body></worldbody>'
        '<actuator><motor joint="j" ctrlrange="-50 50"/></actuator></mujoco>'
    )
    action, data = HoldAgainstGravity(model, damping=0.0), mujoco.MjData(model)
    data.qvel[:] = 1.0
    for _ in range(1_000):
        state = np.empty(mujoco.mj_stateSize(model, INTEGRATION))
        mujoco.mj_getState(model, data, state, INTEGRATION)
        data.ctrl[:] = action.command(RobotState(data.time, 0, state), data.ctrl)
        mujoco.mj_step(model, data)
    assert data.qvel[0] == pytest.approx(np.exp(-0.4 / 0.2), rel=0.01)  # inertia 0.16 + 0.2**2


def test_damping_takes_energy_out() -> None:
    data = mujoco.MjData(MODEL)
    data.qvel[:] = 2.0, -3.0
    act(Damp(MODEL, damping=2.0), data, 20.0)
    np.testing.assert_allclose(data.qvel, 0.0, atol=1e-2)
    np.testing.assert_allclose(np.cos(data.qpos[0]), 0.0, atol=2e-2)  # it hangs straight down


def test_without_a_state() -> None:
    np.testing.assert_array_equal(Hold().command(None, LAST), LAST)
    np.testing.assert_array_equal(Damp(MODEL, 1.0).command(None, LAST), 0.0)
    np.testing.assert_array_equal(HoldAgainstGravity(MODEL, 1.0).command(None, LAST), LAST)
    np.testing.assert_array_equal(Rest([0.5, 0.0]).command(None, LAST), [0.5, 0.0])


@pytest.mark.parametrize("action", [Damp, HoldAgainstGravity])
def test_nothing_brakes_backwards(action: type[Damp | HoldAgainstGravity]) -> None:
    with pytest.raises(ValueError, match="damping: expected not negative, got -1"):
        action(MODEL, -1.0)


def test_a_fallback_controller_acts() -> None:
    sensing = Sensing(get_task("CartpoleBalance-v0"))
    controller = RandomController(sensing.spec.action_low, sensing.spec.action_high)
    fallback = Fallback(controller, sensing)
    state = RobotState(0.0, 0, None, np.zeros(sensing.spec.observation_dim))
    controller.reset(3)
    command = fallback.command(state, np.zeros(1))
    controller.reset(3)
    assert command == pytest.approx(controller.act(np.zeros(sensing.spec.observation_dim)))
    np.testing.assert_array_equal(fallback.command(None, np.array([0.7])), [0.7])
