"""Models from MJCF and URDF against each other, and what is wrong with one in MuJoCo's words."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest

from mpc_robot.envs.models import Motor, Servo, compile_model, physics_steps, read_spec
from mpc_robot.errors import UnknownNameError

URDF = """
<robot name="swing">
  <link name="base"/>
  <link name="upper">
    <inertial>
      <origin xyz="0 0 -0.2"/><mass value="1.5"/>
      <inertia ixx="0.02" iyy="0.03" izz="0.01" ixy="0" ixz="0" iyz="0"/>
    </inertial>
  </link>
  <link name="lower">
    <inertial>
      <origin xyz="0 0.05 -0.1"/><mass value="0.5"/>
      <inertia ixx="0.004" iyy="0.005" izz="0.003" ixy="0" ixz="0" iyz="0"/>
    </inertial>
  </link>
  <joint name="shoulder" type="revolute">
    <parent link="base"/><child link="upper"/><axis xyz="0 1 0"/>
    <limit lower="-2" upper="2" effort="12" velocity="10"/>
  </joint>
  <joint name="elbow" type="continuous">
    <parent link="upper"/><child link="lower"/><axis xyz="1 0 0"/><origin xyz="0 0 -0.4"/>
  </joint>
</robot>
"""
MJCF = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <body>
      <joint name="shoulder" axis="0 1 0" range="-2 2" actuatorfrcrange="-12 12"/>
      <inertial pos="0 0 -0.2" mass="1.5" diaginertia="0.02 0.03 0.01"/>
      <body pos="0 0 -0.4">
        <joint name="elbow" axis="1 0 0"/>
        <inertial pos="0 0.05 -0.1" mass="0.5" diaginertia="0.004 0.005 0.003"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="shoulder" ctrlrange="-12 12"/>
    <position joint="elbow" kp="20" kv="0.5" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""
ACTUATE = {"shoulder": Motor(), "elbow": Servo(stiffness=20, damping=0.5, limits=(-1, 1))}
SLIDER = (
    '<mujoco><worldbody><body><joint name="rail" type="slide"/><geom size="1"/></body></worldbody>'
    "{compiler}<actuator>{actuator}</actuator></mujoco>"
)


def slider(actuator: str, compiler: str = "") -> mujoco.MjModel:
    spec = read_spec(SLIDER.format(actuator=actuator, compiler=compiler))
    return compile_model(spec, "slider")


def test_urdf_with_actuators_moves_as_the_same_robot_in_mjcf() -> None:
    rng = np.random.default_rng(0)
    both = [
        compile_model(read_spec(URDF), "urdf", ACTUATE),
        compile_model(read_spec(MJCF), "mjcf"),
    ]
    runs = [(model, mujoco.MjData(model)) for model in both]
    controls = rng.uniform([-14, -1.2], [14, 1.2], (200, 2))
    for model, data in runs:
        for data.ctrl[:] in controls:
            mujoco.mj_step(model, data)
    assert np.ptp(runs[0][1].qpos) > 0.1
    np.testing.assert_allclose(runs[0][1].qpos, runs[1][1].qpos, rtol=1e-9)
    np.testing.assert_allclose(runs[0][1].qvel, runs[1][1].qvel, rtol=1e-9)


def test_a_file_a_text_and_a_specification_are_the_same_model(tmp_path: Path) -> None:
    (tmp_path / "swing.urdf").write_text(URDF)
    spec = mujoco.MjSpec.from_string(URDF)
    models = [
        compile_model(read_spec(source), "swing", ACTUATE)
        for source in (URDF, tmp_path / "swing.urdf", str(tmp_path / "swing.urdf"), spec)
    ]
    assert len(spec.actuators) == 0  # the user's own specification stays as it is
    for model in models:
        assert model.nu == 2
        assert model.actuator_ctrlrange.tolist() == [[-12, 12], [-1, 1]]


@pytest.mark.parametrize("actuator", [Motor(), Servo(stiffness=1)])
def test_an_actuator_needs_a_limit_from_somewhere(actuator: Motor | Servo) -> None:
    with pytest.raises(ValueError, match=r"of joint .elbow.: expected .*limit"):
        compile_model(read_spec(URDF), "swing", {"elbow": actuator})


def test_what_does_not_compile_is_told_in_mujocos_words(tmp_path: Path) -> None:
    file = tmp_path / "broken.xml"
    file.write_text('<mujoco>\n<worldbody>\n<geom size="big"/>\n</worldbody>\n</mujoco>')
    with pytest.raises(ValueError, match=r"broken.xml: .*bad format in attribute 'size'.*line 3"):
        read_spec(file)
    with pytest.raises(ValueError, match=r"given as text: .*mismatched|MISMATCHED"):
        read_spec("<mujoco><worldbody></mujoco>")
    unknown = SLIDER.format(actuator='\n<motor joint="rial"/>', compiler="")
    with pytest.raises(ValueError, match=r"model slider: .*unknown.*'rial'.*line 2"):
        compile_model(read_spec(unknown), "slider")


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"got 'nowhere/robot\.xml'"):
        read_spec("nowhere/robot.xml")


@pytest.mark.parametrize(
    ("actuator", "compiler", "message"),
    [
        ('<motor name="push" joint="rail"/>', "", "actuator 'push': expected a range .* got none"),
        ('<motor joint="rail"/>', "", r"actuator 0 \(of joint 'rail'\).*ctrlrange=.*ctrllimited="),
        (
            '<motor joint="rail" ctrllimited="false" ctrlrange="-1 1"/>',
            '<compiler autolimits="false"/>',
            "got none",
        ),
        ("", "", r'expected an actuator, got none.*actuate={"joint".*\(joints: rail\)'),
    ],
)
def test_an_actuator_without_a_range_is_named(actuator: str, compiler: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slider(actuator, compiler)


def test_a_joint_that_is_not_there_cannot_be_actuated() -> None:
    with pytest.raises(UnknownNameError, match="unknown joint 'sholder'; nearest: shoulder"):
        compile_model(read_spec(URDF), "swing", {"sholder": Motor()})


@pytest.mark.parametrize(("rate", "steps"), [(500, 1), (50, 10), (1 / 0.006, 3), (100.0000001, 5)])
def test_a_control_period_is_a_whole_number_of_timesteps(rate: float, steps: int) -> None:
    assert physics_steps(slider('<motor joint="rail" ctrlrange="-1 1"/>'), rate) == steps


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (300, r"300 Hz, which is 1\.667 of them; nearest: 250 or 500 Hz"),
        (1000, "nearest: 500 Hz"),
        (0, "rate: expected a positive number"),
        (np.nan, "rate: expected a positive number"),
    ],
)
def test_any_other_rate_is_refused_with_the_nearest(rate: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        physics_steps(slider('<motor joint="rail" ctrlrange="-1 1"/>'), rate)
