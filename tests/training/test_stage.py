"""The scene of the view has what MuJoCo has, where MuJoCo has it."""

from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import viser

from mpc_robot.envs import get_task, make_env
from mpc_robot.training.plan_video import FAN
from mpc_robot.training.viewer import (
    Stage,
)


def matrix(wxyz: Any) -> Any:
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, np.array(wxyz, dtype=float))
    return rotation.reshape(3, 3)


def stage_of(server: viser.ViserServer, task: str) -> tuple[Stage, gym.Env[Any, Any], Any]:
    env = make_env(get_task(task))
    base: Any = env.unwrapped
    env.reset(seed=0)
    return Stage(server, base.model, base.data), env, base


def step(env: gym.Env[Any, Any], steps: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(steps):
        env.step(rng.uniform(-1, 1, env.action_space.shape))


@pytest.mark.parametrize("task", ["ReacherTwoLink-v0", "HalfCheetah-v5", "Humanoid-v5"])
def test_every_geom_is_where_mujoco_has_it(server: viser.ViserServer, task: str) -> None:
    stage, env, base = stage_of(server, task)
    for _ in range(3):
        step(env, 5)
        stage.move()
        for geom in range(base.model.ngeom):
            body = stage.bodies[int(base.model.geom_bodyid[geom])]
            shape = stage.shapes[f"geom {geom} {base.model.geom(geom).name}".rstrip()]
            assert shape.name.startswith(body.name + "/"), "it moves with its body"
            turn = matrix(body.wxyz)
            place = body.position + turn @ shape.position
            np.testing.assert_allclose(place, base.data.geom_xpos[geom], rtol=1e-4, atol=1e-6)
            rotation = turn @ matrix(shape.wxyz)
            np.testing.assert_allclose(
                rotation.ravel(), base.data.geom_xmat[geom], rtol=1e-4, atol=1e-4
            )


def test_a_mocap_target_has_axes_and_goes_where_it_is_sent(server: viser.ViserServer) -> None:
    stage, env, base = stage_of(server, "ReacherTwoLink-v0")
    target = base.model.body("target").id
    assert [body for body, frame in stage.bodies.items() if frame.show_axes] == [target]
    places = []
    for seed in (1, 2):
        env.reset(seed=seed)
        stage.move()
        places.append(np.array(stage.bodies[target].position))
        np.testing.assert_allclose(places[-1], base.data.mocap_pos[0], rtol=1e-4)
    assert not np.allclose(*places)


def test_a_robot_that_runs_away_stays_in_view(server: viser.ViserServer) -> None:
    stage, _, base = stage_of(server, "HalfCheetah-v5")
    torso, places = base.model.body("torso").id, []
    for distance in (0.0, 100.0):
        base.set_state(base.init_qpos + np.eye(9)[0] * distance, base.init_qvel)
        stage.move()
        places.append(stage.world.position + stage.bodies[torso].position)
    np.testing.assert_allclose(places[0], places[1], atol=1e-2)
    assert stage.world.position[0] == pytest.approx(-100.0, rel=1e-3)
    assert stage.world.position[2] == 0.0, "it may still be seen to fall"


def test_a_robot_that_can_not_leave_is_not_followed(server: viser.ViserServer) -> None:
    stage, env, _ = stage_of(server, "CartpoleSwingup-v0")
    step(env, 20)
    stage.move()
    assert not stage.world.position.any()


LOOKS = """
<mujoco><asset><material name="glass" rgba="1 0 0.6 0.5"/></asset><worldbody>
  <geom type="plane" size="2 3 1" rgba="0.2 0.4 0.6 1"/><geom type="plane" size="0 0 1"/>
  <geom name="a/b" type="box" size="1 1 1" material="glass"/><geom size="1" group="4"/>
  <body name="c"/><body name="c/d"><freejoint/><geom size="1"/></body>
  <body name="goal" mocap="true"/>
</worldbody></mujoco>"""


def test_how_things_look(server: viser.ViserServer) -> None:
    model = mujoco.MjModel.from_xml_string(LOOKS)
    stage = Stage(server, model, mujoco.MjData(model))
    ends, endless, box, hidden, ball = stage.shapes.values()
    assert isinstance(ends, viser.GridHandle) and isinstance(endless, viser.GridHandle)
    assert (ends.width, ends.height, ends.infinite_grid) == (4.0, 6.0, False)
    assert ends.plane_color == (51, 102, 153) and ends.plane_opacity == 1.0
    assert endless.infinite_grid and np.isfinite([endless.width, endless.height]).all()
    assert isinstance(box, viser.MeshHandle) and isinstance(ball, viser.MeshHandle)
    assert box.color == (255, 0, 153) and box.opacity == 0.5 and box.flat_shading
    assert ball.opacity is None and not ball.flat_shading
    assert (box.visible, hidden.visible) == (True, False)
    assert [frame.name for frame in stage.bodies.values()] == [
        "/world/body 0 world",
        "/world/body 2 c:d",  # a child of "c" it is not
        "/world/body 3 goal",  # nothing of it is seen but its axes
    ]
    assert box.name == "/world/body 0 world/geom 2 a:b"


def test_the_camera_looks_at_the_robot_as_mujoco_would(server: viser.ViserServer) -> None:
    _, _, base = stage_of(server, "HalfCheetah-v5")
    camera, view = mujoco.MjvCamera(), mujoco.MjvScene(base.model, 100)
    mujoco.mjv_defaultFreeCamera(base.model, camera)
    everything = mujoco.mjtCatBit.mjCAT_ALL
    options = mujoco.MjvOption(), mujoco.MjvPerturb()
    mujoco.mjv_updateScene(base.model, base.data, *options, camera, everything, view)
    here = server.initial_camera
    ahead = (here.look_at - here.position) / np.linalg.norm(here.look_at - here.position)
    np.testing.assert_allclose(ahead, view.camera[0].forward, atol=1e-6)
    assert here.fov == pytest.approx(np.deg2rad(45))
    assert np.linalg.norm(here.look_at - base.data.body("torso").xpos) < 0.5
    assert 1.0 < np.linalg.norm(here.look_at - here.position) < 8.0


def test_paths_are_drawn_piece_by_piece_from_the_worst_to_the_plan(
    server: viser.ViserServer,
) -> None:
    stage, _, _ = stage_of(server, "CartpoleBalance-v0")
    assert not stage.candidates.visible and not stage.plan.visible
    paths = np.random.default_rng(0).normal(size=(4, 3, 3))
    stage.show(paths)
    assert stage.candidates.visible and stage.plan.visible
    pieces = [path[i : i + 2] for path in paths for i in range(2)]
    np.testing.assert_allclose(stage.candidates.points, pieces[:6], rtol=1e-6)
    np.testing.assert_allclose(stage.plan.points, pieces[6:], rtol=1e-6)
    shades = np.array([FAN(rank)[:3] for rank in (0.0, 0.5, 1.0)])
    drawn = stage.candidates.colors.reshape(3, 4, 3) / 255
    np.testing.assert_allclose(drawn, shades[:, None].repeat(4, axis=1), atol=1 / 255)
    stage.show(paths[-1:])
    assert not stage.candidates.visible and stage.plan.visible
