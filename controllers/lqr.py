"""LQR: linear feedback that holds a set point at the least quadratic cost, for ever.

The gain solves the discrete algebraic Riccati equation of one control step linearized about the set
point (Anderson and Moore, "Optimal Control: Linear Quadratic Methods", 1990).
"""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import solve_discrete_are
from scipy.optimize import least_squares
from torch import Tensor

from mpc_robot.controllers.base import Plan
from mpc_robot.dynamics.base import Sensed
from mpc_robot.dynamics.linearization import Linearizer
from mpc_robot.dynamics.simulator import INTEGRATION, Simulator
from mpc_robot.envs.base import EnvSpec
from mpc_robot.errors import require

Floats = npt.NDArray[np.float64]


class LQR:
    """A Controller, ``u = action - gain (x - set point)`` within bounds, and its cost-to-go.

    ``x - set point`` is in MuJoCo's tangent space ``[n]``: qpos, qvel, act (``TangentSpace``).

    Attributes:
        plan: None; it looks at no plan.
        set_point: the physics state that it holds ``[S]``.
        action: what holds it there ``[A]``.
        gain: feedback ``[A, n]``.
        cost_to_go: P of the cost ``(x - set point)' P (x - set point)`` of all time to come, when
            the limits of the actions play no part ``[n, n]``.
    """

    observes: Sensed = "state"
    plan: Plan | None = None

    def __init__(
        self,
        simulator: Simulator,
        spec: EnvSpec,
        state_cost: npt.ArrayLike,
        action_cost: npt.ArrayLike,
        *,
        set_point: Floats | None = None,
        action: Floats | None = None,
    ) -> None:
        """Hold ``set_point`` at the least sum over control steps of ``x' Q x + u' R u``.

        Args:
            simulator: model and control period.
            spec: bounds of the actions.
            state_cost: the diagonal of Q ``[n]``, or Q; of deviations of qpos (m, rad), qvel and
                act from the set point.
            action_cost: the diagonal of R ``[A]``, or R; of deviations from ``action``.
            set_point: the physics state to hold ``[S]``; by default the model at rest as it loads.
            action: what holds it ``[A]``; without it, what is held is the nearest equilibrium.

        Raises:
            ValueError: if a cost has the wrong shape, there is no equilibrium nearby, no feedback
                keeps the system there, or the task has servos beneath its actions.
        """
        model, task = simulator.model, simulator.task
        require(task.servo is None, "task.servo", "none, as LQR is one", task.servo)
        near = at_rest(model) if set_point is None else set_point
        simulator.start(near, 1)  # which refuses what is no physics state
        self.set_point, self.action = equilibrium(model, near) if action is None else (near, action)
        self._low, self._high = spec.action_low, spec.action_high
        assert task.observe is not None  # a simulator has it
        linearizer = Linearizer(model, simulator.frame_skip, task.observe, task.fields, threads=1)
        self._tangent = linearizer.tangent
        step = linearizer.control_steps(self.set_point[None], self.action[None])
        q = _square("state_cost", state_cost, self._tangent.size)
        r = _square("action_cost", action_cost, spec.action_dim)
        self.cost_to_go, self.gain = riccati(step.f_x[0], step.f_u[0], q, r)
        seen = linearizer.observations(self.set_point[None])
        self._observation, self._slope = seen.value[0], seen.slope[0]

    def reset(self, seed: int) -> None:
        """There is nothing to forget, and nothing is random."""

    def act(self, sensed: Floats) -> Floats:
        """The action ``[A]`` for the physics state ``sensed[S]``.

        Raises:
            ValueError: if ``sensed`` has not the set point's shape.
        """
        if sensed.shape != self.set_point.shape:
            raise ValueError(
                f"sensed: expected a physics state {self.set_point.shape}, got {sensed.shape}"
            )
        deviation = self._tangent.difference(sensed, self.set_point)
        return np.clip(self.action - self.gain @ deviation, self._low, self._high)

    def value(self, observations: Tensor) -> Tensor:
        """Minus the cost-to-go from ``observations[..., D]``, ``[...]``: closes an MPC's horizon.

        The state is read off the observation to first order about the set point, in least squares.
        It is never positive: where an episode can end early, add what is earned by going on, or the
        end looks better than being far from the set point.

        Raises:
            ValueError: if observations near the set point do not tell where the state is.
        """
        n = self._tangent.size
        if np.linalg.matrix_rank(self._slope) < n:
            raise ValueError(f"observation: expected to determine {n} state entries, got fewer")
        to_state = np.linalg.pinv(self._slope)
        quadratic = torch.from_numpy(to_state.T @ self.cost_to_go @ to_state).to(observations)
        away = observations - torch.from_numpy(self._observation).to(observations)
        return -((away @ quadratic) * away).sum(-1)


def riccati(a: Floats, b: Floats, q: Floats, r: Floats) -> tuple[Floats, Floats]:
    """Cost-to-go ``[n, n]`` and gain ``[A, n]`` of ``x' = a x + b u`` at cost ``x'qx + u'ru``.

    Raises:
        ValueError: if no feedback is optimal: some mode can neither be steered nor costs anything.
    """
    try:
        p = solve_discrete_are(a, b, q, r)
    except np.linalg.LinAlgError as error:
        raise ValueError(f"set point: expected one that feedback can keep, got: {error}") from error
    gain = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
    return p.astype(np.float64), gain.astype(np.float64)


def at_rest(model: mujoco.MjModel, qpos: npt.ArrayLike | None = None) -> Floats:
    """The physics state ``[S]`` at rest in posture ``qpos``, or as the model loads.

    Raises:
        ValueError: if ``qpos`` has not the model's size.
    """
    data = mujoco.MjData(model)
    if qpos is not None:
        posture = np.asarray(qpos, dtype=np.float64)
        require(posture.shape == (model.nq,), "qpos", f"shape ({model.nq},)", posture.shape)
        data.qpos[:] = posture
    state = np.empty(mujoco.mj_stateSize(model, INTEGRATION))
    mujoco.mj_getState(model, data, state, INTEGRATION)
    return state


def equilibrium(model: mujoco.MjModel, near: Floats) -> tuple[Floats, Floats]:
    """A physics state at rest ``[S]`` close to ``near[S]``, and the action ``[A]`` that keeps it.

    There the forces that inverse dynamics asks for (``mj_inverse``) are those of the actuators;
    posture and action are found together by least squares, in small steps from ``near``.

    Raises:
        ValueError: if no posture nearby is held by an action within its range, or the actuators
            have a state of their own.
    """
    require(model.na == 0, "model", "no stateful actuators; give the action", f"{model.na} of them")
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, near, INTEGRATION)
    start = data.qpos.copy()

    def missing_force(unknown: Floats) -> Floats:
        """Force that the actuators lack ``[nv]`` where posture and action are ``[nv + nu]``."""
        data.qpos[:], data.qvel[:] = start, 0.0
        mujoco.mj_integratePos(model, data.qpos, unknown[: model.nv], 1.0)
        data.ctrl[:] = unknown[model.nv :]
        mujoco.mj_forward(model, data)
        data.qacc[:] = 0.0
        mujoco.mj_inverse(model, data)
        return np.array(data.qfrc_inverse - data.qfrc_actuator)

    limited = np.r_[np.zeros(model.nv, bool), model.actuator_ctrllimited.astype(bool)]
    low, high = (np.r_[np.zeros(model.nv), limit] for limit in model.actuator_ctrlrange.T)
    bounds = np.where(limited, low, -np.inf), np.where(limited, high, np.inf)
    first = np.clip(np.zeros(model.nv + model.nu), *bounds)
    scale = np.r_[np.full(model.nv, 1e-3), np.ones(model.nu)]  # rather act than move
    found = least_squares(
        missing_force, first, "3-point", bounds, x_scale=scale, xtol=None, ftol=None
    )
    lack = np.abs(missing_force(found.x))
    worst = model.joint(model.dof_jntid[lack.argmax()]).name
    held = f"a force of {lack.max():g} missing at joint {worst!r}"
    require(lack.max() <= 1e-6, "set point", "one near which actions hold the model", held)
    mujoco.mj_getState(model, data, state := np.empty_like(near), INTEGRATION)
    return state, data.ctrl.copy()


def _square(name: str, cost: npt.ArrayLike, size: int) -> Floats:
    """A cost matrix, from it or its diagonal."""
    matrix = np.asarray(cost, dtype=np.float64)
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    require(matrix.shape == (size, size), name, f"({size},) or ({size}, {size})", matrix.shape)
    return matrix
