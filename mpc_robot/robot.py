"""Any robot in ten lines: from a MuJoCo model to a task, an environment and a controller."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.controllers import (
    MPC,
    OPTIMIZERS,
    Caution,
    Interpolation,
    OptimizerConfig,
    TerminalValue,
    make_optimizer,
    spline_for,
)
from mpc_robot.controllers.risk import Risk, mean
from mpc_robot.dynamics.base import Dynamics
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs.base import RewardFn, Task, env_spec
from mpc_robot.envs.features import (
    BODY,
    CAMERA,
    KEY,
    TIME,
    Layout,
    MotionFn,
    Scene,
    find,
    has_clock,
    joint_addresses,
    names_of,
)
from mpc_robot.envs.mjcf import MjcfEnv, StartFn
from mpc_robot.envs.models import (
    Motor,
    Servo,
    Source,
    compile_model,
    origin,
    physics_steps,
    read_spec,
)
from mpc_robot.envs.probe import check_task, transitions
from mpc_robot.envs.registry import make_env, register_task, unused_name
from mpc_robot.envs.rewards import never
from mpc_robot.envs.terms import (
    Moment,
    Term,
    TerminationLike,
    TermLike,
    as_term,
    reward_of,
    termination_of,
)
from mpc_robot.errors import UnknownNameError, require

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Robot:
    """A robot with something to do.

    Attributes:
        task: what to do, as every part of this package takes it.
        model: the compiled MuJoCo model.
        layout: what the entries of an observation are; ``layout.slices`` names them.
    """

    task: Task
    model: mujoco.MjModel
    layout: Layout

    def env(self, render_mode: str | None = None) -> gym.Env[Any, Any]:
        """A Gymnasium environment; ``gymnasium.make(robot.task.env_id)`` makes one, too."""
        return make_env(self.task, render_mode)

    def measure(self, term: Term, observations: Floats) -> Floats:
        """A term ``[...]`` of recorded states ``[..., D]``, such as a height or a distance.

        Raises:
            UnknownNameError: if it reads what is not observed (see ``observe`` of from_mjcf).
            ValueError: if it reads actions.
        """
        return np.asarray(term.value(Moment(self.layout, observations)))

    def controller(
        self,
        optimizer: str | OptimizerConfig = "icem",
        *,
        dynamics: Dynamics[Any] | None = None,
        horizon: float = 0.5,
        knots: int | None = None,
        interpolation: Interpolation = "cubic",
        discount: float = 1.0,
        terminal_value: TerminalValue | None = None,
        risk: Risk = mean,
        replan_every: int = 1,
        budget: float = math.inf,
        caution: Caution | None = None,
    ) -> MPC:
        """Model predictive control.

        Args:
            optimizer: the search, by its name or as a config.
            dynamics: the model to plan in, such as one that was learned, or
                ``Simulator(robot.task, randomize=...)``; None for the task's own physics.
            horizon: how far a plan looks ahead, s.
            knots: free actions of a plan, spread over the horizon; None for one every 0.1 s.
            interpolation: what happens between knots.
            discount: of rewards per control step, in (0, 1].
            terminal_value: worth of where a plan ends; None for nothing.
            risk: what the returns of a candidate's particles are worth together.
            replan_every: control steps that a plan is followed for.
            budget: time after which a plan is taken as good as it is, s.
            caution: how to judge what a learned model does not know; None for as it comes.

        Raises:
            UnknownNameError: if there is no such optimizer.
            ValueError: if the horizon or knots are not possible.
        """
        config = _config(optimizer) if isinstance(optimizer, str) else optimizer
        with closing(self.env()) as env:
            spec = env_spec(env)
        if knots is None:
            knots = min(max(3, round(horizon / 0.1) + 1), max(1, round(horizon / spec.dt)))
        spline = spline_for(spec, horizon, knots, interpolation)
        return MPC(
            Simulator(self.task) if dynamics is None else dynamics,
            make_optimizer(spline, config),
            discount,
            terminal_value=terminal_value,
            risk=risk,
            replan_every=replan_every,
            budget=budget,
            caution=caution,
        )


def _config(optimizer: str) -> OptimizerConfig:
    """The default config of an optimizer; raises UnknownNameError if there is none of that name."""
    if optimizer not in OPTIMIZERS:
        raise UnknownNameError("optimizer", optimizer, OPTIMIZERS)
    config: OptimizerConfig = OPTIMIZERS[optimizer][0]()
    return config


def from_mjcf(
    model: Source,
    reward: TermLike,
    *,
    rate: float,
    terminated: TerminationLike | None = None,
    start: str | StartFn | None = None,
    start_noise: float = 0.0,
    episode: float = 10.0,
    motion: Mapping[str, MotionFn] | None = None,
    actuate: Mapping[str, Motor | Servo] | None = None,
    observe: Sequence[Term] = (),
    camera: str | None = None,
    name: str | None = None,
) -> Robot:
    """A robot with something to do, from a model and a reward; all is checked before any plan.

    Observations are qpos, qvel and act, then the features that ``observe``, ``reward`` and
    ``terminated`` read, in that order; actions are MuJoCo's ``ctrl``. The task is registered under
    its name, and with Gymnasium as ``mpc_robot/<name>-v0``.

    Args:
        model: a file of MJCF or URDF, its text, or a ``mujoco.MjSpec``.
        reward: a term (:mod:`mpc_robot.envs.terms`) or ``(obs, action, next_obs) -> [...]``.
        rate: actions per s, Hz; each lasts a whole number of timesteps.
        terminated: what ends an episode for good, such as ``height("torso") < 0.2``, or a function
            ``next_obs -> [...]``; None if only the clock does.
        start: a keyframe, or what places the simulation; None for the model's ``qpos0``.
        start_noise: half width of uniform noise on each hinge and slide at the start, rad or m.
        episode: length of an episode, s.
        motion: places of mocap bodies over time, by name: s ``[...]`` -> m ``[..., 3]``. A plan
            sees them ahead; to it, every other mocap body stays where it is.
        actuate: actuators to add, by joint, say to URDF, which has none.
        observe: terms whose features are observed besides, say for a function as reward.
        camera: what to draw from; None for the model's first.
        name: of the task; None for that of the file or model. One that is taken gets a number.

    Raises:
        FileNotFoundError: if the model is a file that is not there.
        UnknownNameError: if the model has no site, joint, keyframe … of a name; it offers others.
        ValueError: if the model does not compile, an actuator has no range, the rate does not fit
            the timestep, or reward or termination are not one finite number per transition.
    """
    terms = [*observe, as_term(reward), *([terminated] if isinstance(terminated, Term) else [])]
    layout = _layout(model, terms, motion or {}, actuate or {})
    pays = reward_of(reward, layout)
    task = _task(layout, pays, terminated, unused_name(_name(name or _model_name(model))))
    begin = _start(layout.scene.model, start, start_noise)
    make = _environment(task, pays, layout, rate=rate, start=begin, camera=camera)
    register_task(task, make, _steps(episode, rate))
    return Robot(task, layout.scene.model, layout)


def _layout(
    source: Source,
    terms: Sequence[Term],
    motions: Mapping[str, MotionFn],
    actuate: Mapping[str, Motor | Servo],
) -> Layout:
    """The observation of all that the terms read, in the compiled model."""
    features = [feature for term in terms for feature in term.features]
    spec = read_spec(source)
    if (motions or TIME in features) and not has_clock(spec):
        spec.add_sensor(name="time", type=mujoco.mjtSensor.mjSENS_CLOCK)
    scene = Scene(compile_model(spec, origin(source), actuate), motions)
    for name, motion in motions.items():
        _check_motion(scene.model, name, motion)
    return Layout(scene, features)


def _check_motion(model: mujoco.MjModel, name: str, motion: MotionFn) -> None:
    """Raises ValueError unless a motion is of a mocap body, and made of positions."""
    if model.body_mocapid[find(model, BODY, name)] < 0:
        raise ValueError(f'motion of {name!r}: expected a body with mocap="true", got another')
    places = np.asarray(motion(np.zeros((2, 3))))
    if places.shape != (2, 3, 3) or not np.isfinite(places).all():
        raise ValueError(
            f"motion of {name!r}: expected finite positions of shape (2, 3, 3) at times of shape "
            f"(2, 3), got {places.shape}; stack the coordinates on a last axis"
        )


def _task(layout: Layout, reward: RewardFn, terminated: TerminationLike | None, name: str) -> Task:
    return Task(
        name=f"{name}-v0",
        env_id=f"mpc_robot/{name}-v0",
        description="made by from_mjcf",
        reward=reward,
        terminated=never if terminated is None else termination_of(terminated, layout),
        observe=layout.observe,
        fields=layout.fields,
        model_inputs=layout.model_inputs,
    )


def _environment(
    task: Task, reward: RewardFn, layout: Layout, *, rate: float, start: StartFn, camera: str | None
) -> Callable[..., MjcfEnv]:
    """What makes the task's environment, after the task was tried on its first steps."""
    model = layout.scene.model
    skip = physics_steps(model, rate)
    check_task(task, transitions(layout, start, skip))
    if camera is not None:
        find(model, CAMERA, camera)
    view = camera or next(iter(names_of(model, CAMERA)), None)

    def make(**kwargs: Any) -> MjcfEnv:
        """A new environment of this robot."""
        return MjcfEnv(
            model,
            observe=layout.observe,
            fields=layout.fields,
            reward=reward,
            terminated=task.terminated,
            start=start,
            move=partial(_move, layout.scene),
            frame_skip=skip,
            **{"camera_name": view, **kwargs},
        )

    return make


def _start(model: mujoco.MjModel, start: str | StartFn | None, noise: float) -> StartFn:
    """What places a simulation at the start of an episode."""
    require(0 <= noise < math.inf, "start_noise", "not negative, rad or m", noise)
    keyframe = find(model, KEY, start) if isinstance(start, str) else None
    joints = joint_addresses(model, (), "q")

    def begin(data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Put the robot where an episode begins."""
        if keyframe is not None:
            mujoco.mj_resetDataKeyframe(model, data, keyframe)
        elif callable(start):
            start(data, rng)
        data.qpos[joints] += rng.uniform(-noise, noise, len(joints))

    return begin


def _move(scene: Scene, data: mujoco.MjData) -> None:
    """Put the mocap bodies whose motion is known where they are now."""
    for name, motion in scene.motions.items():
        mocap = scene.model.body_mocapid[find(scene.model, BODY, name)]
        data.mocap_pos[mocap] = motion(np.asarray(data.time))


def _steps(episode: float, rate: float) -> int:
    """Control steps of an episode of so many s."""
    require(1 <= episode * rate < math.inf, "episode", f"at least {1 / rate:g} s", episode)
    return round(episode * rate)


def _model_name(source: Source) -> str:
    """The file's name, or what the model calls itself."""
    file = not isinstance(source, mujoco.MjSpec) and not str(source).lstrip().startswith("<")
    return Path(str(source)).stem if file else str(read_spec(source).modelname)


def _name(name: str) -> str:
    """A name that Gymnasium takes, of letters, digits, underscores and hyphens."""
    return re.sub(r"[^\w-]+", "-", name).strip("-") or "robot"
