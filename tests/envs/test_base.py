"""A physics state from outside is checked before anything is planned from it."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
import pytest

from mpc_robot.envs import get_task, make_env, physics_state
from mpc_robot.envs.base import check_physics_state, sensed_state

FULL = mujoco.mjtState.mjSTATE_INTEGRATION
MODEL = mujoco.MjModel.from_xml_string("""
<mujoco>
  <size nuserdata="3"/>
  <worldbody>
    <body name="goal" mocap="true"/>
    <body>
      <joint name="rail" type="slide"/>
      <geom size="1"/>
      <body><joint name="wrist" type="ball"/><geom size="1"/></body>
    </body>
    <body name="base"><freejoint name="root"/><geom size="1"/></body>
    <body name="lamp" mocap="true"/>
  </worldbody>
  <actuator><general joint="rail" dyntype="integrator"/></actuator>
</mujoco>
""")


def random_data() -> mujoco.MjData:
    """A simulation somewhere, its quaternions of unit length."""
    data, rng = mujoco.MjData(MODEL), np.random.default_rng(0)
    for name in ("qpos", "qvel", "act", "mocap_pos", "mocap_quat", "userdata", "ctrl"):
        field = getattr(data, name)
        field[:] = rng.standard_normal(field.shape)
    for quaternion in (data.qpos[1:5], data.qpos[8:12], *data.mocap_quat):
        np.divide(quaternion, np.linalg.norm(quaternion), out=quaternion)
    return data


def state_of(data: mujoco.MjData) -> npt.NDArray[np.float64]:
    state = np.empty(mujoco.mj_stateSize(MODEL, FULL))
    mujoco.mj_getState(MODEL, data, state, FULL)
    return state


def test_a_state_of_the_model_passes_and_so_does_its_future() -> None:
    data = random_data()
    check_physics_state(MODEL, state_of(data))
    mujoco.mj_step(MODEL, data, nstep=100)
    check_physics_state(MODEL, state_of(data))


@pytest.mark.parametrize("length", [0.0, 0.9, 1.01])
@pytest.mark.parametrize("whose", ["joint 'wrist'", "joint 'root'", "body 'goal'", "body 'lamp'"])
def test_a_quaternion_that_is_no_rotation_is_named(whose: str, length: float) -> None:
    data = random_data()
    where = {
        "joint 'wrist'": data.qpos[1:5],
        "joint 'root'": data.qpos[8:12],
        "body 'goal'": data.mocap_quat[0],
        "body 'lamp'": data.mocap_quat[1],
    }[whose]
    where *= length
    with pytest.raises(ValueError, match=f"quaternion of .*{whose}: .* 1, got {length:.4g}"):
        check_physics_state(MODEL, state_of(data))


def test_a_state_of_another_size_or_not_finite_is_refused() -> None:
    state = state_of(random_data())
    for other in (state[:-1], state[None], np.append(state, 0.0)):
        with pytest.raises(ValueError, match=rf"expected shape \({len(state)},\), .*qpos \(12\)"):
            check_physics_state(MODEL, other)
    state[3] = np.inf
    with pytest.raises(ValueError, match=r"state\[3\]: expected a finite number, got inf"):
        check_physics_state(MODEL, state)


def test_what_a_robot_senses_is_put_where_mujoco_has_it() -> None:
    data = random_data()
    names = ("act", "ctrl", "mocap_pos", "mocap_quat", "userdata")
    others = {name: np.array(getattr(data, name)) for name in names}
    state = sensed_state(MODEL, data.qpos, data.qvel, time=1.5, **others)
    twin = mujoco.MjData(MODEL)
    mujoco.mj_setState(MODEL, twin, state, FULL)
    assert twin.time == 1.5
    for name in ("qpos", "qvel", *names):
        np.testing.assert_array_equal(getattr(twin, name), getattr(data, name))
    bare = sensed_state(MODEL, data.qpos, data.qvel)
    mujoco.mj_setState(MODEL, twin, bare, FULL)
    np.testing.assert_array_equal(twin.mocap_pos, mujoco.MjData(MODEL).mocap_pos)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"qvel": np.zeros(3)}, r"qvel: expected shape \(10,\), got \(3,\)"),
        ({"act": [np.nan]}, "expected a finite number, got nan"),
        ({"mocap_quat": np.ones((2, 4))}, "body 'goal': expected length 1, got 2"),
        ({"speed": 1.0}, "state: expected parts qpos, .* got 'speed'"),
    ],
)
def test_what_no_robot_senses_is_refused(parts: dict[str, Any], message: str) -> None:
    data = mujoco.MjData(MODEL)
    with pytest.raises(ValueError, match=message):
        sensed_state(MODEL, **{"qpos": data.qpos, "qvel": data.qvel, **parts})


def test_an_environment_that_begins_with_no_rotation_is_taken_as_mujoco_takes_it() -> None:
    env = make_env(get_task("Ant-v5"))
    env.reset(seed=0)
    base: Any = env.unwrapped
    assert abs(np.linalg.norm(base.data.qpos[3:7]) - 1) > 1e-3
    state = physics_state(env)
    check_physics_state(base.model, state)
    twin = mujoco.MjData(base.model)
    mujoco.mj_setState(base.model, twin, state, FULL)
    mujoco.mj_forward(base.model, twin)
    mujoco.mj_forward(base.model, base.data)
    np.testing.assert_allclose(twin.xpos, base.data.xpos, atol=1e-12)
