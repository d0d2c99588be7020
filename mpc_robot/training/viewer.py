"""Watch a controller in the browser: the robot, what its planner considers, and a panel to stop it.

Needs viser, from the extra ``[viz]``.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout, suppress
from statistics import median
from time import perf_counter
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import numpy.typing as npt

try:
    import viser
except ImportError as error:
    raise ImportError(f"view: expected viser, got {error}; pip install 'mpc-robot[viz]'") from error

from mpc_robot.controllers.base import Controller
from mpc_robot.envs import Task, control_period, make_env
from mpc_robot.errors import require
from mpc_robot.training.evaluation import (
    Episode,
    Evaluation,
    check_counts,
    check_episodes_end,
    run_episode,
)
from mpc_robot.training.pace import Pace, RestartedError
from mpc_robot.training.plan_video import (
    FAN,
    LINE_WIDTH,
    PLAN,
    Filmed,
    Recorder,
    Tracer,
    considered,
    recording,
)
from mpc_robot.training.seeding import derive_seed
from mpc_robot.training.shapes import Mesh, Shape, overview, rover, shapes

Floats = npt.NDArray[np.float64]

HOST = "127.0.0.1"
MOST_CANDIDATES = 12
"""Paths in a fan; each costs as long as a candidate of the planner's."""
PLAN_WIDTH = 3 * LINE_WIDTH
"""Of the plan's path, pixels."""
DISTANCE = 2.0
"""To what moves, where 1 just holds all of it."""
SPEEDS = {
    "1/10 of real time": 0.1,
    "1/4 of real time": 0.25,
    "1/2 of real time": 0.5,
    "real time": 1.0,
    "2 x real time": 2.0,
    "as fast as planning allows": math.inf,
}
REAL_TIME = "real time"
READINGS = STEP, REWARD, RETURN, PLANNING = "step", "reward", "return", "planning time, p50"


class Stage:
    """A MuJoCo model in the scene of a server, and the paths that are considered in it.

    Attributes:
        world: what everything is in; where a robot can go far away, it moves the other way.
        bodies: by number, those that there is something of to see, and all mocap bodies.
        shapes: what is fixed to them, by name.
        candidates: the paths of candidates, from dark (worst) to bright.
        plan: the path of the plan.
    """

    def __init__(
        self, server: viser.ViserServer, model: mujoco.MjModel, data: mujoco.MjData
    ) -> None:
        """Show ``model`` as ``data`` will have it."""
        self._server, self._data, self._rover = server, data, rover(model)
        rest = mujoco.MjData(model)
        mujoco.mj_kinematics(model, rest)
        self._home = self._spot(rest)
        scene, seen = server.scene, shapes(model)
        self.world = scene.add_frame("/world", show_axes=False)
        mocap = np.flatnonzero(model.body_mocapid >= 0).tolist()
        self.bodies = {
            body: scene.add_frame(
                _path(model, body), show_axes=body in mocap, axes_length=model.stat.meansize
            )
            for body in sorted({shape.body for shape in seen}.union(mocap))
        }
        self.shapes = {
            shape.name: _draw(scene, f"{_path(model, shape.body)}/{_word(shape.name)}", shape)
            for shape in seen
        }
        self.candidates, self.plan = (
            scene.add_line_segments(
                f"/world/{name}",
                np.zeros((1, 2, 3)),
                PLAN[:3],
                thickness=width,
                thickness_units="screen",
                visible=False,
            )
            for name, width in (("candidates", LINE_WIDTH), ("plan", PLAN_WIDTH))
        )
        self._look(model, rest)

    def move(self) -> None:
        """Have every body where it now is."""
        with self._server.atomic():
            for body, frame in self.bodies.items():
                frame.position, frame.wxyz = self._data.xpos[body], self._data.xquat[body]
            self.world.position = self._home - self._spot(self._data)

    def show(self, paths: Floats) -> None:
        """Draw ``paths[N + 1, P, 3]``, m: N candidates, worst first, and the plan."""
        fan, plan = _segments(paths[:-1]), _segments(paths[-1:])
        shades = FAN(np.linspace(0.0, 1.0, len(paths) - 1))[:, :3].repeat(
            paths.shape[1] - 1, axis=0
        )
        with self._server.atomic():
            self.plan.points, self.plan.visible = plan, True
            self.candidates.visible = len(fan) > 0
            if len(fan) > 0:
                self.candidates.points = fan
                self.candidates.colors = shades[:, None].repeat(2, axis=1)

    def _spot(self, data: mujoco.MjData) -> Floats:
        """Where on the ground the robot is ``[3]``, m, if it can go far away; else the origin."""
        if self._rover is None:
            return np.zeros(3)
        spot: Floats = data.xpos[self._rover] * (1.0, 1.0, 0.0)
        return spot

    def _look(self, model: mujoco.MjModel, rest: mujoco.MjData) -> None:
        """Look at what can move, in the direction in which MuJoCo would."""
        how, camera = model.vis.global_, self._server.initial_camera
        centre, radius = overview(model, rest)
        azimuth, elevation, view = np.deg2rad([how.azimuth, how.elevation, how.fovy])
        level = np.cos(elevation)
        ahead = np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)])
        camera.fov, camera.look_at = float(view), centre
        camera.position = centre - DISTANCE * radius / np.sin(view / 2) * ahead


def _word(name: str) -> str:
    """A name without the strokes that would make it a path."""
    return name.replace("/", ":")


def _path(model: mujoco.MjModel, body: int) -> str:
    """Where a body is in the scene: all are side by side, for each has its pose in the world."""
    return f"/world/{_word(f'body {body} {model.body(body).name}')}"


def _draw(scene: viser.SceneApi, path: str, shape: Shape) -> viser.SceneNodeHandle:
    """Add a shape; a plane is ruled, so that one sees what moves over it."""
    form, colour, alpha = shape.form, shape.rgba[:3], float(shape.rgba[3])
    place: dict[str, Any] = {
        "position": shape.position,
        "wxyz": shape.wxyz,
        "visible": shape.shown,
    }
    if isinstance(form, Mesh):
        return scene.add_mesh_simple(
            path,
            form.vertices,
            form.faces,
            color=colour,
            opacity=alpha if alpha < 1 else None,
            flat_shading=not form.smooth,
            side="double",
            **place,
        )
    ends = math.isfinite(form.width) and math.isfinite(form.height)
    size: dict[str, Any] = {"width": form.width, "height": form.height} if ends else {}
    return scene.add_grid(
        path,
        infinite_grid=not ends,
        cell_color=0.8 * colour,
        section_color=0.6 * colour,
        plane_color=colour,
        plane_opacity=alpha,
        **size,
        **place,
    )


def _segments(paths: Floats) -> npt.NDArray[np.float32]:
    """The straight pieces ``[N (P - 1), 2, 3]`` of ``paths[N, P, 3]``."""
    return np.stack([paths[:, :-1], paths[:, 1:]], axis=2).reshape(-1, 2, 3).astype(np.float32)


class Panel:
    """Buttons that change the pace of an episode, and numbers that tell of it.

    Attributes:
        paused: whether it stands still.
        step: take a step and stand still.
        restart: begin anew.
        speed: the fastest it may pass.
        readings: text by the names ``READINGS``.
    """

    def __init__(self, gui: viser.GuiApi, pace: Pace) -> None:
        """Have the panel of ``gui`` change ``pace``."""
        self._pace = pace
        self.paused = gui.add_checkbox("pause", initial_value=False)
        self.step = gui.add_button("single step")
        self.restart = gui.add_button("restart the episode")
        self.speed = gui.add_dropdown("at most", tuple(SPEEDS), initial_value=REAL_TIME)
        self.readings = {name: gui.add_text(name, "", disabled=True) for name in READINGS}
        self.paused.on_update(lambda event: pace.pause(self.paused.value))
        self.step.on_click(self._step)
        self.restart.on_click(lambda event: pace.restart())
        self.speed.on_update(lambda event: pace.run_at(SPEEDS[self.speed.value]))

    def tell(self, readings: dict[str, str]) -> None:
        """Show new readings."""
        for name, text in readings.items():
            self.readings[name].value = text  # type: ignore[misc]  # mypy overlooks the setter

    def _step(self, event: object) -> None:
        """Stand still but for one step."""
        self.paused.value = True  # type: ignore[misc]  # mypy overlooks the setter
        self._pace.step()


class Viewer:
    """Episodes of a controller as they pass, for whoever looks.

    Attributes:
        stage: the robot and its plans.
        panel: what may be pressed and read.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        tracer: Tracer,
        controller: Controller,
        recorder: Recorder | None,
    ) -> None:
        """Show what ``controller`` does and considers.

        Args:
            server: where.
            tracer: draws plans in the environment where it acts.
            controller: any; of one that does not plan, only the robot is shown.
            recorder: remembers the controller's candidates, if it has any.
        """
        self._server, self._tracer, self._recorder = server, tracer, recorder
        self._controller = controller
        self._pace = Pace(control_period(tracer.env))
        self._planning: list[float] = []
        self._since = 0.0
        self.stage = Stage(server, tracer.model, tracer.data)
        self.panel = Panel(server.gui, self._pace)

    def episode(self, seed: int, max_steps: int | None) -> Episode:
        """Let an episode pass, as :func:`run_episode` does, as often as it is begun anew."""
        actor = Filmed(self._controller, self._decided)
        while True:
            self._planning.clear()
            with suppress(RestartedError):
                return run_episode(self._tracer.env, actor, seed, max_steps, self._stepped)

    def again(self) -> bool:
        """Wait while a browser looks; whether the last episode is wanted again."""
        return self._pace.again(lambda: bool(self._server.get_clients()))

    def _stepped(self, rewards: Sequence[float]) -> None:
        """Show where the robot is, and what it earned."""
        self.stage.move()
        last = f"{rewards[-1]:.4g}" if rewards else ""
        earned = {STEP: str(len(rewards)), REWARD: last, RETURN: f"{math.fsum(rewards):.6g}"}
        self.panel.tell(earned)
        self._since = perf_counter()

    def _decided(self) -> None:
        """Show what was considered since the last step, and wait for the next one's turn."""
        self._planning.append(perf_counter() - self._since)
        self.panel.tell({PLANNING: f"{1e3 * median(self._planning):.1f} ms"})
        plan = self._controller.plan
        if plan is not None:
            self.stage.show(considered(self._tracer, self._recorder, plan, MOST_CANDIDATES))
        self._pace.wait()


@contextmanager
def serving(port: int) -> Iterator[viser.ViserServer]:
    """A server for browsers on this machine; it says nothing on stdout.

    Args:
        port: 0 for any that is free; where it is taken, one of the next.

    Raises:
        ValueError: if there is no such port, or it is the system's.
    """
    require(port == 0 or 1024 <= port < 65536, "port", "0, or 1024 to 65535", port)
    with redirect_stdout(io.StringIO()):
        server = viser.ViserServer(HOST, port, label="mpc-robot", verbose=False)
    server.gui.configure_theme(show_share_button=False)  # it would go through the internet
    try:
        yield server
    finally:
        with redirect_stdout(io.StringIO()):
            server.stop()


def watch(
    task: Task,
    controller: Controller,
    episodes: int,
    seed: int,
    *,
    max_steps: int | None = None,
    trace: str | None = None,
    port: int = 8080,
    tell: Callable[[str], None] = print,
) -> Evaluation:
    """Run a controller as :func:`evaluate` does, at most in real time, with a view in the browser.

    It waits for no browser. After the last episode it waits for those that look to leave.

    Args:
        task: what to be good at, simulated by MuJoCo.
        controller: any.
        episodes: how many, E.
        seed: the same seed gives the same episodes again.
        max_steps: truncate episodes after so many steps.
        trace: site or body whose paths are drawn; by default a tip or the torso.
        port: see :func:`serving`.
        tell: called with the URL of the view.

    Raises:
        ValueError: if a count or the port makes no sense, if neither ``max_steps`` nor the task
            limits an episode, or if the task is not simulated by MuJoCo.
        UnknownNameError: if there is no such site or body.
        PlantError: if the environment reports NaN or an infinity.
    """
    check_counts(episodes, max_steps)
    started = perf_counter()
    with closing(make_env(task)) as env:
        if max_steps is None:
            check_episodes_end(task, env)
        tracer = Tracer(_on_mujoco(task, env), trace)
        with recording(controller) as recorder, serving(port) as server:
            tell(f"http://{HOST}:{server.get_port()}")
            viewer = Viewer(server, tracer, controller, recorder)
            seeds = [derive_seed(seed, episode) for episode in range(episodes)]
            recorded = [viewer.episode(each, max_steps) for each in seeds]
            while viewer.again():
                recorded[-1] = viewer.episode(seeds[-1], max_steps)
    return Evaluation(tuple(recorded), perf_counter() - started)


def _on_mujoco(task: Task, env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """The environment; raises ValueError if MuJoCo does not simulate it."""
    simulated = isinstance(getattr(env.unwrapped, "data", None), mujoco.MjData)
    require(simulated, "view", "a task simulated by MuJoCo", task.name)
    return env
