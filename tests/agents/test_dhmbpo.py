"""Double-horizon MBPO: its values and gradients against brute force, its optimum against LQR."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are
from torch import Tensor

from mpc_robot.agents.actor_critic import ActorCritic, ActorCriticConfig
from mpc_robot.agents.dhmbpo import (
    DHMBPO,
    DHMBPOConfig,
    cautious,
    critic_loss,
    expanded_values,
    policy_loss,
    value_range,
)
from mpc_robot.agents.dhmbpo_presets import WARMUP_STEPS, dhmbpo_preset
from mpc_robot.agents.imagination import Imagined, imagine
from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.dynamics.ensemble_fit import FitConfig
from mpc_robot.envs import TASKS
from mpc_robot.envs.base import EnvSpec, Task

SPEC = EnvSpec(2, -2 * np.ones(1), 2 * np.ones(1), 0.1, 40)
A, B = np.array([[0.9, 0.1], [0.0, 0.9]]), np.array([[0.0], [0.2]])
Q, R = np.diag([1.0, 0.1]), np.array([[0.1]])
CART = Task("cart", "cart", terminated=lambda n: n[..., 0] > 1e9)
SMALL = DHMBPOConfig(
    ActorCriticConfig(
        (32,), (32,), activation="silu", learning_rate=3e-3, temperature=0.1, tau=0.05
    ),
    EnsembleConfig(members=3, elites=3, hidden=32, layers=1, propagation="ts1", particles=3),
    FitConfig(max_steps=100, learning_rate=3e-3, batch_size=64),
    discount=0.95,
    batch_size=64,
    rollouts=32,
    warmup_steps=80,
    fit_every=40,
    fit_growth=1e9,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def agent_of(task: Task = CART, **settings: Any) -> DHMBPO:
    return DHMBPO(task, SPEC, dataclasses.replace(SMALL, **settings), seed=0)


def episode(agent: DHMBPO, start: np.ndarray, explore: bool = True) -> float:
    """Return of one truncated episode from ``start [2]``; it learns where it explores."""
    state, total = start, 0.0
    for t in range(40):
        action = agent.act(state, explore)
        following = A @ state + B @ action
        earned = -float(state @ Q @ state + action @ R @ action)
        if explore:
            agent.observe(Experience(state, action, earned, following, False, t == 39))
            agent.update()
        state, total = following, total + earned
    return total


def random_path(horizon: int, batch: int) -> Imagined:
    """Anything at all, some of it dead."""
    drawn = generator(3)
    continues = torch.rand(horizon, batch, generator=drawn).clamp(max=0.8) / 0.8
    continues[1, 0] = 0.0
    survived = torch.cumprod(continues, dim=0)
    return Imagined(
        observation=torch.zeros(horizon + 1, batch, 2),
        action=torch.zeros(horizon + 1, batch, 1),
        log_prob=torch.randn(horizon + 1, batch, generator=drawn),
        reward=torch.randn(horizon, batch, generator=drawn),
        continues=continues,
        alive=torch.cat([torch.ones(1, batch), survived]),
    )


def brute_force(path: Imagined, last: Tensor, alpha: float, discount: float) -> Tensor:
    """Values as sums over all that follows, each term by its weight of surviving till then."""
    horizon, batch = path.reward.shape
    values = torch.zeros(horizon, batch)
    for t in range(horizon):
        for b in range(batch):
            weight = 1.0
            for k in range(t, horizon):
                entropy = 0.0 if k == t else -alpha * path.log_prob[k, b].item()
                values[t, b] += weight * (path.reward[k, b].item() + entropy)
                weight *= discount * path.continues[k, b].item()
            values[t, b] += weight * last[b].item()
    return values


def test_expanded_values_are_the_sums_of_what_follows() -> None:
    path, last = random_path(5, 4), torch.tensor([3.0, -1.0, 0.5, 10.0])
    expected = brute_force(path, last, 0.3, 0.9)
    found = expanded_values(path, last, torch.tensor(0.3), 0.9)
    torch.testing.assert_close(found, expected)
    loss = policy_loss(path, last, torch.tensor(0.3), 0.9)
    torch.testing.assert_close(loss, -(expected[0] - 0.3 * path.log_prob[0]).mean())


@pytest.mark.parametrize("task", [Task("all learned", ""), CART], ids=lambda task: task.name)
def test_the_policys_gradient_is_that_of_its_imagined_return(task: Task) -> None:
    """Against finite differences along random directions, with the same random numbers."""
    rng = generator()
    model = ProbabilisticEnsemble(task, SPEC, SMALL.ensemble, rng).double().requires_grad_(False)
    networks = ActorCritic(task, SPEC, SMALL.actor_critic, rng).double()
    start = torch.randn(16, 2, generator=rng).double()

    def loss() -> Tensor:
        path = imagine(model, networks, start, 4, generator(5))
        worth = networks.values(path.observation[-1], path.action[-1]).mean(dim=0)
        last = worth - networks.temperature * path.log_prob[-1]
        return policy_loss(path, last, networks.temperature, 0.9)

    parameters = list(networks.policy.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    for _ in range(3):
        along = [torch.randn(p.shape, generator=rng).double() for p in parameters]
        slope = sum((g * d).sum().item() for g, d in zip(gradients, along, strict=True))
        ends = []
        for shift in (1e-6, -2e-6, 1e-6):
            with torch.no_grad():
                for parameter, direction in zip(parameters, along, strict=True):
                    parameter.add_(shift * direction)
            ends.append(loss().item())
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-7)


def test_what_critics_do_not_agree_on_is_worth_less() -> None:
    values = torch.tensor([[3.0, 1.0], [3.0, 5.0], [3.0, 6.0]])
    torch.testing.assert_close(cautious(values, 0.0), torch.tensor([3.0, 4.0]))
    spread = (14.0 / 3.0) ** 0.5
    torch.testing.assert_close(cautious(values, 2.0), torch.tensor([3.0, 4.0 - 2.0 * spread]))
    alike = torch.full((3, 1), 2.0, requires_grad=True)
    cautious(alike, 1.0).sum().backward()
    assert alike.grad is not None and alike.grad.isfinite().all()


def test_what_is_dead_counts_for_nothing() -> None:
    values, target = torch.zeros(2, 4), torch.tensor([1.0, 2.0, 1e9, 3.0])
    alive = torch.tensor([1.0, 0.5, 0.0, 1.0])
    expected = 2 * 0.5 * (1.0 + 0.5 * 4.0 + 9.0) / 2.5
    assert critic_loss(values, target, alive).item() == pytest.approx(expected)
    assert critic_loss(values, target, torch.zeros(4)) == 0.0


@pytest.mark.parametrize(
    ("rewards", "low", "high"),
    [([-1.0, 4.0, 0.5], -10.0, 40.0), ([-3.0, -2.0], -30.0, 0.0), ([1.5, 1.5], 0.0, 15.0)],
)
def test_values_range_from_the_worst_to_the_best_that_rewards_add_up_to(
    rewards: list[float], low: float, high: float
) -> None:
    """An episode that ends earns nothing more: 0 is within."""
    assert value_range(np.array(rewards), 0.9) == pytest.approx((low, high))


def test_it_comes_close_to_the_optimal_regulator() -> None:
    agent = agent_of(updates_per_step=4)
    for start in np.random.default_rng(0).uniform(-1, 1, (6, 2)):
        episode(agent, start)
    here = np.ones(2)
    optimal = -here @ solve_discrete_are(A, B, Q, R) @ here
    assert optimal * 1.3 < episode(agent, here, explore=False) <= optimal * 0.999


def test_updates_make_up_for_the_warm_up() -> None:
    agent = agent_of(warmup_steps=10, updates_per_step=2, fit_every=100)
    for step in range(13):
        agent.observe(Experience(np.ones(2) * step, np.zeros(1), 0.0, np.ones(2), False, False))
        agent.update()
    taken = {name: s["0"]["step"] for name, s in agent.networks.optimizers_state().items()}
    assert taken == {"critic": 26, "policy": 26, "temperature": 26}


def test_the_model_is_fitted_the_sooner_the_fewer_steps_there_are() -> None:
    """First after the warm-up, then each quarter more, and at last every seven."""
    fit = FitConfig(max_steps=1)
    agent = agent_of(warmup_steps=8, fit_every=7, fit_growth=0.25, fit=fit, batch_size=4)
    fitted = []
    for step in range(1, 55):
        agent.observe(Experience(np.ones(2) * step, np.zeros(1), 0.0, np.ones(2), False, False))
        fitted += [step] if "model/steps" in agent.update() else []
    assert fitted == [8, 10, 13, 17, 22, 28, 35, 42, 49]


def test_the_newest_imagined_states_are_kept() -> None:
    agent = agent_of(rollouts_kept=3, rollouts=4, distribution_horizon=2)
    agent.observe(Experience(np.ones(2), np.zeros(1), 0.0, np.ones(2), False, False))
    seen = []
    for _ in range(5):
        agent.visit()
        seen.append(agent.state_dict()["visited"])
    assert [len(visited) for visited in seen] == [1, 2, 3, 3, 3]
    assert torch.equal(seen[4]["0"], seen[3]["1"]) and seen[4]["2"].shape == (12, 2)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(("seen", "reward"), [(0.0, 1e300), (1e39, 0.0)])
def test_a_model_that_diverges_is_put_back_and_training_goes_on(seen: float, reward: float) -> None:
    agent = agent_of(fit_every=20)
    for start in np.random.default_rng(0).uniform(-1, 1, (3, 2)):
        episode(agent, start)
    before = {name: value.clone() for name, value in agent.model.state_dict().items()}
    weights = agent.networks.policy.network.weights[0].detach().clone()
    there = np.full(2, seen)
    glitch = Experience(there, np.zeros(1), reward, there, False, False)
    diverged = []
    for _ in range(20):
        agent.observe(glitch)
        metrics = agent.update()
        diverged.append(metrics.get("model/diverged", 0.0))
        assert np.isfinite(list(metrics.values())).all()
    assert sum(diverged) == 1.0
    for name, value in agent.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not torch.equal(agent.networks.policy.network.weights[0], weights)
    assert np.isfinite(agent.act(np.zeros(2), explore=False)).all()


def test_presets_differ_by_their_warm_up_alone() -> None:
    assert set(WARMUP_STEPS) <= set(TASKS)
    for task in (*TASKS, "Nobody-v0"):
        preset = dhmbpo_preset(task)
        assert dataclasses.replace(preset, warmup_steps=7) == DHMBPOConfig(warmup_steps=7)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", 1.0),
        ("fit_growth", 0.0),
        ("fit_growth", np.inf),
        ("pessimism", -0.1),
        ("pessimism", np.inf),
        ("warmup_steps", 1),
        ("batch_size", 0),
        ("training_horizon", 0),
        ("distribution_horizon", 0),
        ("rollouts", 0),
        ("rollout_every", 0),
        ("rollouts_kept", 0),
        ("updates_per_step", 0),
        ("fit_every", 0),
    ],
)
def test_settings_that_make_no_sense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .*got"):
        dataclasses.replace(SMALL, **{field: value})
