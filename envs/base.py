"""Seam 1, Task: a control problem and what a planner may know of it, in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium as gym
import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.envs.arrays import Array
from mpc_robot.envs.servo import PDServo
from mpc_robot.errors import require

Observation = npt.NDArray[np.float64]
Frame = npt.NDArray[np.uint8]
"""RGB ``[height, width, 3]``; of several stacked frames ``[height, width, 3 n]``, oldest first."""
UNIT = 1e-3
"""Within what the length of a quaternion must be 1."""
_PARTS = ("qpos", "qvel", "act", "ctrl", "mocap_pos", "mocap_quat", "userdata")


class RewardFn(Protocol):
    """Reward of a transition: ``obs[..., D], action[..., A], next_obs[..., D] -> [...]``."""

    def __call__(self, obs: Array, action: Array, next_obs: Array) -> Array:
        """Any leading shape, numpy or torch in and the same out."""
        ...


class TerminationFn(Protocol):
    """True where a state ends the episode for good, never by the clock: ``[..., D] -> [...]``."""

    def __call__(self, next_obs: Array) -> Array:
        """Any leading shape; boolean, numpy or torch as given."""
        ...


class ObserveFn(Protocol):
    """Observation from MuJoCo fields: ``{"qpos": [..., nq], ...} -> [..., D]`` in float64."""

    def __call__(self, fields: Mapping[str, Observation]) -> Observation:
        """``fields`` holds exactly the MjData fields that ``Task.fields`` names."""
        ...


@dataclass(frozen=True)
class View:
    """How an agent meets a task, where not as the environment is by itself.

    Attributes:
        pixels: seen as frames of 64 x 64 pixels; what the task knows still tells of the vector.
        stack: frames in an observation.
        repeat: control steps that every action is held for.
    """

    pixels: bool = False
    stack: int = 1
    repeat: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require(self.stack >= 1, "stack", "at least 1 frame", self.stack)
        require(self.pixels or self.stack == 1, "stack", "1 without pixels", self.stack)
        require(self.repeat >= 1, "repeat", "at least 1 control step", self.repeat)


@dataclass(frozen=True)
class Task:
    """A Gymnasium environment and what is known of it; what is not given is learned.

    Attributes:
        name: what the command line calls it, such as ``HalfCheetah-v5``.
        env_id: the Gymnasium id behind it.
        description: one line for ``mpc-robot tasks``.
        env_kwargs: arguments of ``gymnasium.make``.
        reward: the environment's reward in batches, or None to learn it.
        terminated: the environment's termination in batches, or None to learn it.
        observe: makes the observation from the MjData fields named in ``fields``. Where given, the
            environment is wrapped to observe by the same function, so that a simulator and the
            environment agree to the bit.
        fields: MjData fields that ``observe`` reads.
        model_inputs: indices of the observation entries a learned model may use as input (an x
            position is predicted but is no input); None means all of them.
        policy_inputs: indices of the entries that a policy or value may see: all that matters,
            goals too, but not how far a robot has come; None means all of them.
        servo: joint servos beneath the actions, which then are joint positions; None for none. The
            environment is wrapped to have them; ``reward`` still takes the actuators' commands.
        view: pixels and repeated actions; the environment is wrapped for them.
    """

    name: str
    env_id: str
    description: str = ""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    reward: RewardFn | None = None
    terminated: TerminationFn | None = None
    observe: ObserveFn | None = None
    fields: tuple[str, ...] = ()
    model_inputs: tuple[int, ...] | None = None
    policy_inputs: tuple[int, ...] | None = None
    servo: PDServo | None = None
    view: View = View()


@dataclass(frozen=True)
class EnvSpec:
    """The sizes and limits of an environment with continuous observations and actions.

    Attributes:
        observation_dim: D, entries of an observation.
        action_low: least action ``[A]``, finite.
        action_high: greatest action ``[A]``, finite.
        dt: control period, s.
        max_episode_steps: steps after which an episode is truncated, or None.
    """

    observation_dim: int
    action_low: npt.NDArray[np.float64]
    action_high: npt.NDArray[np.float64]
    dt: float
    max_episode_steps: int | None

    @property
    def action_dim(self) -> int:
        """A, entries of an action."""
        return len(self.action_low)


def env_spec(env: gym.Env[Any, Any]) -> EnvSpec:
    """Read the sizes and limits off an environment.

    Raises:
        ValueError: if the observation is not a flat Box, the action not a flat bounded Box, or the
            control period is not known.
    """
    entries, (low, high) = _observation_dim(env), _action_bounds(env)
    return EnvSpec(entries, low, high, control_period(env), episode_limit(env))


def _observation_dim(env: gym.Env[Any, Any]) -> int:
    """D, entries of an observation."""
    obs = env.observation_space
    if not isinstance(obs, gym.spaces.Box) or len(obs.shape) != 1:
        raise ValueError(f"observation space: expected a Box of shape (D,), got {obs}")
    return obs.shape[0]


@dataclass(frozen=True)
class PixelSpec:
    """The sizes and limits of an environment seen as frames, with continuous actions.

    Attributes:
        frame_shape: of an observation, uint8 ``[height, width, channels]``.
        action_low: least action ``[A]``, finite.
        action_high: greatest action ``[A]``, finite.
        dt: control period, s.
        max_episode_steps: steps after which an episode is truncated, or None.
    """

    frame_shape: tuple[int, int, int]
    action_low: npt.NDArray[np.float64]
    action_high: npt.NDArray[np.float64]
    dt: float
    max_episode_steps: int | None

    @property
    def action_dim(self) -> int:
        """A, entries of an action."""
        return len(self.action_low)


def pixel_spec(env: gym.Env[Any, Any]) -> PixelSpec:
    """Read the sizes and limits off an environment.

    Raises:
        ValueError: if the observation is no frame, the action not a flat bounded Box, or the
            control period is not known.
    """
    obs = env.observation_space
    frames = isinstance(obs, gym.spaces.Box) and obs.dtype == np.uint8 and len(obs.shape) == 3
    if not frames or obs.shape is None:
        raise ValueError(f"observation space: expected frames (H, W, C) of uint8, got {obs}")
    height, width, channels = obs.shape
    low, high = _action_bounds(env)
    return PixelSpec((height, width, channels), low, high, control_period(env), episode_limit(env))


def _action_bounds(
    env: gym.Env[Any, Any],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Least and greatest action, both ``[A]``."""
    act = env.action_space
    if not isinstance(act, gym.spaces.Box) or len(act.shape) != 1:
        raise ValueError(f"action space: expected a continuous Box of shape (A,), got {act}")
    if not (np.isfinite(act.low).all() and np.isfinite(act.high).all()):
        got = f"low={act.low} high={act.high}; give the environment a bounded action space"
        raise ValueError(f"action space: expected finite bounds, got {got}")
    room = bool((act.low < act.high).all())
    require(room, "action space", "room between its bounds", (act.low, act.high))
    return act.low.astype(np.float64), act.high.astype(np.float64)


@dataclass(frozen=True)
class TableSpec:
    """The sizes of an environment whose states and actions are numbered from 0.

    Observation and action are vectors of one entry, the number of the state or action.

    Attributes:
        num_states: how many states.
        num_actions: how many actions, in every state the same.
        dt: control period, s.
        max_episode_steps: steps after which an episode is truncated, or None.
    """

    num_states: int
    num_actions: int
    dt: float
    max_episode_steps: int | None


def table_spec(env: gym.Env[Any, Any]) -> TableSpec:
    """Read the sizes off an environment as :func:`mpc_robot.envs.make_env` makes it.

    Raises:
        ValueError: if states or actions are not numbered, or the control period is not known.
    """
    states = _count("observation", env.observation_space)
    actions = _count("action", env.action_space)
    return TableSpec(states, actions, control_period(env), episode_limit(env))


@dataclass(frozen=True)
class DiscreteSpec:
    """The sizes of an environment with continuous observations, and numbers ``[1]`` for actions.

    Attributes:
        observation_dim: D, entries of an observation.
        num_actions: how many actions, in every state the same.
        dt: control period, s.
        max_episode_steps: steps after which an episode is truncated, or None.
    """

    observation_dim: int
    num_actions: int
    dt: float
    max_episode_steps: int | None


def discrete_spec(env: gym.Env[Any, Any]) -> DiscreteSpec:
    """Read the sizes off an environment as :func:`mpc_robot.envs.make_env` makes it.

    Raises:
        ValueError: if observations are no flat Box, actions not numbered, or the period not known.
    """
    entries, actions = _observation_dim(env), _count("action", env.action_space)
    return DiscreteSpec(entries, actions, control_period(env), episode_limit(env))


def _count(name: str, space: gym.Space[Any]) -> int:
    """How many numbers there are in a space that was Discrete."""
    if not isinstance(space, gym.spaces.MultiDiscrete) or space.shape != (1,):
        raise ValueError(f"{name} space: expected a Discrete one, got {space}")
    return int(space.nvec[0])


def action_repeat(env: gym.Env[Any, Any]) -> int:
    """Control steps of the environment itself that each action is held for."""
    held = env.has_wrapper_attr("action_repeat")
    return int(env.get_wrapper_attr("action_repeat")) if held else 1


def episode_limit(env: gym.Env[Any, Any]) -> int | None:
    """Actions after which the environment truncates an episode, None if it never does."""
    limit = env.spec.max_episode_steps if env.spec is not None else None
    return None if limit is None else math.ceil(limit / action_repeat(env))


def control_period(env: gym.Env[Any, Any]) -> float:
    """Seconds from one action to the next: by ``env.dt``, or one frame of ``render_fps``.

    Raises:
        ValueError: if the environment tells neither.
    """
    base: Any = env.unwrapped
    frames = env.metadata.get("render_fps")
    dt = getattr(base, "dt", None) or (1.0 / frames if frames else None)
    if dt is None:
        raise ValueError(
            "control period: expected an attribute `dt`, s, or metadata['render_fps'] of the "
            f"environment, got neither from {base!r}"
        )
    return float(dt) * action_repeat(env)


def physics_state(env: gym.Env[Any, Any]) -> npt.NDArray[np.float64]:
    """The full MuJoCo integration state of an environment, ``[S]`` (``mjSTATE_INTEGRATION``).

    It holds time, qpos, qvel, act, warm start, controls, applied forces, mocap and userdata.
    Quaternions that are not of unit length, as after a reset of Gymnasium's Ant, are made so:
    they are what MuJoCo takes them for.

    Raises:
        TypeError: if the environment is not simulated by MuJoCo.
    """
    base: Any = env.unwrapped
    if not isinstance(getattr(base, "data", None), mujoco.MjData):
        raise TypeError(f"expected a MuJoCo environment with `model` and `data`, got {base!r}")
    full = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(base.model, full))
    mujoco.mj_getState(base.model, base.data, state, full)
    for _, start in _quaternions(base.model):
        length = np.linalg.norm(state[start : start + 4])
        if abs(length - 1.0) > UNIT:
            state[start : start + 4] /= length
    return state


def sensed_state(
    model: mujoco.MjModel,
    qpos: npt.ArrayLike,
    qvel: npt.ArrayLike,
    *,
    time: float = 0.0,
    **others: npt.ArrayLike,
) -> npt.NDArray[np.float64]:
    """The integration state ``[S]`` of what a robot senses or an estimator supplies.

    Args:
        model: the robot's model.
        qpos: positions ``[nq]``, m, rad and unit quaternions, in the model's order.
        qvel: velocities ``[nv]``, m/s and rad/s.
        time: s.
        others: any of ``act``, ``ctrl`` (the command in force), ``mocap_pos``, ``mocap_quat`` and
            ``userdata``, of the shapes of MjData; what is not given is as the model loads.

    Raises:
        ValueError: if a part has the wrong name or shape, is not finite, or is a quaternion that is
            not of unit length.
    """
    data = mujoco.MjData(model)
    data.time = time
    for name, given in {"qpos": qpos, "qvel": qvel, **others}.items():
        require(name in _PARTS, "state", f"parts {', '.join(_PARTS)}", name)
        part, value = getattr(data, name), np.asarray(given, dtype=np.float64)
        require(value.shape == part.shape, name, f"shape {part.shape}", value.shape)
        part[:] = value
    full = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(model, full))
    mujoco.mj_getState(model, data, state, full)
    check_physics_state(model, state)
    return state


def check_physics_state(model: mujoco.MjModel, state: npt.NDArray[np.float64]) -> None:
    """Refuse what is no integration state of the model, say from a robot or an estimator.

    Raises:
        ValueError: if it is not ``[S]`` finite numbers (``mjSTATE_INTEGRATION``), or a quaternion
            of a free or ball joint or a mocap body in it is not of unit length (within 1e-3).
    """
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)
    if np.shape(state) != (size,):
        raise ValueError(
            f"state: expected shape ({size},), time, qpos ({model.nq}), qvel ({model.nv}) and the "
            f"rest of mjSTATE_INTEGRATION, got {np.shape(state)}"
        )
    bad = np.flatnonzero(~np.isfinite(state))
    if bad.size:
        raise ValueError(f"state[{bad[0]}]: expected a finite number, got {state[bad[0]]}")
    for name, start in _quaternions(model):
        length = np.linalg.norm(state[start : start + 4])
        if abs(length - 1.0) > UNIT:
            raise ValueError(
                f"state[{start}:{start + 4}], quaternion of {name}: expected length 1, "
                f"got {length:.4g}"
            )


def _quaternions(model: mujoco.MjModel) -> Iterator[tuple[str, int]]:
    """Each quaternion of an integration state: whose it is, and where it starts."""
    if model.nq == model.nv and model.nmocap == 0:
        return
    full, state = mujoco.mjtState.mjSTATE_INTEGRATION, mujoco.mjtState
    offset = {
        part: mujoco.mj_stateSize(model, int(full) & (int(part) - 1))  # all that come before it
        for part in (state.mjSTATE_QPOS, state.mjSTATE_MOCAP_QUAT)
    }
    before = {int(mujoco.mjtJoint.mjJNT_FREE): 3, int(mujoco.mjtJoint.mjJNT_BALL): 0}
    for joint in np.flatnonzero(np.isin(model.jnt_type, list(before))):
        start = offset[state.mjSTATE_QPOS] + model.jnt_qposadr[joint]
        yield f"joint {model.joint(joint).name!r}", start + before[int(model.jnt_type[joint])]
    for body in np.flatnonzero(model.body_mocapid >= 0):
        start = offset[state.mjSTATE_MOCAP_QUAT] + 4 * model.body_mocapid[body]
        yield f"mocap body {model.body(body).name!r}", int(start)
