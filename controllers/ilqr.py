"""iLQR with control limits, on MuJoCo itself: box-DDP.

Tassa, Mansard and Todorov, "Control-limited differential dynamic programming", ICRA 2014; the
schedule of the regularization is that of Tassa, Erez and Todorov, "Synthesis and stabilization of
complex behaviors through online trajectory optimization", IROS 2012. Of the dynamics only first
derivatives are used, which makes DDP iLQR. Here a plan is improved a little at every control step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import mujoco
import numpy as np
import numpy.typing as npt
import torch

from mpc_robot.controllers.base import Plan
from mpc_robot.controllers.mpc import TerminalValue, checked
from mpc_robot.controllers.parameterization import spline_for
from mpc_robot.controllers.quadratic import (
    box_qp,
    chain_rule,
    convex,
    derivatives,
    solve_definite,
)
from mpc_robot.dynamics.base import Sensed, Trajectories
from mpc_robot.dynamics.linearization import (
    Linearization,
    Linearizer,
    ObservationExpansion,
    Simulations,
    state_slice,
)
from mpc_robot.dynamics.simulator import Simulator, SimulatorState
from mpc_robot.envs.base import EnvSpec
from mpc_robot.envs.rewards import never
from mpc_robot.errors import require

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ILQRConfig:
    """Settings of :class:`ILQR`; in brackets those of Tassa et al. 2012 and 2014.

    Attributes:
        horizon: how far a plan looks ahead, s.
        iterations: improvements of the plan per control step [1 when controlling, up to 500 when
            planning offline].
        step_sizes: lengths of the policy's step that are tried side by side, from 1 down to 1e-3
            by equal factors [11].
        tolerance: a step of all actions below it, relative to 1 + |action|, is not worth a search:
            the plan has converged [1e-4].
        regularization: first addition to the diagonal of the reward's curvature by action [1].
        regularization_factor: growth of its factor of change [1.6].
        regularization_min: it falls no further, where the paper then adds none [1e-6].
        regularization_max: it grows no further [1e10].
    """

    horizon: float = 1.0
    iterations: int = 1
    step_sizes: int = 6
    tolerance: float = 1e-4
    regularization: float = 1.0
    regularization_factor: float = 1.6
    regularization_min: float = 1e-6
    regularization_max: float = 1e10

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        low, high = self.regularization_min, self.regularization_max
        require(0 < self.horizon < np.inf, "horizon", "positive", self.horizon)
        require(self.iterations >= 1, "iterations", "at least 1", self.iterations)
        require(self.step_sizes >= 1, "step_sizes", "at least 1", self.step_sizes)
        require(0 <= self.tolerance < np.inf, "tolerance", "not negative", self.tolerance)
        factor = self.regularization_factor
        require(1 < factor < np.inf, "regularization_factor", "above 1", factor)
        require(0 < low < np.inf, "regularization_min", "positive", low)
        require(low <= high < np.inf, "regularization_max", f"at least {low}", high)
        first = self.regularization
        require(low <= first <= high, "regularization", f"{low} to {high}", first)


@dataclass(frozen=True)
class Policy:
    """``u = actions + step size * feedforward + gains (x - physics)``, clipped to the bounds.

    Attributes:
        physics: states about which it is linear ``[H, S]``; the difference is a tangent vector.
        actions: what it does there ``[H, A]``.
        feedforward: the way to better actions, of which a line search goes a part ``[H, A]``.
        gains: feedback ``[H, A, n]``.
    """

    physics: Floats
    actions: Floats
    feedforward: Floats
    gains: Floats


@dataclass(frozen=True)
class Futures:
    """What K policies lead to, side by side.

    Attributes:
        physics: states ``[H + 1, K, S]``.
        actions: actions taken, within bounds ``[H, K, A]``.
        observations: ``[H + 1, K, D]``.
        alive: 1 while the episode goes on, before each step and at the end ``[H + 1, K]``.
        values: returns ``[K]``, with the terminal value; -inf where they are not finite.
    """

    physics: Floats
    actions: Floats
    observations: Floats
    alive: Floats
    values: Floats

    def best(self) -> Futures:
        """The best alone, K = 1."""
        k = [int(self.values.argmax())]
        pairs = self.physics[:, k], self.actions[:, k]
        return Futures(*pairs, self.observations[:, k], self.alive[:, k], self.values[k])


@dataclass(frozen=True)
class Costs:
    """Costs of the steps to second order in states and actions together, and of the end.

    Attributes:
        slope: ``[H, n + A]``.
        curvature: ``[H, n + A, n + A]``, positive semidefinite.
        final_slope: ``[n]``.
        final_curvature: ``[n, n]``, positive semidefinite.
    """

    slope: Floats
    curvature: Floats
    final_slope: Floats
    final_curvature: Floats


class ILQR:
    """A Controller that improves a plan by a Newton step along the trajectory, again and again.

    Derivatives of the physics are finite differences; those of the reward are torch's, chained
    through the derivatives of the observations. Of an observation's second derivatives, those along
    single coordinates are used (of ``cos θ``, all). Where a step's reward is not concave in state
    and action, the positive eigenvalues of its curvature are dropped, so that it is linear there.

    Nothing is earned after a plan terminates: such rewards are not in its value, nor do they have
    derivatives. Termination itself is a cliff of which no derivative tells; a policy that falls off
    it is turned down by the line search, if that lowers the return.

    Attributes:
        plan: what it last intended, None after a reset. There is no search distribution: the knots
            are the actions, and their spread is 0.
    """

    observes: Sensed = "state"

    def __init__(
        self,
        simulator: Simulator,
        spec: EnvSpec,
        config: ILQRConfig | None = None,
        terminal_value: TerminalValue | None = None,
    ) -> None:
        """Plan in the simulator's model; starts as after ``reset(0)``.

        Args:
            simulator: task, model, control period and threads; its variants play no part.
            spec: control period and bounds of the actions.
            config: settings.
            terminal_value: worth of where a plan ends, differentiable twice; None for nothing.

        Raises:
            ValueError: if the horizon is not at least one control period, or the task has servos
                beneath its actions.
        """
        self.simulator, self.terminal_value = simulator, terminal_value
        self.config = config or ILQRConfig()
        spline = spline_for(spec, self.config.horizon)
        self._horizon = spline.horizon
        self._low, self._high = (bound.double().numpy() for bound in (spline.low, spline.high))
        task, model, observe = simulator.task, simulator.model, simulator.task.observe
        require(
            task.servo is None, "task.servo", "none, as a plan has its own feedback", task.servo
        )
        assert observe is not None and task.reward is not None  # a simulator has both
        self._reward, self._terminated = task.reward, task.terminated or never
        self._linearizer = Linearizer(
            model, simulator.frame_skip, observe, task.fields, threads=simulator.threads
        )
        self._ctrl = state_slice(model, mujoco.mjtState.mjSTATE_CTRL)
        self._step_sizes = np.geomspace(1.0, 1e-3, self.config.step_sizes)
        self._simulations = {
            num: Simulations(model, num, observe, task.fields, simulator.threads)
            for num in {1, len(self._step_sizes)}
        }
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget the plan; nothing is random, so that the seed does not matter."""
        self.plan: Plan | None = None
        self._policy: Policy | None = None
        self._sensed: Floats | None = None
        self._regularization, self._change = self.config.regularization, 1.0

    @np.errstate(over="ignore", invalid="ignore")  # of simulations that diverge
    def act(self, sensed: Floats) -> Floats:
        """The first action ``[A]`` of the plan, improved from the physics state ``sensed[S]``.

        If nothing can be valued, the rest of the last plan, with ``plan.value`` -inf.

        Raises:
            ValueError: if ``sensed`` is no finite physics state; nothing was changed then.
        """
        sensed = checked(sensed)
        start = self.simulator.start(sensed, 1)
        policy = self._neutral(len(sensed)) if self._policy is None else _later(self._policy)
        nominal = self._follow(start, policy, np.zeros(1))
        if nominal.values[0] == -np.inf:  # where the last plan does not help, begin anew
            anew = self._neutral(len(sensed))
            nominal = self._follow(start, anew, np.zeros(1))
            policy = policy if nominal.values[0] == -np.inf else anew
        for _ in range(self.config.iterations):
            if nominal.values[0] == -np.inf:
                break
            nominal, policy = self._improve(start, nominal, policy)
        self._sensed = sensed
        if nominal.values[0] > -np.inf:
            physics, actions = nominal.physics[:-1, 0], nominal.actions[:, 0]
            policy = replace(policy, physics=physics, actions=actions)
        self._policy, self.plan = policy, _plan(policy.actions, nominal.values[0])
        first: Floats = policy.actions[0].copy()
        return first

    def predict(self) -> Trajectories:
        """What the simulator expects of the last plan, from where it was made, N = 1; for display.

        Raises:
            RuntimeError: if there is no plan yet.
        """
        if self.plan is None or self._sensed is None:
            raise RuntimeError("predict: expected a plan, got none yet; call act first")
        state = self.simulator.start(self._sensed, 1)
        return self.simulator.rollout(state, self.plan.actions[None], torch.Generator())

    def _improve(
        self, start: SimulatorState, nominal: Futures, policy: Policy
    ) -> tuple[Futures, Policy]:
        """One iteration: linearize, pass backward, search along the line, adapt."""
        physics, actions = nominal.physics[:, 0], nominal.actions[:, 0]
        live = int(nominal.alive[:-1].sum())  # what comes after termination does not matter
        steps = _first(self._linearizer.control_steps(physics[:-1], actions), live)
        seen = _first(self._linearizer.observations(physics), live + 1)
        feedforward, gains = np.zeros_like(actions), np.zeros((*actions.shape, seen.slope.shape[2]))
        try:
            feedforward[:live], gains[:live] = backward_pass(
                steps,
                self._costs(nominal, steps, seen),
                (self._low - actions)[:live],
                (self._high - actions)[:live],
                self._regularization,
            )
        except np.linalg.LinAlgError:  # too steep for the numbers, or not finite
            self._adapt(False)
            return nominal, policy
        candidate = Policy(physics[:-1], actions, feedforward, gains)
        if (np.abs(candidate.feedforward) <= self.config.tolerance * (1 + np.abs(actions))).all():
            return nominal, candidate
        found = self._follow(start, candidate, self._step_sizes).best()
        better = bool(found.values[0] > nominal.values[0])
        self._adapt(better)
        return (found, candidate) if better else (nominal, policy)

    def _adapt(self, better: bool) -> None:
        """Regularize less after a success, more after a failure, ever faster (2012, sec. II-F)."""
        cfg = self.config
        factor = cfg.regularization_factor
        self._change = (
            min(self._change, 1.0) / factor if better else max(self._change, 1.0) * factor
        )
        changed = self._regularization * self._change
        self._regularization = min(max(changed, cfg.regularization_min), cfg.regularization_max)

    def _follow(self, start: SimulatorState, policy: Policy, step_sizes: Floats) -> Futures:
        """The forward pass with K step sizes side by side."""
        simulations = self._simulations[len(step_sizes)]
        tangent, state = self._linearizer.tangent, simulations.state
        state[:] = start.physics
        physics, taken = [state.copy()], []
        fields: dict[str, list[Floats]] = {name: [] for name in simulations.fields}
        for x, u, feedforward, gain in zip(
            policy.physics, policy.actions, policy.feedforward, policy.gains, strict=True
        ):
            feedback = tangent.difference(state, x) @ gain.T
            action = u + step_sizes[:, None] * feedforward + feedback
            action = np.minimum(np.maximum(action, self._low), self._high)
            state[:, self._ctrl] = action
            simulations.step(self.simulator.frame_skip)
            taken.append(action)
            physics.append(state.copy())
            for name, values in simulations.fields.items():
                fields[name].append(values.copy())
        states = np.stack(physics)
        seen = simulations.observe(states[1:], {name: np.stack(f) for name, f in fields.items()})
        first = start.observation[None].repeat(len(state), 1)
        return self._valued(states, np.stack(taken), np.concatenate([first, seen]))

    def _valued(self, physics: Floats, actions: Floats, observations: Floats) -> Futures:
        """Add up what is earned while alive, and the worth of the end."""
        rewards = self._reward(observations[:-1], actions, observations[1:])
        goes_on = ~self._terminated(observations[1:])
        survived = np.cumprod(goes_on, axis=0, dtype=np.float64)
        alive = np.concatenate([np.ones_like(rewards[:1]), survived])
        earned = np.where(alive[:-1] > 0, rewards, 0.0).sum(axis=0)
        if self.terminal_value is not None:
            with torch.no_grad():
                worth = self.terminal_value(torch.from_numpy(observations[-1])).numpy()
            earned += np.where(alive[-1] > 0, worth, 0.0)
        values = np.where(np.isfinite(earned), earned, -np.inf)
        return Futures(physics, actions, observations, alive, values)

    def _costs(self, nominal: Futures, steps: Linearization, seen: ObservationExpansion) -> Costs:
        """Rewards and terminal value, negated, to second order along the steps that were lived."""
        live, dim, n = steps.h_x.shape
        observations, actions = nominal.observations[: live + 1, 0], nominal.actions[:live, 0]
        slope, curvature = derivatives(
            lambda z: self._reward(z[..., :dim], z[..., dim:-dim], z[..., -dim:]),
            np.concatenate([observations[:-1], actions, observations[1:]], axis=1),
        )
        slope, curvature = chain_rule(slope, curvature, steps, seen)
        costs = Costs(-slope, convex(-curvature), np.zeros(n), np.zeros((n, n)))
        if self.terminal_value is None or not nominal.alive[-1, 0]:
            return costs
        (slope,), (curvature,) = derivatives(self.terminal_value, observations[-1:])
        outer = seen.slope[-1]
        bend = np.diag(slope @ seen.curvature[-1])
        return replace(
            costs,
            final_slope=-slope @ outer,
            final_curvature=convex(-(outer.T @ curvature @ outer + bend)),
        )

    def _neutral(self, size: int) -> Policy:
        """Half way between the bounds, without feedback, whatever the state of that size."""
        actions = np.tile((self._low + self._high) / 2, (self._horizon, 1))
        gains = np.zeros((*actions.shape, self._linearizer.tangent.size))
        return Policy(np.zeros((self._horizon, size)), actions, np.zeros_like(actions), gains)


def backward_pass(
    steps: Linearization, costs: Costs, low: Floats, high: Floats, regularization: float
) -> tuple[Floats, Floats]:
    """Feedforward ``[H, A]``, within ``low[H, A] .. high[H, A]``, and gains ``[H, A, n]``.

    Equations 5 to 11 of the paper of 2014: a limited step where the quadratic model is least, and
    no feedback on actions that it holds at a limit.
    """
    horizon, n, actions = steps.f_u.shape
    step = np.concatenate([steps.f_x, steps.f_u], axis=2)
    feedforward, gains = np.zeros((horizon, actions)), np.zeros((horizon, actions, n))
    v_x, v_xx = costs.final_slope, costs.final_curvature
    response, damping = np.eye(n + actions, n), regularization * np.eye(actions)
    for t in reversed(range(horizon)):
        q = costs.slope[t] + step[t].T @ v_x
        q_q = costs.curvature[t] + step[t].T @ v_xx @ step[t]
        q_u, q_ux, q_uu = q[n:], q_q[n:, :n], q_q[n:, n:] + damping
        k, free = box_qp(q_uu, q_u, low[t], high[t])
        feedforward[t] = k
        gains[t, free] = -solve_definite(q_uu[free][:, free], q_ux[free])
        response[n:] = gains[t]
        v_x = response.T @ (q + q_q[:, n:] @ k)
        v_xx = response.T @ q_q @ response
    return feedforward, gains


Parts = TypeVar("Parts", Linearization, ObservationExpansion)


def _first(parts: Parts, count: int) -> Parts:
    """The first ``count`` time steps."""
    return replace(parts, **{name: values[:count] for name, values in vars(parts).items()})


def _later(policy: Policy) -> Policy:
    """The policy one control step later, its last step twice."""
    return Policy(*(np.concatenate([part[1:], part[-1:]]) for part in vars(policy).values()))


def _plan(actions: Floats, value: float) -> Plan:
    """Actions ``[H, A]`` as a plan."""
    intended = torch.from_numpy(actions.copy())
    none = intended.new_empty(0, *intended.shape)
    return Plan(intended, intended, torch.zeros_like(intended), none, float(value))
