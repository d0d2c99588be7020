"""Guards keep forces, power, joints and places within bounds, judged by MuJoCo itself."""

import mujoco
import numpy as np
import pytest

from mpc_robot.runtime.actuators import Actuators
from mpc_robot.runtime.guards import INTEGRATION, Box, ForceLimit, Guard, JointEnds, Workspace

ARM = """<mujoco><option timestep="0.002"/><worldbody>
<body><joint name="shoulder" axis="0 1 0" range="-100 100" damping="0.2" limited="true"/>
  <geom type="capsule" size="0.03" fromto="0 0 0 0.4 0 0"/>
  <body pos="0.4 0 0"><joint name="elbow" axis="0 1 0" range="-120 120" limited="true"/>
    <geom type="capsule" size="0.03" fromto="0 0 0 0.3 0 0"/>
    <site name="hand" pos="0.3 0 0"/></body></body></worldbody>
<actuator>
  <motor name="a" joint="shoulder" gear="20" ctrlrange="-1 1"/>
  <position name="b" joint="elbow" kp="30" kv="2" ctrlrange="-4 4"/>
</actuator></mujoco>"""
MODEL = mujoco.MjModel.from_xml_string(ARM)


def physics(data: mujoco.MjData) -> np.ndarray:
    """The integration state ``[S]``."""
    state = np.empty(mujoco.mj_stateSize(MODEL, INTEGRATION))
    mujoco.mj_getState(MODEL, data, state, INTEGRATION)
    return state


def random_data(rng: np.random.Generator) -> mujoco.MjData:
    data = mujoco.MjData(MODEL)
    data.qpos[:], data.qvel[:] = rng.uniform(-1, 1, 2), rng.normal(0, 5, 2)
    return data


def forces(data: mujoco.MjData, command: np.ndarray) -> np.ndarray:
    """What MuJoCo says the actuators do, on the joints."""
    data.ctrl[:] = command
    mujoco.mj_forward(MODEL, data)
    return data.qfrc_actuator.copy()


@pytest.mark.parametrize("seed", range(10))
def test_forces_are_mujocos(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data, command = random_data(rng), rng.uniform(-1, 1, 2)
    actuators = Actuators(MODEL)
    np.testing.assert_allclose(
        actuators.forces(physics(data), command), forces(data, command), rtol=1e-12
    )
    wanted = rng.uniform(-15, 15, 2)
    again = actuators.command(physics(data), wanted)
    inside = np.abs(again) < [1, 4]
    np.testing.assert_allclose(forces(data, again)[inside], wanted[inside], rtol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_forces_and_power_stay_within_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data, command = random_data(rng), rng.uniform(-1, 1, 2) * [1, 4]
    guard = ForceLimit(MODEL, force=[8.0, 12.0], power=20.0)
    allowed = guard.allow(physics(data), command)
    force = forces(data, allowed)
    assert (np.abs(force) <= np.array([8.0, 12.0]) + 1e-9).all()
    assert (np.abs(force * data.qvel) <= 20.0 + 1e-9).all()
    np.testing.assert_allclose(guard.allow(physics(data), allowed), allowed, atol=1e-12)
    free = ForceLimit(MODEL)
    np.testing.assert_array_equal(free.allow(physics(data), command), command)


def swing(guard: Guard | None, seed: int) -> float:
    """How near a joint comes to an end of its range, rad, when all commands are extreme."""
    rng, data = np.random.default_rng(seed), mujoco.MjData(MODEL)
    low, high = MODEL.jnt_range.T
    least = np.inf
    for tick in range(2_000):
        if tick % 100 == 0:
            command = rng.choice([-1.0, 1.0], 2) * [1, 4]
        data.ctrl[:] = command if guard is None else guard.allow(physics(data), command)
        mujoco.mj_step(MODEL, data)
        least = min(least, float(np.minimum(data.qpos - low, high - data.qpos).min()))
    return least


@pytest.mark.parametrize("seed", range(3))
def test_joints_stop_before_their_ends(seed: int) -> None:
    guard = JointEnds(MODEL, deceleration=5.0, damping=10.0, margin=0.1)
    assert swing(None, seed) < 0.0
    assert swing(guard, seed) > 0.02


def test_far_from_the_ends_nothing_changes() -> None:
    guard = JointEnds(MODEL, deceleration=10.0, damping=50.0)
    command = np.array([0.4, 0.1])
    np.testing.assert_array_equal(guard.allow(physics(mujoco.MjData(MODEL)), command), command)


def test_a_site_must_stay_in_its_box() -> None:
    watch = Workspace(MODEL, (Box("hand", (-1, -1, -0.2), (1, 1, 1)),), ahead=0.1)
    data = mujoco.MjData(MODEL)
    assert watch.left(physics(data)) is None
    data.qvel[0] = 4.0  # the arm, 0.7 m long, falls by 0.27 m in the next 0.1 s
    assert watch.left(physics(data)) == "hand"
    data.qvel[0] = 2.0
    assert watch.left(physics(data)) is None
    data.qpos[0], data.qvel[0] = 0.5, -10.0  # outside, though on the way back
    assert watch.left(physics(data)) == "hand"
    assert Workspace(MODEL, ()).left(physics(data)) is None


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="site: expected one of hand, got 'foot'"):
        Workspace(MODEL, (Box("foot", (0, 0, 0), (1, 1, 1)),))
    with pytest.raises(ValueError, match="box of hand: expected low below high"):
        Workspace(MODEL, (Box("hand", (0, 0, 2), (1, 1, 1)),))
    with pytest.raises(ValueError, match="force: expected positive"):
        ForceLimit(MODEL, force=[1.0, 0.0])
    with pytest.raises(ValueError, match=r"force: expected one number or 2, got \(3,\)"):
        ForceLimit(MODEL, force=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="power: expected positive"):
        ForceLimit(MODEL, power=-1.0)
    with pytest.raises(ValueError, match="deceleration: expected positive"):
        JointEnds(MODEL, deceleration=0.0, damping=1.0)


@pytest.mark.parametrize(
    ("actuator", "what"),
    [
        ('<motor name="m" joint="j"/>', "actuator m: expected a ctrlrange"),
        (
            '<general name="m" joint="j" dyntype="integrator" ctrlrange="-1 1"/>',
            "actuator m: expected a motor or servo without dynamics of its own",
        ),
        (
            '<motor name="m" site="s" ctrlrange="-1 1"/>',
            "actuator m: expected one that drives a hinge or slide joint",
        ),
    ],
)
def test_actuators_that_are_not_understood(actuator: str, what: str) -> None:
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><body><joint name="j"/><geom size="0.1"/><site name="s"/></body>'
        f"</worldbody><actuator>{actuator}</actuator></mujoco>"
    )
    with pytest.raises(ValueError, match=what):
        Actuators(model)
