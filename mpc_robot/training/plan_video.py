"""Film what a controller considers: the paths of its candidates, drawn as a fan in the scene."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib as mpl
import mujoco
import numpy as np
import numpy.typing as npt
import torch
from mujoco.batch import Batch, SimulationError
from torch import Tensor

from mpc_robot.controllers.base import (
    Controller,
    Plan,
    Score,
    TrajectoryOptimizer,
    finite_or_worst,
)
from mpc_robot.controllers.mpc import MPC
from mpc_robot.dynamics.base import Sensed
from mpc_robot.envs.base import physics_state
from mpc_robot.envs.wrappers import muted_warnings
from mpc_robot.errors import UnknownNameError
from mpc_robot.training.video import Picture, film

Floats = npt.NDArray[np.float64]

MOST_CANDIDATES = 40
"""Paths in a fan; more would hide one another."""
MOST_SEGMENTS = 40
"""Straight pieces of a path."""
LINE_WIDTH = 2.0
"""Of a candidate's path, pixels."""
TUBE_RADIUS = 0.0035
"""Of the plan's path, as a share of the distance to the eye."""
FAN = mpl.colormaps["plasma"]
"""Colours from the worst to the best candidate."""
PLAN = (0.1, 0.85, 0.35, 1.0)
"""Colour of the plan, RGBA."""
USUAL_POINTS = ("tip", "fingertip", "tips_arm", "torso", "pole")
"""Sites and bodies that tell best where a robot goes, by the names they usually have."""


class Recorder:
    """A TrajectoryOptimizer that remembers which candidates its last search asked about."""

    def __init__(self, optimizer: TrajectoryOptimizer) -> None:
        """Search by ``optimizer``; nothing was asked yet."""
        self.optimizer = optimizer
        self.initial = optimizer.initial
        self.asked: list[tuple[Tensor, Tensor]] = []

    def shift(self, plan: Plan) -> Plan:
        """As ``optimizer`` does; what it remembers is one step later, too."""
        self.asked = [
            (torch.cat([actions[:, 1:], actions[:, -1:]], dim=1), scores)
            for actions, scores in self.asked
        ]
        return self.optimizer.shift(plan)

    def optimize(self, score: Score, plan: Plan, rng: torch.Generator) -> Plan:
        """As ``optimizer`` does."""
        self.asked.clear()

        def overheard(actions: Tensor) -> Tensor:
            """The scores ``[N]`` of ``actions [N, H, A]``, both remembered."""
            scores = score(actions)
            self.asked.append((actions.detach().clone(), scores.detach().clone()))
            return scores

        return self.optimizer.optimize(overheard, plan, rng)

    def spread(self, most: int) -> Tensor:
        """Up to ``most`` of the candidates ``[N, H, A]``, evenly from the worst to the best."""
        actions, scores = (torch.cat(parts) for parts in zip(*self.asked, strict=True))
        order = finite_or_worst(scores).argsort(stable=True)
        ranks = np.linspace(0, len(order) - 1, min(most, len(order))).round()
        return actions[order[ranks.astype(int)]]


@dataclass(frozen=True)
class TracedPoint:
    """A point of a model that is followed.

    Attributes:
        field: the MjData field of its position, m.
        index: its row there.
    """

    field: str
    index: int


def traced_point(model: mujoco.MjModel, name: str | None = None) -> TracedPoint:
    """The site of that name, or else the mass centre of the body of that name.

    Without a name: the first of ``USUAL_POINTS`` that the model has; or else the body that floats
    freely, or the one on the last joint.

    Raises:
        UnknownNameError: if there is neither a site nor a body of that name.
    """
    for usual in USUAL_POINTS if name is None else (name,):
        site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, usual)
        body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, usual)
        if site >= 0:
            return TracedPoint("site_xpos", site)
        if body >= 0:
            return TracedPoint("xipos", body)
    if name is not None:
        sites = {model.site(i).name for i in range(model.nsite)}
        bodies = {model.body(i).name for i in range(model.nbody)}
        raise UnknownNameError("trace", name, (sites | bodies) - {""})
    free = model.jnt_bodyid[model.jnt_type == mujoco.mjtJoint.mjJNT_FREE]
    return TracedPoint("xipos", int(free[0] if len(free) else model.jnt_bodyid[-1]))


class Tracer:
    """Where a point goes under actions that are not taken, in the environment's own physics."""

    def __init__(self, env: gym.Env[Any, Any], trace: str | None = None) -> None:
        """Follow the point ``trace`` of a MuJoCo environment; see :func:`traced_point`.

        Raises:
            ValueError: if the environment is not simulated by MuJoCo.
            UnknownNameError: if it has no such point.
        """
        base: Any = env.unwrapped
        if not isinstance(getattr(base, "data", None), mujoco.MjData):
            raise ValueError(f"plan_video: expected an environment on MuJoCo, got {env}")
        self.env, self.data, self.frame_skip = env, base.data, base.frame_skip
        self.model = copy.copy(base.model)
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self.point = traced_point(self.model, trace)
        self.servo = env.get_wrapper_attr("law") if env.has_wrapper_attr("law") else None

    def paths(self, actions: Floats) -> Floats:
        """Positions ``[N, H + 1, 3]``, m, from now on under ``actions[N, H, A]``."""
        batch, field = Batch(self.model, len(actions), nthread=1), self.point.field
        batch.state[:] = physics_state(self.env)
        seen = batch.bind(field)
        places = [np.broadcast_to(getattr(self.data, field), seen.shape)]
        sound = np.ones((len(actions), 1, 1), dtype=bool)
        with muted_warnings():  # what diverges stays where it last was
            for action in actions.swapaxes(0, 1):
                command = action if self.servo is None else self.servo.command(batch.state, action)
                held = command[:, None].repeat(self.frame_skip, axis=1)
                try:
                    batch.rollout(self.frame_skip, held, record=())
                except SimulationError as error:
                    sound[error.ids] = False
                sound[batch.warning[..., 1].any(axis=1)] = False
                places.append(np.where(sound, seen, places[-1]))
        return np.stack(places, axis=1)[:, :, self.point.index]


def considered(
    tracer: Tracer, recorder: Recorder | None, plan: Plan, most: int = MOST_CANDIDATES
) -> Floats:
    """Paths ``[N + 1, P, 3]``, m: of ``N <= most`` candidates, worst first, and of ``plan``."""
    fan = recorder.spread(most) if recorder else plan.actions[None][:0]
    return tracer.paths(torch.cat([fan, plan.actions[None]]).double().numpy())


class Camera:
    """The environment's own view, with paths drawn in the scene."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Look as ``env`` does, which must have rendered a picture before."""
        base: Any = env.unwrapped
        self.model, self.data = base.model, base.data
        self.viewer = base.mujoco_renderer.viewer
        room = self.viewer.scn.maxgeom + (MOST_CANDIDATES + 1) * MOST_SEGMENTS
        self.scene = mujoco.MjvScene(self.model, room)

    def picture(self, candidates: Floats, plan: Floats) -> Picture:
        """RGB ``[height, width, 3]``: ``candidates[N, P, 3]``, worst first, and ``plan[P, 3]``."""
        viewer, scene = self.viewer, self.scene
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self.model, self.data, viewer.vopt, viewer.pert, viewer.cam, everything, scene
        )
        line, tube = mujoco.mjtGeom.mjGEOM_LINE, mujoco.mjtGeom.mjGEOM_CAPSULE
        for path, rank in zip(candidates, np.linspace(0.0, 1.0, len(candidates)), strict=True):
            self._draw(path, line, LINE_WIDTH, (*FAN(rank)[:3], 0.3 + 0.6 * rank))
        distance = float(np.linalg.norm(scene.camera[0].pos - plan[0]))
        self._draw(plan, tube, TUBE_RADIUS * distance, PLAN)
        frame = np.empty((viewer.viewport.height, viewer.viewport.width, 3), np.uint8)
        viewer.make_context_current()
        mujoco.mjr_render(viewer.viewport, scene, viewer.con)
        mujoco.mjr_readPixels(frame, None, viewer.viewport, viewer.con)
        return frame[::-1]  # OpenGL begins at the bottom

    def _draw(
        self, path: Floats, kind: mujoco.mjtGeom, width: float, rgba: tuple[float, ...]
    ) -> None:
        """Append ``path[P, 3]`` to the scene as far as it is finite."""
        scene, nowhere = self.scene, np.zeros(3)
        stops = np.linspace(0, len(path) - 1, min(len(path), MOST_SEGMENTS + 1)).round()
        points = path[stops.astype(int)]
        for start, end in pairwise(points[np.isfinite(points).all(axis=1)]):
            geom = scene.geoms[scene.ngeom]
            mujoco.mjv_initGeom(geom, kind, nowhere, nowhere, np.eye(3).ravel(), rgba)
            mujoco.mjv_connector(geom, kind, width, start, end)
            geom.emission = 1.0  # readable wherever the lights are
            scene.ngeom += 1


@contextmanager
def recording(controller: Controller) -> Iterator[Recorder | None]:
    """Let an MPC remember its candidates for a while; None for a controller that has none."""
    if not isinstance(controller, MPC):
        yield None
        return
    recorder = Recorder(controller.optimizer)
    controller.optimizer = recorder
    try:
        yield recorder
    finally:
        controller.optimizer = recorder.optimizer


class Filmed:
    """A Controller that acts as another does, and shows what it considered before each action."""

    def __init__(self, controller: Controller, show: Callable[[], None]) -> None:
        """Call ``show`` after every decision of ``controller``."""
        self.controller, self.show = controller, show

    @property
    def observes(self) -> Sensed:
        """What the controller takes."""
        return self.controller.observes

    @property
    def plan(self) -> Plan | None:
        """What the controller last intended."""
        return self.controller.plan

    def reset(self, seed: int) -> None:
        """Reset the controller."""
        self.controller.reset(seed)

    def act(self, sensed: Floats) -> Floats:
        """The controller's action ``[A]``."""
        action = self.controller.act(sensed)
        self.show()
        return action


@contextmanager
def film_plans(
    env: gym.Env[Any, Any], controller: Controller, path: Path, trace: str | None = None
) -> Iterator[Controller]:
    """A controller that acts alike and leaves an MP4 of what it considered.

    Args:
        env: a MuJoCo environment that renders, where the controller is to act.
        controller: one that plans. Of an MPC, the candidates are drawn too, as they would fare in
            ``env``, whatever the model they were judged in.
        path: file to write.
        trace: site or body whose paths are drawn; see :func:`traced_point`.

    Raises:
        ValueError: if the environment is not simulated by MuJoCo; or, while filming, if the
            controller has no plan.
        UnknownNameError: if there is no such point.
    """
    tracer, camera = Tracer(env, trace), Camera(env)

    def shoot() -> Picture:
        """The scene with what the controller considers."""
        plan = controller.plan
        if plan is None:
            raise ValueError(f"plan_video: expected a controller that plans, got {controller!r}")
        paths = considered(tracer, recorder, plan)
        return camera.picture(paths[:-1], paths[-1])

    with recording(controller) as recorder, film(env, path, shoot) as show:
        yield Filmed(controller, show)
