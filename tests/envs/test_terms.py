"""Terms against MuJoCo's own sensors and functions, on random states of a floating arm."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
import pytest
import torch

from mpc_robot.envs.features import Layout, Scene
from mpc_robot.envs.terms import (
    Moment,
    Term,
    align,
    apply,
    axis,
    control_change,
    effort,
    field,
    height,
    joint_position,
    joint_velocity,
    position,
    reach,
    rotation_speed,
    sensor,
    small_control,
    squared_force,
    time,
    track_joints,
    track_velocity,
    upright,
    velocity,
)
from mpc_robot.envs.wrappers import read_fields
from mpc_robot.errors import UnknownNameError

Floats = npt.NDArray[np.float64]
XML = """
<mujoco>
  <worldbody>
    <body name="target" mocap="true" pos="0.3 0.2 0.1"/>
    <body name="torso" pos="0 0 1">
      <freejoint name="root"/>
      <geom type="box" size="0.2 0.1 0.05"/>
      <body name="upper" pos="0.2 0 0">
        <joint name="shoulder" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.03"/>
        <body name="lower" pos="0.3 0 0">
          <joint name="elbow" axis="0 0 1"/>
          <joint name="slide" type="slide" axis="1 0 0"/>
          <geom type="capsule" fromto="0 0 0 0.2 0.1 0" size="0.03"/>
          <site name="tip" pos="0.2 0.1 0.05"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="shoulder" gear="5" ctrlrange="-1 1"/>
    <motor name="elbow motor" joint="elbow" ctrlrange="-4 2"/>
    <position joint="slide" kp="30" ctrlrange="0 0.5"/>
  </actuator>
  <sensor>
    <framepos name="tip position" objtype="site" objname="tip"/>
    <framepos name="lower position" objtype="xbody" objname="lower"/>
    <framelinvel name="tip velocity" objtype="site" objname="tip"/>
    <framelinvel name="torso velocity" objtype="xbody" objname="torso"/>
    <frameangvel name="lower spin" objtype="xbody" objname="lower"/>
    <framezaxis name="lower z" objtype="xbody" objname="lower"/>
    <framexaxis name="torso x" objtype="xbody" objname="torso"/>
    <jointpos name="elbow angle" joint="elbow"/>
    <jointvel name="slide speed" joint="slide"/>
    <actuatorfrc name="elbow force" actuator="elbow motor"/>
    <clock name="clock"/>
  </sensor>
</mujoco>
"""
MODEL = mujoco.MjModel.from_xml_string(XML)
LEADING = (2, 3)


def states(seed: int) -> list[mujoco.MjData]:
    """Random states, all that follows from them computed."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(6):
        data = mujoco.MjData(MODEL)
        data.time = rng.uniform(0, 5)
        data.qpos[:] = rng.standard_normal(MODEL.nq)
        data.qpos[3:7] /= np.linalg.norm(data.qpos[3:7])
        data.qvel[:] = 3 * rng.standard_normal(MODEL.nv)
        data.ctrl[:] = rng.uniform(*MODEL.actuator_ctrlrange.T)
        data.mocap_pos[:] = rng.standard_normal(3)
        mujoco.mj_forward(MODEL, data)
        found.append(data)
    return found


BEFORE, REACHED = states(0), states(1)


def expected(of: Any) -> Floats:
    """A function of each reached state, as ``[2, 3, ...]``."""
    values = np.array([of(data) for data in REACHED])
    return values.reshape(*LEADING, *values.shape[1:])


def measured(name: str) -> Floats:
    """What MuJoCo's sensor says of each reached state."""
    return expected(lambda data: data.sensor(name).data.copy())


def value(term: Term, kind: str = "numpy") -> Any:
    """The term on transitions from BEFORE to REACHED ``[2, 3]``; the action is REACHED's ctrl."""
    layout = Layout(Scene(MODEL), term.features)
    parts = [
        np.array([layout.observe(read_fields(data, layout.fields)) for data in group])
        for group in (REACHED, BEFORE)
    ]
    parts.insert(1, np.array([data.ctrl for data in REACHED]))
    arrays: list[Any] = [part.reshape(*LEADING, -1) for part in parts]
    if kind == "torch":
        arrays = [torch.from_numpy(array) for array in arrays]
    return term.value(Moment(layout, *arrays))


TERMS: dict[str, tuple[Term, Floats]] = {
    "site": (position("tip"), measured("tip position")),
    "body": (position("lower"), measured("lower position")),
    "mocap": (position("target"), expected(lambda data: data.mocap_pos[0].copy())),
    "height": (height("tip"), measured("tip position")[..., 2]),
    "site velocity": (velocity("tip"), measured("tip velocity")),
    "body velocity": (velocity("torso"), measured("torso velocity")),
    "free body velocity": (velocity("torso"), expected(lambda data: data.qvel[:3].copy())),
    "rotation": (rotation_speed("lower"), measured("lower spin")),
    "z axis": (axis("lower", "z"), measured("lower z")),
    "x axis": (axis("torso", "x"), measured("torso x")),
    "joint": (joint_position("elbow"), measured("elbow angle")),
    "joint speed": (joint_velocity("slide"), measured("slide speed")),
    "all joints": (joint_position(), expected(lambda data: data.qpos[7:].copy())),
    "sensor": (sensor("elbow force"), measured("elbow force")),
    "time": (time(), expected(lambda data: data.time)),
    "field": (field("xpos"), expected(lambda data: data.xpos.copy())),
    "reach": (
        reach("tip", "target", margin=0.5),
        expected(lambda d: 1 / (1 + 36 * ((d.site("tip").xpos - d.mocap_pos[0]) ** 2).sum())),
    ),
    "reach a point": (
        reach((0.1, 0.2, 0.3), "lower", margin=2.0, sigmoid="gaussian"),
        0.1 ** ((((measured("lower position") - [0.1, 0.2, 0.3]) / 2.0) ** 2).sum(-1)),
    ),
    "upright": (upright("lower"), (1 + measured("lower z")[..., 2]) / 2),
    "track velocity": (
        track_velocity("torso", (0.5, -1.0), margin=3.0),
        expected(lambda d: 0.1 ** (np.square(d.qvel[:2] - [0.5, -1.0]).sum() / 9)),
    ),
    "track joints": (
        track_joints({"elbow": 0.3, "shoulder": -0.2}, margin=1.5, sigmoid="linear"),
        expected(
            lambda d: np.mean(
                np.maximum(0, 1 - 0.9 * np.abs([d.qpos[8] - 0.3, d.qpos[7] + 0.2]) / 1.5)
            )
        ),
    ),
    "effort": (effort(), expected(lambda d: np.mean((d.ctrl / [1, 4, 0.5]) ** 2))),
    "small control": (
        small_control(),
        expected(lambda d: 0.8 + 0.2 * (1 - np.mean((d.ctrl / [1, 4, 0.5]) ** 2))),
    ),
    "force": (squared_force(), expected(lambda d: np.square(d.actuator_force).sum())),
    "change": (
        control_change(),
        np.array(
            [
                np.mean(((now.ctrl - old.ctrl) / [2, 6, 0.5]) ** 2)
                for now, old in zip(REACHED, BEFORE, strict=True)
            ]
        ).reshape(LEADING),
    ),
    "function of fields": (
        apply(lambda qvel, z: -(qvel**2).sum(-1) + z, "qvel", height("tip")),
        expected(lambda d: -np.square(d.qvel).sum() + d.site("tip").xpos[2]),
    ),
    "arithmetic": (
        2.0 * height("tip") - 0.5 * (1.0 - upright("torso")) / 4.0 + abs(-height("torso")) ** 2,
        expected(
            lambda d: (
                2 * d.site("tip").xpos[2]
                - 0.125 * (1 - (1 + d.body("torso").xmat[8]) / 2)
                + d.qpos[2] ** 2
            )
        ),
    ),
    "shaped": (
        (3.0 * joint_position()).sin().clip(-0.5, 0.7).mean() + joint_velocity("elbow").sum(),
        expected(lambda d: np.clip(np.sin(3 * d.qpos[7:]), -0.5, 0.7).mean() + d.qvel[7]),
    ),
    "comparison": (
        (height("torso") < 0.5) & (height("tip") > 0.1) | (upright("torso") < 0.1),
        expected(
            lambda d: (
                (d.qpos[2] < 0.5 and d.site("tip").xpos[2] > 0.1) or d.body("torso").xmat[8] < -0.8
            )
        ),
    ),
}


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_what_mujoco_says(name: str, kind: str) -> None:
    term, truth = TERMS[name]
    got = value(term, kind)
    assert isinstance(got, torch.Tensor if kind == "torch" else np.ndarray)
    np.testing.assert_allclose(np.asarray(got), truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_align_is_the_angle_between_orientations(sign: float) -> None:
    turn = 0.7
    quaternion = sign * np.array([np.cos(turn / 2), np.sin(turn / 2), 0, 0])
    truth = []
    for data in REACHED:
        difference = np.zeros(3)
        mujoco.mju_subQuat(difference, data.body("lower").xquat, quaternion)
        truth.append(1 / (1 + 9 * (np.linalg.norm(difference) / 2.0) ** 2))
    got = value(align("lower", tuple(quaternion), margin=2.0, sigmoid="long_tail"))
    np.testing.assert_allclose(got, np.reshape(truth, LEADING), rtol=1e-7)


def test_gradients_are_finite_where_the_goal_is_met() -> None:
    term = reach("tip", "tip", margin=0.1) * track_velocity("torso", (0.0, 0.0), 0.1)
    layout = Layout(Scene(MODEL), term.features)
    obs = torch.zeros(3, layout.slices["velocity of torso"].stop, requires_grad=True)
    term.value(Moment(layout, obs)).sum().backward()
    assert obs.grad is not None
    assert torch.isfinite(obs.grad).all()


def test_an_observation_holds_each_feature_once_in_a_known_order() -> None:
    terms = (reach("tip", "target", 0.1), height("tip"), control_change(), time())
    layout = Layout(Scene(MODEL), [feature for term in terms for feature in term.features])
    assert {label: (at.start, at.stop) for label, at in layout.slices.items()} == {
        "qpos": (0, 10),
        "qvel": (10, 19),
        "act": (19, 19),
        "position of tip": (19, 22),
        "position of target": (22, 25),
        "ctrl": (25, 28),
        "time": (28, 29),
    }
    assert set(layout.fields) == {
        "qpos", "qvel", "act", "site_xpos", "mocap_pos", "ctrl", "sensordata"
    }  # fmt: skip
    assert layout.model_inputs == (*range(19), *range(25, 28))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (position("tipp"), "unknown site or body 'tipp'; nearest: tip"),
        (velocity("toros"), "unknown site or body 'toros'; nearest: torso"),
        (upright("uper"), "unknown body 'uper'; nearest: upper"),
        (sensor("clok"), "unknown sensor 'clok'; nearest: clock"),
        (joint_position("elbo"), "unknown joint 'elbo'; nearest: elbow"),
        (field("qpoz"), "unknown MjData field 'qpoz'; nearest: .*qpos"),
    ],
)
def test_a_name_that_the_model_lacks_offers_the_nearest(term: Term, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        value(term)


def test_no_number_describes_a_free_joint() -> None:
    with pytest.raises(ValueError, match="joint 'root': expected a hinge or slide"):
        value(joint_position("root"))


def test_time_needs_a_clock() -> None:
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    with pytest.raises(ValueError, match="time: expected a sensor <clock/>"):
        Layout(Scene(model), time().features)
