"""LQR against closed forms and in the environments that it must hold upright."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from mpc_robot.controllers import ILQR, LQR, ILQRConfig
from mpc_robot.controllers.lqr import at_rest, equilibrium, riccati
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import env_spec, get_task, make_env, physics_state

PENDULUM_COSTS = {
    "CartpoleBalance-v0": [1.0, 10.0, 0.1, 1.0],
    "InvertedPendulum-v5": [1.0, 10.0, 0.1, 1.0],
    "InvertedDoublePendulum-v5": [1.0, 10.0, 10.0, 0.1, 1.0, 1.0],
}
ARM = """<mujoco><worldbody><body>
<joint name="shoulder" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 1 0 0" size=".05" mass="1"/>
<body pos="1 0 0"><joint name="elbow" axis="0 1 0" stiffness="5"/>
<geom type="capsule" fromto="0 0 0 .5 0 0" size=".05" mass="2"/></body></body></worldbody>
<actuator><position joint="shoulder" kp="100" ctrlrange="-3 3"/>
<motor joint="elbow" ctrlrange="-{limit} {limit}" gear="10"/></actuator></mujoco>"""


def controller(name: str) -> LQR:
    task = get_task(name)
    spec = env_spec(make_env(task))
    return LQR(Simulator(task, threads=1), spec, PENDULUM_COSTS[name], np.ones(spec.action_dim))


def test_riccati_of_the_double_integrator_in_closed_form() -> None:
    """For q = diag(1, 0) and fast sampling: gain (1, sqrt(2 r^.5)) / r^.5 (Kalman 1960)."""
    h, r = 1e-4, 0.25
    a, b = np.array([[1, h], [0, 1]]), np.array([[h * h / 2], [h]])
    p, gain = riccati(a, b, h * np.diag([1.0, 0.0]), h * np.array([[r]]))
    root = r**0.25  # of the closed loop: root^4 s^4 + 1 = 0
    np.testing.assert_allclose(gain, [[1 / root**2, np.sqrt(2) / root]], rtol=1e-3)
    np.testing.assert_allclose(
        p, [[np.sqrt(2) * root, root**2], [root**2, np.sqrt(2) * root**3]], rtol=1e-3
    )


def test_riccati_is_what_value_iteration_converges_to() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 4)), rng.normal(size=(4, 2))
    q, r = np.diag([1.0, 0.5, 2.0, 0.0]), np.diag([0.1, 3.0])
    p, gain = riccati(a, b, q, r)
    expected = q
    for _ in range(2000):
        k = np.linalg.solve(r + b.T @ expected @ b, b.T @ expected @ a)
        expected = q + a.T @ expected @ (a - b @ k)
    np.testing.assert_allclose(p, expected, rtol=1e-8)
    np.testing.assert_allclose(gain, k, rtol=1e-8)


def test_what_cannot_be_steered_is_refused() -> None:
    with pytest.raises(ValueError, match="set point: expected one that feedback can keep"):
        riccati(np.diag([1.5, 0.5]), np.array([[0.0], [1.0]]), np.eye(2), np.eye(1))


@pytest.mark.parametrize("name", PENDULUM_COSTS)
@pytest.mark.parametrize("seed", range(2))
def test_holds_a_pendulum_upright_for_a_whole_episode(name: str, seed: int) -> None:
    env, lqr = make_env(get_task(name)), controller(name)
    env.reset(seed=seed)
    total, steps = 0.0, 500 if name.startswith("Cart") else 1000
    for _ in range(steps):
        _, reward, terminated, *_ = env.step(lqr.act(physics_state(env)))
        total += float(reward)
        assert not terminated
    assert total > steps * {"InvertedDoublePendulum-v5": 9.3}.get(name, 0.99)


def test_the_cost_to_go_is_what_the_simulator_then_costs() -> None:
    """Close to the set point, where everything is linear and no limit plays a part."""
    name = "CartpoleBalance-v0"
    lqr, simulator = controller(name), Simulator(get_task(name), threads=1)
    away = np.array([1e-4, -2e-4, 1e-4, 3e-4])
    state = lqr.set_point.copy()
    state[1:5] += away
    moving, cost = simulator.start(state, 1), 0.0
    for _ in range(1500):
        action = lqr.act(moving.physics[0])
        deviation = moving.physics[0, 1:5] - lqr.set_point[1:5]
        cost += float(deviation**2 @ PENDULUM_COSTS[name] + action[0] ** 2)
        moving = simulator.step(moving, torch.from_numpy(action[None]), torch.Generator()).state
    assert cost == pytest.approx(away @ lqr.cost_to_go @ away, rel=1e-3)
    observation = torch.from_numpy(simulator.start(state, 1).observation)
    assert lqr.value(observation).item() == pytest.approx(-cost, rel=1e-3)


def test_actions_keep_within_bounds_and_bad_states_are_refused() -> None:
    lqr = controller("CartpoleBalance-v0")
    far = lqr.set_point.copy()
    far[1] = 100.0
    assert abs(lqr.act(far)) == 1.0
    lqr.reset(seed=3)
    assert lqr.plan is None
    with pytest.raises(ValueError, match=r"sensed: expected a physics state \(28,\), got \(5,\)"):
        lqr.act(far[:5])


def test_as_terminal_value_it_tells_a_planner_what_the_reward_does_not() -> None:
    """InvertedPendulum pays 1 wherever the cart is; the value draws it to the middle."""
    task = get_task("InvertedPendulum-v5")
    env = make_env(task)
    config, value = ILQRConfig(horizon=0.2, iterations=2), controller(task.name).value
    planner = ILQR(
        Simulator(task, threads=1),
        env_spec(env),
        config,
        terminal_value=lambda observations: 100.0 + value(observations),
    )
    env.reset(seed=0)
    env.unwrapped.set_state(np.array([0.4, 0.0]), np.zeros(2))
    positions = []
    for _ in range(120):
        observation, _, terminated, *_ = env.step(planner.act(physics_state(env)))
        positions.append(observation[0])
        assert not terminated
    assert np.abs(positions[-20:]).max() < 0.1


@pytest.mark.parametrize("posture", [(0.0, 0.0), (0.7, -1.1), (2.0, 0.5)])
def test_equilibrium_is_where_the_model_rests(posture: tuple[float, float]) -> None:
    model = mujoco.MjModel.from_xml_string(ARM.format(limit=5))
    state, action = equilibrium(model, at_rest(model, posture))
    np.testing.assert_allclose(state[1:3], posture, atol=0.5)
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    data.ctrl[:] = action
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.qacc, 0.0, atol=1e-5)


def test_where_actuators_are_too_weak_there_is_no_equilibrium() -> None:
    """The lower arm weighs 2 kg and must be held level, far from where it could hang."""
    model = mujoco.MjModel.from_xml_string(ARM.format(limit="0.001").replace('"-3 3"', '"3 3.1"'))
    model.jnt_stiffness[1] = 0.0
    model.actuator_gainprm[0, 0] = 1e-9
    model.actuator_biasprm[0, 1] = -1e-9
    model.dof_armature[:] = 1.0
    state = at_rest(model, (0.0, 0.0))
    found, _ = equilibrium(model, state)
    assert abs(found[1]) > 1.0  # it hangs


def test_a_set_point_that_nothing_can_hold_is_refused() -> None:
    xml = """<mujoco><worldbody><body><joint name="fall" type="slide"/><geom size=".1"/></body>
    <body pos="1 0 0"><joint name="push" type="slide" axis="1 0 0"/><geom size=".1"/></body>
    </worldbody><actuator><motor joint="push"/></actuator></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    with pytest.raises(ValueError, match=r"set point: .* missing at joint 'fall'"):
        equilibrium(model, at_rest(model))


def test_stateful_actuators_need_an_action_given() -> None:
    xml = """<mujoco><worldbody><body><joint name="j" axis="0 0 1"/><geom size=".1"/></body>
    </worldbody><actuator><intvelocity joint="j" kp="1" actrange="-1 1"/></actuator></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    with pytest.raises(ValueError, match="model: expected no stateful actuators; give the action"):
        equilibrium(model, at_rest(model))


def test_bad_costs_and_postures_are_refused() -> None:
    task = get_task("CartpoleBalance-v0")
    simulator, spec = Simulator(task, threads=1), env_spec(make_env(task))
    with pytest.raises(ValueError, match=r"state_cost: expected \(4,\) or \(4, 4\), got \(3, 3\)"):
        LQR(simulator, spec, np.ones(3), np.ones(1))
    with pytest.raises(ValueError, match=r"action_cost: expected \(1,\) or \(1, 1\)"):
        LQR(simulator, spec, np.ones(4), np.eye(2))
    with pytest.raises(ValueError, match=r"qpos: expected shape \(2,\), got \(3,\)"):
        at_rest(simulator.model, np.zeros(3))


def test_a_value_needs_observations_that_tell_the_state() -> None:
    task = get_task("CartpoleBalance-v0")
    blind = replace(task, observe=lambda fields: fields["qpos"], fields=("qpos",))
    lqr = LQR(Simulator(blind, threads=1), env_spec(make_env(task)), np.ones(4), np.ones(1))
    with pytest.raises(ValueError, match="observation: expected to determine 4 state entries"):
        lqr.value(torch.zeros(1, 2))
