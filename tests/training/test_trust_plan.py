"""Plans are held to what they promise, and to what perfect knowledge earns."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from mpc_robot.controllers.base import Plan
from mpc_robot.controllers.icem import ICEM, ICEMConfig
from mpc_robot.controllers.mpc import MPC
from mpc_robot.controllers.parameterization import ActionSpline
from mpc_robot.dynamics.base import Trajectories
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import Task, get_task
from mpc_robot.training.evaluation import Episode, evaluate
from mpc_robot.training.trust_plan import earned, oracle, rehearse

Array = np.ndarray[Any, Any]
BALANCE = get_task("CartpoleBalance-v0")


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("steps", [1, 3, 4, 9])
def test_what_was_earned_is_summed_by_hand(terminated: bool, steps: int) -> None:
    rewards = np.random.default_rng(0).normal(size=steps)
    episode = Episode(
        np.zeros((steps + 1, 1)), np.zeros((steps, 1)), rewards, terminated, not terminated
    )
    last = steps if terminated else steps - 3
    by_hand = [sum(0.9**j * r for j, r in enumerate(rewards[t : t + 4])) for t in range(last)]
    np.testing.assert_allclose(earned(episode, 4, 0.9), by_hand)


class Steady:
    """Plans the same ten steps whatever the model says."""

    def initial(self) -> Plan:
        actions = torch.full((10, 1), 0.3)
        return Plan(actions, actions, torch.zeros(10, 1), torch.empty(0, 10, 1))

    def shift(self, plan: Plan) -> Plan:
        return plan

    def optimize(self, score: Any, plan: Plan, rng: torch.Generator) -> Plan:
        return plan


class Flattering:
    """The simulator, but every reward is 0.25 more."""

    observes = "state"

    def __init__(self, task: Task) -> None:
        self.truth = Simulator(task, threads=1)

    def start(self, sensed: Array, num: int) -> Any:
        return self.truth.start(sensed, num)

    def rollout(self, state: Any, actions: torch.Tensor, rng: torch.Generator) -> Trajectories:
        futures = self.truth.rollout(state, actions, rng)
        return dataclasses.replace(futures, rewards=futures.rewards + 0.25)


def test_a_plan_in_the_simulator_promises_what_is_earned() -> None:
    rehearsal = rehearse(BALANCE, MPC(Simulator(BALANCE, 1), Steady(), 0.95), 2, 3, max_steps=25)
    assert len(rehearsal.expected) == 2 * 16
    np.testing.assert_allclose(rehearsal.expected, rehearsal.realised, rtol=1e-9)
    assert rehearsal.realised.std() > 0.01
    again = evaluate(BALANCE, MPC(Simulator(BALANCE, 1), Steady()), 2, 3, max_steps=25)
    assert (again.returns == rehearsal.evaluation.returns).all()


def test_optimism_is_what_a_flattering_model_adds() -> None:
    flattered = rehearse(BALANCE, MPC(Flattering(BALANCE), Steady()), 1, 3, max_steps=25)  # type: ignore[arg-type]
    assert flattered.optimism == pytest.approx(10 * 0.25)
    short = rehearse(BALANCE, MPC(Flattering(BALANCE), Steady()), 1, 3, max_steps=9)  # type: ignore[arg-type]
    assert math.isnan(short.optimism)


def test_the_oracle_is_the_same_planner_in_the_simulator() -> None:
    planner = MPC(Flattering(BALANCE), Steady(), 0.9)  # type: ignore[arg-type]
    best = oracle(BALANCE, planner)
    assert isinstance(best.dynamics, Simulator)
    assert best.optimizer is planner.optimizer and best.discount == 0.9
    with pytest.raises(ValueError, match="Pendulum-v1: a simulator needs observe and reward"):
        oracle(get_task("Pendulum-v1"), planner)


def test_the_oracle_can_ask_a_learned_value_in_float32() -> None:
    weights = torch.linspace(-1.0, 1.0, 5)
    spline = ActionSpline(10, np.array([-1.0]), np.array([1.0]))
    search = ICEM(spline, ICEMConfig(num_samples=8, num_elites=2, iterations=1))
    planner = MPC(Simulator(BALANCE, 1), search, 0.9, lambda last: last @ weights)
    rehearsal = rehearse(BALANCE, oracle(BALANCE, planner), 1, 3, max_steps=12)
    assert np.isfinite(rehearsal.expected).all() and len(rehearsal.expected) == 3
