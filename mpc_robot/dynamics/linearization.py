"""How MuJoCo's next state answers to small changes: central differences of whole trajectories.

A state's neighbours are displacements in its tangent space (see ``TangentSpace``). All of them, at
all time steps, are simulations of one ``mujoco.batch.Batch``: the bits do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import mujoco
import numpy as np
import numpy.typing as npt
from mujoco.batch import Batch, SimulationError

from mpc_robot.envs.base import ObserveFn
from mpc_robot.envs.wrappers import muted_warnings

Floats = npt.NDArray[np.float64]
State = mujoco.mjtState


def state_slice(model: mujoco.MjModel, component: mujoco.mjtState) -> slice:
    """Where a component is within an integration state ``[S]``."""
    begin = mujoco.mj_stateSize(model, int(component) - 1)  # the bits below it come before it
    return slice(begin, begin + mujoco.mj_stateSize(model, int(component)))


class TangentSpace:
    """Displacements ``[n]`` of physics states ``[S]``: of qpos (nv), of qvel (nv), of act (na).

    As in ``mj_integratePos`` and ``mj_differentiatePos``, a quaternion is displaced by a rotation
    vector (rad) in its own frame. The rest of a physics state, such as its time, is not displaced.

    Attributes:
        size: n = 2 nv + na.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        """Read off where the model's quaternions are."""
        ball, free = mujoco.mjtJoint.mjJNT_BALL, mujoco.mjtJoint.mjJNT_FREE
        turning = np.isin(model.jnt_type, (ball, free))
        past_position = 3 * (model.jnt_type[turning] == free)
        quaternion = model.jnt_qposadr[turning] + past_position
        rotation = model.jnt_dofadr[turning] + past_position
        qpos, qvel = (state_slice(model, s) for s in (State.mjSTATE_QPOS, State.mjSTATE_QVEL))
        act = state_slice(model, State.mjSTATE_ACT)
        self.size = 2 * model.nv + model.na
        self._quaternions = qpos.start + quaternion[:, None] + np.arange(4)
        self._rotations = rotation[:, None] + np.arange(3)
        everything = np.arange(self.size)
        straight_qpos = np.setdiff1d(np.arange(qpos.start, qpos.stop), self._quaternions)
        straight = np.concatenate([straight_qpos, np.r_[qvel.start : act.stop]])
        self._numbers = _compact(straight)
        self._straight = _compact(np.setdiff1d(everything, self._rotations))

    def add(self, physics: Floats, displacement: Floats) -> Floats:
        """``physics[..., S]`` displaced by ``displacement[..., n]``; shapes broadcast."""
        shape = np.broadcast_shapes(physics.shape[:-1], displacement.shape[:-1])
        end = np.array(np.broadcast_to(physics, (*shape, physics.shape[-1])))
        end[..., self._numbers] += displacement[..., self._straight]
        if len(self._quaternions) > 0:
            turn = _quaternion(displacement[..., self._rotations])
            end[..., self._quaternions] = _product(end[..., self._quaternions], turn)
        return end

    def difference(self, end: Floats, start: Floats) -> Floats:
        """The displacement ``[..., n]`` that leads from ``start[..., S]`` to ``end[..., S]``."""
        numbers = end[..., self._numbers] - start[..., self._numbers]
        if len(self._quaternions) == 0:
            return numbers
        displacement = np.empty((*numbers.shape[:-1], self.size))
        displacement[..., self._straight] = numbers
        back = start[..., self._quaternions] * [1.0, -1.0, -1.0, -1.0]
        turn = _product(back, end[..., self._quaternions])
        displacement[..., self._rotations] = _rotation_vector(turn)
        return displacement


class Simulations:
    """Simulations of one model and what the task observes of them; NaN once one failed.

    Attributes:
        state: their physics states ``[N, S]``, to be read and written.
        fields: what observations are made of, as it is after the last call ``[N, ...]``.
        derived: whether observations depend on more than the state, which a step brings up to date
            but for a lag, and ``forward`` fully.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        num: int,
        observe: ObserveFn,
        fields: Sequence[str],
        threads: int = 0,
    ) -> None:
        """``num`` simulations of ``model`` on so many threads; 0 is one per CPU."""
        self._batch = Batch(model, num, nthread=threads)
        self._observe = observe
        self.state: Floats = self._batch.state
        self.fields = {name: np.asarray(self._batch.bind(name)) for name in fields}
        self.derived = not all(
            np.may_share_memory(values, self.state) for values in self.fields.values()
        )

    def step(self, physics_steps: int) -> None:
        """Advance all of them."""
        self._call(partial(self._batch.step, nstep=physics_steps))

    def forward(self) -> None:
        """Compute what is derived from the states."""
        self._call(self._batch.forward)

    def observe(self, state: Floats, fields: Mapping[str, Floats]) -> Floats:
        """The task's observations ``[..., D]`` of copies of the state and the fields."""
        return np.where(np.isnan(state[..., :1]), np.nan, self._observe(fields))

    def _call(self, simulate: Callable[[], None]) -> None:
        """States of simulations that fail or that MuJoCo warns of become NaN."""
        warnings = self._batch.warning
        try:
            with muted_warnings():
                simulate()
        except SimulationError as error:
            self.state[error.ids] = np.nan
        if warnings.any():
            self.state[warnings[..., 1].any(axis=1)] = np.nan
            warnings[:] = 0


@dataclass(frozen=True)
class Linearization:
    """Control steps to first order: ``δx' = f_x δx + f_u δu`` and ``δo' = h_x δx + h_u δu``.

    Attributes:
        f_x: next state by state ``[T, n, n]``, both in the tangent space.
        f_u: next state by action ``[T, n, A]``.
        h_x: next observation by state ``[T, D, n]``.
        h_u: next observation by action ``[T, D, A]``.
    """

    f_x: Floats
    f_u: Floats
    h_x: Floats
    h_u: Floats


@dataclass(frozen=True)
class ObservationExpansion:
    """Observations of states, and how they change when a state is displaced.

    Attributes:
        value: the observations ``[T, D]``.
        slope: first derivatives ``[T, D, n]``.
        curvature: second derivatives along each tangent direction ``[T, D, n]``: the diagonals of
            the Hessians, all that there is of functions of single coordinates such as ``cos θ``.
    """

    value: Floats
    slope: Floats
    curvature: Floats


class Linearizer:
    """Derivatives of control steps and of observations, at many states at once.

    Attributes:
        tangent: the space in which states are displaced.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int,
        observe: ObserveFn,
        fields: Sequence[str],
        *,
        threads: int = 0,
        epsilon: float = 1e-6,
    ) -> None:
        """Differentiate ``frame_skip`` physics steps of ``model`` under one action.

        Args:
            model: the MuJoCo model.
            frame_skip: physics steps in a control step.
            observe: makes the observation from the MjData fields named in ``fields``.
            fields: MjData fields that ``observe`` reads.
            threads: threads that simulate, the caller's included; 0 is one per CPU.
            epsilon: displacement to either side (default as in MuJoCo's own examples of
                ``mjd_transitionFD``); observations are displaced by 100 times as much, as their
                second differences ask for.
        """
        self.tangent = TangentSpace(model)
        self._frame_skip, self._epsilon = frame_skip, epsilon
        self._ctrl = state_slice(model, State.mjSTATE_CTRL)
        limited = model.actuator_ctrllimited.astype(bool)
        self._low = np.where(limited, model.actuator_ctrlrange[:, 0], -np.inf)
        self._high = np.where(limited, model.actuator_ctrlrange[:, 1], np.inf)
        self._make = partial(Simulations, model, observe=observe, fields=fields, threads=threads)
        self._made: dict[int, Simulations] = {}

    def control_steps(self, physics: Floats, actions: Floats) -> Linearization:
        """Linearize one control step from each of ``physics[T, S]`` under ``actions[T, A]``.

        NaN where a simulation fails. An action at the end of its range is displaced inwards only.
        """
        n, many = self.tangent.size, self.tangent.size + actions.shape[1]
        neighbours = self._simulations(len(physics) * 2 * many)
        rows = neighbours.state.reshape(len(physics), 2, many, -1)
        rows[:] = physics[:, None, None]
        rows[..., self._ctrl] = actions[:, None, None]
        rows[:, :, :n] = self.tangent.add(rows[:, :, :n], _both_ways(n, self._epsilon))
        moved = np.clip(
            actions[:, None, None] + _both_ways(many - n, self._epsilon), self._low, self._high
        )
        rows[:, :, n:, self._ctrl] = moved
        distance = np.full((len(physics), many, 1), 2 * self._epsilon)
        distance[:, n:, 0] = np.diagonal(moved[:, 0] - moved[:, 1], axis1=1, axis2=2)
        distance = np.maximum(distance, np.finfo(np.float64).tiny)  # an action out of range

        neighbours.step(self._frame_skip)
        seen = neighbours.observe(neighbours.state, neighbours.fields)
        seen = seen.reshape(*rows.shape[:3], -1)
        f = self.tangent.difference(rows[:, 0], rows[:, 1]) / distance
        h = (seen[:, 0] - seen[:, 1]) / distance
        f, h = f.swapaxes(1, 2), h.swapaxes(1, 2)
        return Linearization(f[..., :n], f[..., n:], h[..., :n], h[..., n:])

    def observations(self, physics: Floats) -> ObservationExpansion:
        """Expand the observations of ``physics[T, S]`` as they stand, without a step.

        Fields that MuJoCo derives, such as ``xpos``, do not lag here as they do after a step.
        """
        n, epsilon = self.tangent.size, 100 * self._epsilon
        neighbours = self._simulations(len(physics) * (2 * n + 1))
        rows = neighbours.state.reshape(len(physics), 2 * n + 1, -1)
        rows[:] = physics[:, None]
        rows[:, 1:] = self.tangent.add(rows[:, 1:], _both_ways(n, epsilon).reshape(2 * n, n))
        if neighbours.derived:
            neighbours.forward()
        seen = (
            neighbours.observe(neighbours.state, neighbours.fields)
            .reshape(*rows.shape[:2], -1)
            .swapaxes(1, 2)
        )
        value, up, down = seen[..., :1], seen[..., 1 : n + 1], seen[..., n + 1 :]
        slope, curvature = (up - down) / (2 * epsilon), (up - 2 * value + down) / epsilon**2
        return ObservationExpansion(value[..., 0], slope, curvature)

    def _simulations(self, num: int) -> Simulations:
        """So many simulations, made once."""
        if num not in self._made:
            self._made[num] = self._make(num=num)
        return self._made[num]


def _both_ways(n: int, epsilon: float) -> Floats:
    """Every direction of n by ``epsilon`` forwards, then backwards ``[2, n, n]``."""
    forwards = epsilon * np.eye(n)
    return np.stack([forwards, -forwards])


def _compact(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | slice:
    """The same as a slice if there is no gap, which makes views instead of copies."""
    first, last = int(indices[0]), int(indices[-1])
    return slice(first, last + 1) if last - first == len(indices) - 1 else indices


def _product(p: Floats, q: Floats) -> Floats:
    """Hamilton product of quaternions ``[..., 4]``, real part first."""
    w, v, s, u = p[..., :1], p[..., 1:], q[..., :1], q[..., 1:]
    real = w * s - (v * u).sum(-1, keepdims=True)
    return np.concatenate([real, w * u + s * v + np.cross(v, u)], axis=-1)


def _quaternion(rotation: Floats) -> Floats:
    """The unit quaternion ``[..., 4]`` of a rotation vector ``[..., 3]``."""
    half = np.linalg.norm(rotation, axis=-1, keepdims=True) / 2
    return np.concatenate([np.cos(half), rotation / 2 * np.sinc(half / np.pi)], axis=-1)


def _rotation_vector(quaternion: Floats) -> Floats:
    """The shortest rotation vector ``[..., 3]`` of a unit quaternion ``[..., 4]``."""
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    sine = np.linalg.norm(imaginary, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, np.abs(real))
    scale = angle / np.maximum(sine, np.finfo(np.float64).tiny)
    rotation: Floats = np.where(real < 0, -scale, scale) * imaginary
    return rotation
