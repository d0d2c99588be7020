"""Linearized control steps against MuJoCo's own derivatives and closed forms."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from mpc_robot.dynamics.linearization import Linearizer, TangentSpace
from mpc_robot.dynamics.simulator import INTEGRATION, Simulator
from mpc_robot.envs import get_task, make_env, physics_state

TUMBLER = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <body pos="0 0 2"><freejoint/><geom size=".1 .2 .3" type="box"/>
      <body pos="0 0 .3"><joint type="ball" damping=".1"/><geom size=".05" pos="0 0 .3"/>
        <body pos="0 0 .6"><joint name="slide" type="slide" axis="1 0 0" stiffness="3"/>
          <geom size=".05" pos=".2 0 0"/>
          <body><joint name="hinge" axis="0 1 0"/><geom size=".05" pos="0 .1 .2"/>
            <site name="tip" pos="0 .1 .4"/></body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <general joint="slide" dyntype="integrator" gainprm="5"/>
    <general joint="hinge" dyntype="filter" dynprm=".05" gainprm="2"/>
    <motor joint="hinge" gear="3"/>
  </actuator>
</mujoco>
"""
"""A free body, a ball joint, and actuators of which two have a state."""

CART = """
<mujoco>
  <option timestep="0.1" gravity="0 0 0"/>
  <worldbody>
    <body><joint name="x" type="slide" axis="1 0 0"/><geom size=".1" mass="2"/></body>
  </worldbody>
  <actuator><motor joint="x" ctrlrange="-1 1" ctrllimited="true"/></actuator>
</mujoco>
"""


def random_state(model: mujoco.MjModel, seed: int) -> np.ndarray:
    """Anywhere, moving, with activations."""
    rng, data = np.random.default_rng(seed), mujoco.MjData(model)
    mujoco.mj_integratePos(model, data.qpos, rng.normal(size=model.nv), 1.0)
    data.qvel[:], data.act[:] = rng.normal(size=model.nv), rng.normal(size=model.na)
    return state_of(model, data)


def state_of(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    state = np.empty(mujoco.mj_stateSize(model, INTEGRATION))
    mujoco.mj_getState(model, data, state, INTEGRATION)
    return state


def state_and_speed(fields: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([fields["qpos"], fields["qvel"]], axis=-1)


def linearizer(model: mujoco.MjModel, frame_skip: int, threads: int = 1) -> Linearizer:
    return Linearizer(model, frame_skip, state_and_speed, ("qpos", "qvel"), threads=threads)


def by_mujoco(
    model: mujoco.MjModel, state: np.ndarray, action: np.ndarray, frame_skip: int
) -> tuple[np.ndarray, np.ndarray]:
    """Jacobians of a control step, composed of those of its physics steps."""
    data, n = mujoco.MjData(model), 2 * model.nv + model.na
    mujoco.mj_setState(model, data, state, INTEGRATION)
    data.ctrl[:] = action
    f_x, f_u = np.eye(n), np.zeros((n, model.nu))
    a, b = np.empty((n, n)), np.empty((n, model.nu))
    for _ in range(frame_skip):
        mujoco.mjd_transitionFD(model, data, 1e-6, True, a, b, None, None)
        f_x, f_u = a @ f_x, a @ f_u + b
        mujoco.mj_step(model, data)
    return f_x, f_u


@pytest.fixture(scope="module")
def tumbler() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(TUMBLER)


@pytest.mark.parametrize("seed", range(5))
def test_tangent_space_is_that_of_mujoco(tumbler: mujoco.MjModel, seed: int) -> None:
    tangent, rng = TangentSpace(tumbler), np.random.default_rng(seed)
    start, move = random_state(tumbler, seed), rng.normal(size=2 * tumbler.nv + tumbler.na)
    end = tangent.add(start, move)
    data = mujoco.MjData(tumbler)
    mujoco.mj_setState(tumbler, data, start, INTEGRATION)
    qpos = data.qpos.copy()
    mujoco.mj_integratePos(tumbler, data.qpos, move[: tumbler.nv].copy(), 1.0)
    data.qvel[:] += move[tumbler.nv : 2 * tumbler.nv]
    data.act[:] += move[2 * tumbler.nv :]
    np.testing.assert_allclose(end, state_of(tumbler, data), atol=1e-12)

    difference = np.empty(tumbler.nv)
    mujoco.mj_differentiatePos(tumbler, difference, 1.0, qpos, data.qpos)
    found = tangent.difference(end, start)
    np.testing.assert_allclose(found[: tumbler.nv], difference, atol=1e-12)
    np.testing.assert_allclose(found[tumbler.nv :], move[tumbler.nv :], atol=1e-12)


def test_difference_takes_the_short_way_round(tumbler: mujoco.MjModel) -> None:
    tangent, start = TangentSpace(tumbler), random_state(tumbler, 0)
    other = start.copy()
    other[1 + 3 : 1 + 7] *= -1  # the same orientation of the free body
    np.testing.assert_allclose(tangent.difference(other, start), 0.0, atol=1e-12)


@pytest.mark.parametrize("frame_skip", [1, 4])
def test_jacobians_are_those_of_mujoco_with_quaternions_and_activations(
    tumbler: mujoco.MjModel, frame_skip: int
) -> None:
    states = np.stack([random_state(tumbler, seed) for seed in range(3)])
    actions = np.random.default_rng(0).normal(size=(3, tumbler.nu))
    found = linearizer(tumbler, frame_skip).control_steps(states, actions)
    for t in range(3):
        f_x, f_u = by_mujoco(tumbler, states[t], actions[t], frame_skip)
        np.testing.assert_allclose(found.f_x[t], f_x, atol=1e-6)
        np.testing.assert_allclose(found.f_u[t], f_u, atol=1e-6)


def test_jacobians_are_those_of_mujoco_with_contacts_and_warm_start() -> None:
    task = get_task("HalfCheetah-v5")
    simulator, env = Simulator(task, threads=1), make_env(task)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(20):
        env.step(env.action_space.sample())
    state, action = physics_state(env), env.action_space.sample().astype(np.float64)
    found = linearizer(simulator.model, 5).control_steps(state[None], action[None])
    f_x, f_u = by_mujoco(simulator.model, state, action, 5)
    np.testing.assert_allclose(found.f_x[0], f_x, atol=1e-5 * np.abs(f_x).max())
    np.testing.assert_allclose(found.f_u[0], f_u, atol=1e-5 * np.abs(f_u).max())


@pytest.mark.parametrize("action", [0.3, 1.0, -1.0])
def test_closed_form_of_a_linear_system_up_to_the_limits_of_its_actions(action: float) -> None:
    """Semi-implicit Euler: v' = v + h u / m, x' = x + h v', twice."""
    model = mujoco.MjModel.from_xml_string(CART)
    found = linearizer(model, 2).control_steps(random_state(model, 1)[None], np.array([[action]]))
    h, m = 0.1, 2.0
    a, b = np.array([[1, h], [0, 1]]), np.array([[h * h / m], [h / m]])
    np.testing.assert_allclose(found.f_x[0], a @ a, atol=1e-8)
    np.testing.assert_allclose(found.f_u[0], a @ b + b, atol=1e-8)
    np.testing.assert_allclose(found.h_x, found.f_x, atol=1e-8)  # it observes the state
    np.testing.assert_allclose(found.h_u, found.f_u, atol=1e-8)


def test_an_action_beyond_its_range_changes_nothing() -> None:
    model = mujoco.MjModel.from_xml_string(CART)
    found = linearizer(model, 1).control_steps(random_state(model, 1)[None], np.array([[1.5]]))
    np.testing.assert_array_equal(found.f_u, 0.0)


def test_observations_of_kinematics_have_the_jacobian_of_the_site(tumbler: mujoco.MjModel) -> None:
    def tip(fields: dict[str, np.ndarray]) -> np.ndarray:
        return fields["site_xpos"][..., 0, :]

    states = np.stack([random_state(tumbler, seed) for seed in range(2)])
    seen = Linearizer(tumbler, 1, tip, ("site_xpos",), threads=1).observations(states)
    data, jacobian = mujoco.MjData(tumbler), np.empty((3, tumbler.nv))
    for t, state in enumerate(states):
        mujoco.mj_setState(tumbler, data, state, INTEGRATION)
        mujoco.mj_forward(tumbler, data)
        mujoco.mj_jacSite(tumbler, data, jacobian, None, 0)
        np.testing.assert_allclose(seen.value[t], data.site_xpos[0], atol=1e-12)
        np.testing.assert_allclose(seen.slope[t, :, : tumbler.nv], jacobian, atol=1e-6)
        np.testing.assert_allclose(seen.slope[t, :, tumbler.nv :], 0.0, atol=1e-9)


def test_slope_and_curvature_of_an_observation_in_closed_form() -> None:
    model = mujoco.MjModel.from_xml_string(CART)

    def wave(fields: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([np.cos(fields["qpos"]), fields["qvel"] ** 3], axis=-1)

    state = random_state(model, 3)
    seen = Linearizer(model, 1, wave, ("qpos", "qvel"), threads=1).observations(state[None])
    (x, v) = state[1:3]
    np.testing.assert_allclose(seen.value[0], [np.cos(x), v**3], atol=1e-12)
    np.testing.assert_allclose(seen.slope[0], np.diag([-np.sin(x), 3 * v**2]), atol=1e-6)
    np.testing.assert_allclose(seen.curvature[0], np.diag([-np.cos(x), 6 * v]), atol=1e-6)


def test_bits_do_not_depend_on_threads_nor_on_what_came_before(tumbler: mujoco.MjModel) -> None:
    states = np.stack([random_state(tumbler, seed) for seed in range(8)])
    actions = np.random.default_rng(0).normal(size=(8, tumbler.nu))
    one, two = linearizer(tumbler, 2, threads=1), linearizer(tumbler, 2, threads=2)
    two.control_steps(states[::-1], -actions)
    found, again = one.control_steps(states, actions), two.control_steps(states, actions)
    for name, values in vars(found).items():
        np.testing.assert_array_equal(values, getattr(again, name))


def test_where_a_simulation_fails_derivatives_are_nan_and_nowhere_else() -> None:
    model = mujoco.MjModel.from_xml_string(CART)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    states = np.stack([random_state(model, seed) for seed in range(2)])
    states[0, 2] = 1e12  # MuJoCo warns of such a velocity
    found = linearizer(model, 1).control_steps(states, np.zeros((2, 1)))
    assert np.isnan(found.f_x[0]).all()
    assert np.isfinite(found.f_x[1]).all()
    assert np.isfinite(linearizer(model, 1).control_steps(states[1:], np.zeros((1, 1))).f_x).all()
