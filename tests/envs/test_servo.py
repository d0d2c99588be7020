"""Servos against MuJoCo's own position actuators, and the simulator against the environment."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import torch

from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import PDServo, get_task, make_env, physics_state
from mpc_robot.envs.servo import ServoActions, ServoLaw

HOPPER = replace(get_task("Hopper-v5"), servo=PDServo(stiffness=1.0, damping=0.03))
ARM = """<mujoco><worldbody><body><joint name="a" range="-90 90" limited="true"/>
<geom size=".1" pos="0 0 -.5"/><body pos="0 0 -1"><joint name="b" range="0 60" limited="true"/>
<geom size=".1" pos="0 0 -.5"/></body></body></worldbody><actuator>{}</actuator></mujoco>"""
MOTORS = '<motor joint="b" ctrlrange="-9 9"/><motor joint="a" ctrlrange="-1 2"/>'
SERVOS = """<general joint="b" gainprm="5" biastype="affine" biasprm="0 -5 -.3" forcerange="-9 9"/>
<general joint="a" gainprm="5" biastype="affine" biasprm="0 -5 -.3" forcerange="-1 2"/>"""


def test_commands_are_the_forces_of_mujocos_own_servos() -> None:
    motors = mujoco.MjModel.from_xml_string(ARM.format(MOTORS))
    servos = mujoco.MjModel.from_xml_string(ARM.format(SERVOS))
    law, data = ServoLaw(PDServo(5.0, 0.3), motors), mujoco.MjData(servos)
    rng = np.random.default_rng(0)
    for _ in range(20):
        data.qpos[:], data.qvel[:] = rng.normal(size=2), rng.normal(size=2)
        data.ctrl[:] = rng.uniform(law.low, law.high)
        mujoco.mj_forward(servos, data)
        state = np.concatenate([[0.0], data.qpos, data.qvel])
        np.testing.assert_allclose(law.command(state, data.ctrl), data.actuator_force)
    np.testing.assert_allclose(law.low, [0.0, -np.pi / 2])
    np.testing.assert_allclose(law.high, [np.pi / 3, np.pi / 2])


def test_the_simulator_predicts_what_the_environment_with_servos_does() -> None:
    env = make_env(HOPPER)
    env.reset(seed=0)
    simulator = Simulator(HOPPER, threads=1)
    space = env.action_space
    assert isinstance(space, gym.spaces.Box)
    actions = np.random.default_rng(0).uniform(space.low, space.high, (2, 12, 3)) / 4
    start = simulator.start(physics_state(env), 2)
    predicted = simulator.rollout(start, torch.from_numpy(actions), torch.Generator())
    for k, action in enumerate(actions[1]):
        observation, reward, terminated, *_ = env.step(action)
        np.testing.assert_allclose(predicted.observations[1, 0, k + 1], observation, atol=1e-9)
        assert predicted.rewards[1, 0, k].item() == pytest.approx(float(reward), abs=1e-9)
        assert bool(predicted.continues[1, 0, k]) is not terminated
        if terminated:
            break
    assert k > 5


def test_a_posture_is_held_against_a_push() -> None:
    """A leg that swings freely does not come back, one with servos does."""
    bent = {}
    for task in (HOPPER, get_task("Hopper-v5")):
        env = make_env(task)
        env.reset(seed=0)
        base = env.unwrapped
        base.data.qvel[3:] = -5.0, 5.0, -5.0  # type: ignore[attr-defined]
        for _ in range(15):
            observation = env.step(np.zeros(3))[0]
        bent[task.servo] = np.abs(observation[3:5]).max()
    assert bent[HOPPER.servo] < 0.5 * bent[None]


@pytest.mark.parametrize("name", ["InvertedPendulum-v5"])
def test_an_actuators_joint_needs_a_range(name: str) -> None:
    env = make_env(get_task(name))
    env.unwrapped.model.jnt_limited[:] = False  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"servo: expected a hinge or slide joint .* slide"):
        ServoActions(env, PDServo(1.0))


def test_only_mujocos_robots_have_servos() -> None:
    with pytest.raises(TypeError, match="servo: expected a MuJoCo environment"):
        ServoActions(gym.make("Pendulum-v1"), PDServo(1.0))


@pytest.mark.parametrize("field", ["stiffness", "damping"])
def test_gains_must_make_sense(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected"):
        PDServo(**{"stiffness": 1.0, field: -1.0})
