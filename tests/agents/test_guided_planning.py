"""Planning around a policy: what it proposes, and what closes the horizon."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mpc_robot.agents.actor_critic import ActorCritic, ActorCriticConfig
from mpc_robot.agents.guided_planning import (
    GuidedPlanningConfig,
    PolicyProposals,
    guided_planner,
)
from mpc_robot.controllers import ActionSpline, ICEMConfig
from mpc_robot.controllers.sampling import rest_plan
from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.envs.base import EnvSpec, Task
from mpc_robot.envs.rewards import never

SPEC = EnvSpec(2, -2 * np.ones(1), 2 * np.ones(1), 0.1, 40)
TASK = Task("cart", "cart", reward=lambda o, a, n: -(n**2).sum(-1), terminated=never)
HERE = np.array([0.4, -0.2])
HORIZON = 4


def parts(seed: int = 0) -> tuple[ProbabilisticEnsemble, ActorCritic]:
    """A model without noise or doubt, and networks that nobody has trained."""
    rng = torch.Generator().manual_seed(seed)
    shape = EnsembleConfig(
        members=1, elites=1, hidden=16, layers=1, particles=1, propagation="mean"
    )
    model = ProbabilisticEnsemble(TASK, SPEC, shape, rng)
    with torch.no_grad():
        model.min_log_variance.fill_(-40.0)
        model.max_log_variance.fill_(-39.0)
    return model, ActorCritic(TASK, SPEC, ActorCriticConfig((16,), (16,)), rng)


@torch.no_grad()
def test_the_policy_is_the_mean_and_its_samples_are_candidates() -> None:
    model, networks = parts()
    spline = ActionSpline(HORIZON, SPEC.action_low, SPEC.action_high)
    rest = rest_plan(spline, torch.ones(1))
    rng = torch.Generator().manual_seed(1)
    plan = PolicyProposals(model, networks, 6)(HERE, rest, rng)
    state = torch.tensor(HERE, dtype=torch.float32)[None]
    for action in plan.knots:
        torch.testing.assert_close(action[None], networks.mode(state))
        state = model.predict(state, action[None]).mean[0]
    assert plan.elites.shape == (7, HORIZON, 1)
    assert torch.equal(plan.elites[0], plan.knots)
    assert plan.elites.std(dim=0).min() > 0.01
    assert plan.elites.abs().max() <= 2.0
    again = PolicyProposals(model, networks, 6)(HERE, plan, rng)
    assert torch.equal(again.elites[:7], plan.elites), "those of the last plan are kept"


def test_no_plan_is_worse_than_what_the_policy_would_do() -> None:
    model, networks = parts()
    config = GuidedPlanningConfig(ICEMConfig(8, 2, 4, initial_std=2.0), HORIZON, proposals=3)
    planner = guided_planner(model, networks, SPEC, 0.9, config)
    planner.act(HERE)
    assert planner.plan is not None
    with torch.no_grad():
        state, expected = torch.tensor(HERE, dtype=torch.float32)[None], 0.0
        for t in range(HORIZON):
            action = networks.mode(state)
            following = model.predict(state, action).mean[0]
            expected += 0.9**t * float(TASK.reward(state, action, following))  # type: ignore[misc]
            state = following
        expected += 0.9**HORIZON * float(networks.values(state, networks.mode(state)).mean())
    assert planner.plan.value >= expected - 1e-4


def test_critics_close_the_horizon() -> None:
    values = []
    for beyond in (0.0, 7.0):
        model, networks = parts()
        with torch.no_grad():
            networks.critic.network.weights[-1].zero_()
            networks.critic.network.biases[-1].fill_(beyond)
        planner = guided_planner(model, networks, SPEC, 0.9, GuidedPlanningConfig(horizon=HORIZON))
        planner.act(HERE)
        assert planner.plan is not None
        values.append(planner.plan.value)
    assert values[1] - values[0] == pytest.approx(0.9**HORIZON * 7.0, abs=1e-4)


def test_the_same_seed_gives_the_same_actions() -> None:
    planner = guided_planner(*parts(), SPEC, 0.9)
    actions = []
    for _ in range(2):
        planner.reset(5)
        actions.append([planner.act(HERE), planner.act(0.9 * HERE)])
    np.testing.assert_array_equal(actions[0], actions[1])


def test_settings_that_make_no_sense_are_named() -> None:
    with pytest.raises(ValueError, match="horizon: expected at least 1 step, got 0"):
        dataclasses.replace(GuidedPlanningConfig(), horizon=0)
    with pytest.raises(ValueError, match="proposals: expected not negative, got -1"):
        dataclasses.replace(GuidedPlanningConfig(), proposals=-1)
