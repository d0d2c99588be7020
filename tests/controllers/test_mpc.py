from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import torch
from torch import Tensor

from mpc_robot.controllers import (
    CEM,
    ICEM,
    MPC,
    MPPI,
    ActionSpline,
    CEMConfig,
    Controller,
    ICEMConfig,
    MPPIConfig,
    Plan,
    Score,
)
from mpc_robot.controllers.risk import worst
from mpc_robot.dynamics.base import Sensed, Trajectories, Transition

if TYPE_CHECKING:
    from tests.controllers.conftest import LinearQuadratic


@dataclass
class LinearDynamics:
    """The linear-quadratic problem as a model: P particles, each with its own process noise."""

    lq: Any
    particles: int = 1
    noise: float = 0.0
    observes: Sensed = "observation"

    def start(self, sensed: npt.NDArray[np.float64], num: int) -> Any:
        x = torch.tensor(sensed, dtype=torch.float32)
        return x.expand(num, self.particles, -1)

    def step(self, state: Tensor, action: Tensor, rng: torch.Generator) -> Transition[Tensor]:
        a, b, q, r = (
            torch.tensor(m, dtype=torch.float32)
            for m in (self.lq.a, self.lq.b, self.lq.q, self.lq.r)
        )
        noise = self.noise * torch.randn(1, *state.shape[1:], generator=rng)
        after = state @ a.T + (action @ b.T)[:, None] + noise
        control = ((action @ r) * action).sum(-1)
        reward = -((after @ q) * after).sum(-1) - control[:, None]
        return Transition(after, reward, torch.ones_like(reward))

    def rollout(self, state: Tensor, actions: Tensor, rng: torch.Generator) -> Trajectories:
        observations, rewards, continues = [state], [], []
        for action in actions.unbind(1):
            step = self.step(state, action, rng)
            state = step.state
            observations.append(state)
            rewards.append(step.reward)
            continues.append(step.continues)
        return Trajectories(
            torch.stack(observations, 2), torch.stack(rewards, 2), torch.stack(continues, 2)
        )


@dataclass
class Scripted:
    """A model whose every future is the given one, ``[P, H]`` rewards and continuations."""

    rewards: Any
    continues: Any
    last: Any
    observes: Sensed = "state"

    def start(self, sensed: npt.NDArray[np.float64], num: int) -> int:
        return num

    def step(self, state: int, action: Tensor, rng: torch.Generator) -> Transition[int]:
        raise NotImplementedError

    def rollout(self, state: int, actions: Tensor, rng: torch.Generator) -> Trajectories:
        rewards, continues = torch.tensor(self.rewards), torch.tensor(self.continues)
        last = torch.tensor(self.last)
        observations = torch.zeros(*rewards.shape[:1], rewards.shape[1] + 1, 1)
        observations[:, -1, 0] = last
        return Trajectories(
            observations.expand(state, -1, -1, -1),
            rewards.expand(state, -1, -1),
            continues.expand(state, -1, -1),
        )


class Inspector:
    """An optimizer that only asks for the score of its plan."""

    def initial(self) -> Plan:
        zeros = torch.zeros(2, 1)
        return Plan(zeros, zeros, zeros, zeros.new_empty(0, 2, 1))

    def shift(self, plan: Plan) -> Plan:
        return plan

    def optimize(self, score: Score, plan: Plan, rng: torch.Generator) -> Plan:
        return replace(plan, value=float(score(plan.actions[None])[0]))


def closed_loop_cost(lq: LinearQuadratic, controller: Controller, steps: int = 40) -> float:
    controller.reset(0)
    x: npt.NDArray[Any] = lq.start
    cost = 0.0
    for _ in range(steps):
        u = controller.act(x)
        x = lq.a @ x + lq.b @ u
        cost += float(x @ lq.q @ x + u @ lq.r @ u)
    return cost


def planned(mpc: MPC) -> Plan:
    assert mpc.plan is not None
    return mpc.plan


def infinite_horizon(lq: LinearQuadratic) -> tuple[float, npt.NDArray[np.float64]]:
    """The least cost from the start, and the matrix of the cost to go."""
    p = scipy.linalg.solve_discrete_are(lq.a, lq.b, lq.q, lq.r)
    return float(lq.start @ (p - lq.q) @ lq.start), p - lq.q


OPTIMIZERS = {
    "cem": (CEM, CEMConfig(num_samples=300, num_elites=20, iterations=8)),
    "icem": (ICEM, ICEMConfig(200, 5, 20, initial_std=0.2, noise_beta=0.5)),
    "mppi": (MPPI, MPPIConfig(500, 10, temperature=0.005, noise_std=0.1, std_rate=0.3)),
}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_closed_loop_costs_hardly_more_than_lqr(name: str, lq: LinearQuadratic) -> None:
    make, config = OPTIMIZERS[name]
    optimizer = make(ActionSpline(15, [-5.0], [5.0]), config)
    cost = closed_loop_cost(lq, MPC(LinearDynamics(lq), optimizer))
    optimum, _ = infinite_horizon(lq)
    assert optimum * 0.999 <= cost <= 1.05 * optimum


def test_terminal_value_replaces_the_rest_of_the_horizon(lq: LinearQuadratic) -> None:
    optimum, rest = infinite_horizon(lq)
    matrix = torch.tensor(rest, dtype=torch.float32)
    optimizer = CEM(ActionSpline(2, [-5.0], [5.0]), CEMConfig(min_std=0.01))
    short = MPC(LinearDynamics(lq), optimizer)
    informed = MPC(
        LinearDynamics(lq), optimizer, terminal_value=lambda x: -((x @ matrix) * x).sum(-1)
    )
    assert closed_loop_cost(lq, informed) <= 1.01 * optimum
    assert closed_loop_cost(lq, short) >= 1.3 * optimum


def test_score_is_the_mean_over_particles_of_discounted_survived_returns() -> None:
    rewards = [[1.0, 2.0], [10.0, 20.0]]
    continues = [[1.0, 0.5], [0.25, 1.0]]
    model = Scripted(rewards, continues, last=[3.0, 4.0])
    mpc = MPC(model, Inspector(), discount=0.5, terminal_value=lambda x: 100 * x[..., 0])
    mpc.act(np.zeros(1))
    first = 1 + 0.5 * 2 + 0.25 * 0.5 * 300
    second = 10 + 0.5 * 0.25 * 20 + 0.25 * 0.25 * 400
    assert planned(mpc).value == pytest.approx((first + second) / 2)
    assert mpc.observes == "state"


def test_risk_is_taken_over_whole_trajectories() -> None:
    model = Scripted([[10.0, 0.0], [0.0, 10.0]], [[1.0, 1.0], [1.0, 1.0]], last=[0.0, 0.0])
    mpc = MPC(model, Inspector(), risk=worst)
    mpc.act(np.zeros(1))
    assert planned(mpc).value == 10.0


def test_a_plan_can_be_followed_for_several_steps(lq: LinearQuadratic) -> None:
    optimizer = ICEM(ActionSpline(8, [-5.0], [5.0]))
    mpc, every_step = MPC(LinearDynamics(lq), optimizer, replan_every=3), noisy_mpc(lq)
    first = mpc.act(lq.start)
    intended, value = planned(mpc).actions, planned(mpc).value
    rng = mpc.rng.get_state()
    followed = [first, mpc.act(lq.start), mpc.act(lq.start)]
    np.testing.assert_array_equal(followed, intended[:3].double().numpy())
    assert planned(mpc).value == value
    assert torch.equal(mpc.rng.get_state(), rng)
    assert (mpc.act(lq.start) != intended[3].double().numpy()).any()
    mpc.reset(0)
    assert (mpc.act(lq.start) == first).all()
    with pytest.raises(ValueError, match="replan_every: expected at least 1"):
        MPC(every_step.dynamics, optimizer, replan_every=0)


def test_what_lies_beyond_certain_termination_is_worth_nothing_even_if_nan() -> None:
    model = Scripted([[1.0, 2.0]], [[1.0, 0.0]], last=[np.nan])
    mpc = MPC(model, Inspector(), terminal_value=lambda x: x[..., 0])
    mpc.act(np.zeros(1))
    assert planned(mpc).value == pytest.approx(3.0)


def noisy_mpc(lq: LinearQuadratic) -> MPC:
    dynamics = LinearDynamics(lq, particles=4, noise=0.05)
    return MPC(dynamics, ICEM(ActionSpline(8, [-5.0], [5.0])))


def test_reset_repeats_and_other_seeds_differ(lq: LinearQuadratic) -> None:
    mpc, untouched = noisy_mpc(lq), torch.get_rng_state()

    def actions(seed: int) -> npt.NDArray[np.float64]:
        mpc.reset(seed)
        return np.array([mpc.act(lq.start) for _ in range(3)])

    first = actions(5)
    assert (actions(5) == first).all()
    assert (actions(6) != first).any()
    assert torch.equal(torch.get_rng_state(), untouched)
    assert first.dtype == np.float64
    assert first.shape == (3, 1)


def test_plan_and_rng_are_all_there_is_to_save(lq: LinearQuadratic) -> None:
    mpc, twin = noisy_mpc(lq), noisy_mpc(lq)
    for _ in range(3):
        mpc.act(lq.start)
    twin.plan = mpc.plan
    twin.rng.set_state(mpc.rng.get_state())
    assert (twin.act(lq.start) == mpc.act(lq.start)).all()


def test_warm_start_continues_the_last_plan(lq: LinearQuadratic) -> None:
    """One weak iteration per step gets there only because every step goes on from the last."""
    optimizer = CEM(ActionSpline(12, [-5.0], [5.0]), CEMConfig(100, 10, 1, initial_std=0.1))

    class Forgetful(CEM):
        def shift(self, plan: Plan) -> Plan:
            return self.initial()

    cold = Forgetful(optimizer.spline, optimizer.config)
    warm_cost = closed_loop_cost(lq, MPC(LinearDynamics(lq), optimizer))
    assert warm_cost < 0.9 * closed_loop_cost(lq, MPC(LinearDynamics(lq), cold))


def test_predict_shows_the_plan_and_changes_nothing(lq: LinearQuadratic) -> None:
    mpc, twin = noisy_mpc(lq), noisy_mpc(lq)
    with pytest.raises(RuntimeError, match="call act first"):
        mpc.predict()
    mpc.act(lq.start)
    twin.act(lq.start)
    futures = mpc.predict()
    assert futures.observations.shape == (1, 4, 9, 2)
    np.testing.assert_allclose(futures.observations[0, :, 0], [lq.start] * 4)
    first = lq.a @ lq.start + lq.b @ planned(mpc).actions[0].numpy()
    np.testing.assert_allclose(futures.observations[0, :, 1].mean(0), first, atol=0.15)
    assert (mpc.act(lq.start) == twin.act(lq.start)).all()


def test_a_model_that_knows_nothing_leaves_the_rest_of_the_plan(lq: LinearQuadratic) -> None:
    mpc = noisy_mpc(lq)
    mpc.act(lq.start)
    intended = planned(mpc).actions
    mpc.dynamics = LinearDynamics(lq, noise=float("nan"))
    assert (mpc.act(lq.start) == intended[1].double().numpy()).all()
    assert planned(mpc).value == -np.inf


@pytest.mark.parametrize(
    ("sensed", "message"),
    [
        (np.array([0.0, np.nan]), r"sensed\[1\]: expected a finite number, got nan"),
        (np.array([np.inf, 0.0]), r"sensed\[0\]: expected a finite number, got inf"),
        (np.zeros((1, 2)), r"sensed: expected shape \(D,\), got \(1, 2\)"),
    ],
)
def test_bad_observations_are_refused_before_anything_changes(
    sensed: npt.NDArray[np.float64], message: str, lq: LinearQuadratic
) -> None:
    mpc = noisy_mpc(lq)
    mpc.act(lq.start)
    plan, state = mpc.plan, mpc.rng.get_state()
    with pytest.raises(ValueError, match=message):
        mpc.act(sensed)
    assert mpc.plan is plan
    assert torch.equal(mpc.rng.get_state(), state)


def test_impossible_discounts_are_refused(lq: LinearQuadratic) -> None:
    with pytest.raises(ValueError, match="discount: expected"):
        MPC(LinearDynamics(lq), Inspector(), discount=1.5)


def test_no_gradient_is_recorded_while_planning(lq: LinearQuadratic) -> None:
    class Learned(LinearDynamics):
        def step(self, state: Tensor, action: Tensor, rng: torch.Generator) -> Transition[Tensor]:
            recorded.append(torch.is_grad_enabled())
            return super().step(state, action, rng)

    recorded: list[bool] = []
    MPC(Learned(lq), ICEM(ActionSpline(3, [-5.0], [5.0]))).act(lq.start)
    assert recorded
    assert not any(recorded)


def test_a_plan_can_be_moved_on_by_several_steps(lq: LinearQuadratic) -> None:
    mpc = noisy_mpc(lq)
    mpc.skip(3)
    assert mpc.plan is None
    mpc.act(lq.start)
    actions = planned(mpc).actions
    mpc.skip(3)
    later = torch.cat([actions[3:], actions[-1:].expand(3, -1)])
    assert torch.equal(planned(mpc).actions, later)
    mpc.skip(10**12)  # after hours in which nothing was planned, and in no time
    assert torch.equal(planned(mpc).actions, actions[-1:].expand_as(actions))


@pytest.mark.parametrize("search", [CEM, MPPI])
def test_a_search_whose_time_is_up_keeps_the_best_so_far(
    search: Callable[..., Any], lq: LinearQuadratic
) -> None:
    config = CEMConfig if search is CEM else MPPIConfig
    spline = ActionSpline(8, [-5.0], [5.0])

    def plan(iterations: int, budget: float) -> Plan:
        optimizer = search(spline, config(iterations=iterations))
        mpc = MPC(LinearDynamics(lq), optimizer, budget=budget)
        mpc.act(lq.start)
        return planned(mpc)

    hurried, once, patient = plan(5, 1e-9), plan(1, math.inf), plan(5, 60.0)
    assert torch.equal(hurried.actions, once.actions)
    assert hurried.value == once.value < patient.value
    with pytest.raises(ValueError, match="budget: expected positive, got 0"):
        plan(1, 0)
