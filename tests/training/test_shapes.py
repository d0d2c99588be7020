"""Shapes have the volume of their formulas, and lie where MuJoCo's own rays and drawings are."""

from typing import Any

import mujoco
import numpy as np
import pytest

from mpc_robot.envs import get_task, make_env
from mpc_robot.training.shapes import Mesh, Plane, Shape, overview, rover, shapes

WEDGE = "0 0 0  0.4 0 0  0 0.3 0  0 0 0.5"
ASSETS = f"""
<asset>
  <mesh name="wedge" vertex="{WEDGE}"/>
  <hfield name="hills" nrow="3" ncol="4" size="1 0.5 0.4 0.1"
          elevation="0 0.2 0.9 0.3  0.5 1 0.1 0.6  0.2 0.4 0 0.8"/>
  <texture name="flat" type="2d" builtin="flat" rgb1="0.2 0.4 0.6" width="8" height="8"/>
  <texture name="checker" type="2d" builtin="checker" rgb1="1 0 0" rgb2="0 0 1" width="8"
           height="8"/>
  <material name="red" rgba="1 0 0 0.5"/>
  <material name="painted" rgba="0.5 1 1 0.25" texture="flat"/>
  <material name="tiled" rgba="1 1 1 1" texture="checker"/>
</asset>"""
SOLIDS = {
    "sphere": ('size="0.3"', 4 / 3 * np.pi * 0.3**3, (0.3, 0.3, 0.3)),
    "capsule": ('size="0.1 0.4"', np.pi * 0.1**2 * (0.8 + 4 / 3 * 0.1), (0.1, 0.1, 0.5)),
    "ellipsoid": ('size="0.1 0.2 0.4"', 4 / 3 * np.pi * 0.1 * 0.2 * 0.4, (0.1, 0.2, 0.4)),
    "cylinder": ('size="0.2 0.3"', np.pi * 0.2**2 * 0.6, (0.2, 0.2, 0.3)),
    "box": ('size="0.1 0.2 0.3"', 0.2 * 0.4 * 0.6, (0.1, 0.2, 0.3)),
}
"""Type -> (its size, volume, greatest coordinates)."""
EVERYTHING = f"""
<mujoco>{ASSETS}
<worldbody>
  <geom name="floor" type="plane" size="0 0 1" material="tiled"/>
  <geom name="wall" type="plane" size="2 3 1" pos="0 4 0" euler="90 0 0"/>
  <geom name="hills" type="hfield" hfield="hills" pos="5 0 0"/>
  <site name="spot" pos="1 0 0" size="0.1"/>
  <body name="arm" pos="0 0 1" euler="20 0 0">
    <joint axis="1 2 3"/>
    <geom name="upper" type="capsule" fromto="0 0 0 0.3 0.1 0" size="0.05" material="red"/>
    <geom name="own" size="0.1" material="red" rgba="0 1 0 1"/>
    <geom name="hidden" size="0.2" group="3"/>
    <geom name="clear" size="0.2" rgba="1 1 1 0"/>
    <geom name="wedge" type="mesh" mesh="wedge" pos="0 0 0.7" euler="0 40 0"/>
    <body name="hand" pos="0.3 0 0" euler="0 0 30">
      <joint axis="0 1 0"/>
      <geom type="box" size="0.1 0.2 0.3" euler="10 20 30"/>
      <geom type="cylinder" size="0.1 0.2" pos="0 0 0.4"/>
      <geom type="ellipsoid" size="0.1 0.2 0.3" pos="0 0.4 0"/>
      <site name="palm" type="box" size="0.1 0.02 0.03" euler="0 0 45" material="red"/>
      <site name="secret" group="4"/>
    </body>
  </body>
  <body name="goal" mocap="true" pos="1 1 1"><geom size="0.1" contype="0"/></body>
</worldbody>
</mujoco>"""


def model_of(geoms: str) -> mujoco.MjModel:
    text = f"<mujoco>{ASSETS}<worldbody>{geoms}</worldbody></mujoco>"
    return mujoco.MjModel.from_xml_string(text)


def mesh_of(model: mujoco.MjModel) -> Mesh:
    (shape,) = shapes(model)
    assert isinstance(shape.form, Mesh)
    return shape.form


def volume(mesh: Mesh) -> float:
    """By the divergence theorem; negative where triangles face inwards."""
    return float(np.linalg.det(mesh.vertices[mesh.faces]).sum() / 6)


def open_edges(mesh: Mesh) -> int:
    """Directed edges without their opposite, where vertices at one place are one vertex."""
    _, same = np.unique(mesh.vertices.round(9), axis=0, return_inverse=True)
    faces = same.reshape(-1)[mesh.faces]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    proper = {(int(a), int(b)) for a, b in edges if a != b}
    return sum((b, a) not in proper for a, b in proper)


def ray(model: mujoco.MjModel, start: Any, direction: Any) -> float:
    """How far it is to the model's one geom, in lengths of ``direction``."""
    data, hit = mujoco.MjData(model), np.zeros(1, dtype=np.int32)
    mujoco.mj_forward(model, data)
    return float(mujoco.mj_ray(model, data, start, direction, None, 1, -1, hit, None))


@pytest.mark.parametrize("kind", SOLIDS)
def test_solids_have_the_volume_and_bounds_of_their_formulas(kind: str) -> None:
    size, expected, bounds = SOLIDS[kind]
    mesh = mesh_of(model_of(f'<geom type="{kind}" {size}/>'))
    assert 0.97 * expected <= volume(mesh) <= expected * (1 + 1e-12)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), bounds, rtol=1e-12)
    np.testing.assert_allclose(mesh.vertices.min(axis=0), -np.array(bounds), rtol=1e-12)
    assert open_edges(mesh) == 0
    assert mesh.smooth is (kind not in ("box", "cylinder"))


def test_a_box_is_exact() -> None:
    assert volume(mesh_of(model_of('<geom type="box" size="0.1 0.2 0.3"/>'))) == pytest.approx(
        0.048, rel=1e-12
    )


@pytest.mark.parametrize("kind", SOLIDS)
def test_vertices_lie_on_mujocos_surface(kind: str) -> None:
    model = model_of(f'<geom type="{kind}" {SOLIDS[kind][0]}/>')
    for vertex in mesh_of(model).vertices[::7] * (1.0, 1.0, 0.9999):  # rays may miss an edge
        assert ray(model, 3.0 * vertex, -vertex) == pytest.approx(2.0, abs=1e-3)


def test_a_mesh_is_as_mujoco_compiled_it() -> None:
    """A wedge of 0.4 x 0.3 x 0.5 m, wherever its mass centre and main axes are."""
    model = model_of('<geom name="wedge" type="mesh" mesh="wedge"/>')
    mesh, (shape,) = mesh_of(model), shapes(model)
    assert volume(mesh) == pytest.approx(0.4 * 0.3 * 0.5 / 6, rel=1e-6)
    assert open_edges(mesh) == 0
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, shape.wxyz)
    places = mesh.vertices @ turn.reshape(3, 3).T + shape.position
    corners = np.array(WEDGE.split(), dtype=float).reshape(4, 3)
    gaps = np.linalg.norm(places[:, None] - corners, axis=-1)
    assert gaps.min(axis=0).max() < 1e-6 and gaps.min(axis=1).max() < 1e-6


def test_a_second_mesh_is_not_the_first() -> None:
    other = '<mesh name="second" vertex="0 0 0  1 0 0  0 1 0  0 0 1"/>'
    text = f"""<mujoco><asset><mesh name="wedge" vertex="{WEDGE}"/>{other}</asset>
    <worldbody><geom type="mesh" mesh="second"/></worldbody></mujoco>"""
    assert volume(mesh_of(mujoco.MjModel.from_xml_string(text))) == pytest.approx(1 / 6, rel=1e-6)


def test_a_height_field_is_what_rays_from_above_meet() -> None:
    model = model_of('<geom type="hfield" hfield="hills"/>')
    mesh = mesh_of(model)
    assert len(mesh.vertices) == 12 and len(mesh.faces) == 2 * 2 * 3
    np.testing.assert_allclose(mesh.vertices.min(axis=0), [-1, -0.5, 0], atol=1e-9)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), [1, 0.5, 0.4], atol=1e-6)
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).all()
    for middle in corners.mean(axis=1):
        above = np.array([*middle[:2], 2.0])
        assert ray(model, above, np.array([0.0, 0.0, -1.0])) == pytest.approx(2.0 - middle[2])


def everything() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(EVERYTHING)
    data = mujoco.MjData(model)
    data.qpos[:] = 0.4, -0.7
    data.mocap_pos[0] = 0.2, 0.3, 0.4
    mujoco.mj_forward(model, data)
    return model, data


def drawn_by_mujoco(model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, Any]:
    scene = mujoco.MjvScene(model, 100)
    mujoco.mjv_updateScene(
        model,
        data,
        mujoco.MjvOption(),
        mujoco.MjvPerturb(),
        mujoco.MjvCamera(),
        mujoco.mjtCatBit.mjCAT_ALL,
        scene,
    )
    geom, kinds = mujoco.mjtObj.mjOBJ_GEOM, {"geom": model.geom, "site": model.site}
    drawn = {}
    for thing in scene.geoms[: scene.ngeom]:
        kind = "geom" if thing.objtype == geom else "site"
        drawn[f"{kind} {thing.objid} {kinds[kind](thing.objid).name}".rstrip()] = thing
    return drawn


def placed(shape: Shape, data: mujoco.MjData) -> tuple[Any, Any]:
    """Position and rotation in the world."""
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, shape.wxyz)
    body = data.xmat[shape.body].reshape(3, 3)
    return data.xpos[shape.body] + body @ shape.position, body @ turn.reshape(3, 3)


def test_what_is_shown_and_where_is_what_mujoco_draws() -> None:
    model, data = everything()
    drawn, seen = drawn_by_mujoco(model, data), {shape.name: shape for shape in shapes(model)}
    assert len(seen) == model.ngeom + model.nsite
    assert {name for name, shape in seen.items() if shape.shown} == drawn.keys()
    assert {"geom 5 hidden", "geom 6 clear", "site 2 secret"} == seen.keys() - drawn.keys()
    for name in drawn.keys() - {"geom 0 floor"}:  # which MuJoCo moves with the camera
        position, rotation = placed(seen[name], data)
        np.testing.assert_allclose(position, drawn[name].pos, atol=1e-6)
        np.testing.assert_allclose(rotation, drawn[name].mat, atol=1e-6)
        np.testing.assert_allclose(seen[name].rgba, drawn[name].rgba, atol=1e-6)


def test_the_colour_of_a_texture_is_its_mean() -> None:
    painted = '<geom size="1" material="painted"/><geom size="1" material="tiled"/>'
    colours = [shape.rgba for shape in shapes(model_of(painted))]
    np.testing.assert_allclose(colours[0], [0.5 * 0.2, 0.4, 0.6, 0.25], atol=1 / 255)
    np.testing.assert_allclose(colours[1], [0.5, 0.0, 0.5, 1.0], atol=1 / 255)


def test_planes_end_where_their_size_says_or_nowhere() -> None:
    floor, wall = shapes(everything()[0])[:2]
    assert floor.form == Plane(np.inf, np.inf) and wall.form == Plane(4.0, 6.0)


def test_the_overview_holds_what_can_move_and_no_more() -> None:
    ball = '<geom size="9"/><body pos="1 2 3"><joint/><geom size="0.2"/></body>'
    more = '<body pos="3 2 3"><joint/><geom size="0.2"/></body>'
    for bodies, centre, radius in ((ball, (1, 2, 3), 0.2), (ball + more, (2, 2, 3), 1.2)):
        model = model_of(bodies)
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        found, size = overview(model, data)
        np.testing.assert_allclose(found, centre)
        assert size == pytest.approx(radius)
    fixed = model_of('<geom pos="0 0 1" size="0.5"/>')
    data = mujoco.MjData(fixed)
    mujoco.mj_kinematics(fixed, data)
    assert overview(fixed, data)[1] == pytest.approx(0.5)


ROVERS = {
    "HalfCheetah-v5": "torso",
    "Swimmer-v5": "torso",
    "Ant-v5": "torso",
    "Humanoid-v5": "torso",
    "CartpoleSwingup-v0": None,
    "ReacherTwoLink-v0": None,
    "Reacher-v5": None,
}


@pytest.mark.parametrize(("task", "name"), ROVERS.items())
def test_who_can_go_far_away(task: str, name: str | None) -> None:
    base: Any = make_env(get_task(task)).unwrapped
    body = rover(base.model)
    assert (None if body is None else base.model.body(body).name) == name
