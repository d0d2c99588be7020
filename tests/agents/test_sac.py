"""SAC against values worked out by hand and problems whose answer is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from mpc_robot.agents.actor_critic import ActorCritic, ActorCriticConfig
from mpc_robot.agents.off_policy import uniform_action
from mpc_robot.agents.sac import SAC, SACConfig, critic_loss, policy_loss
from mpc_robot.data.replay import Batch, Experience
from mpc_robot.envs.base import EnvSpec, Task
from mpc_robot.nn.critic import QEnsemble

SPEC = EnvSpec(1, -2 * np.ones(1), 2 * np.ones(1), 0.1, 100)
TASK = Task("task", "task")
NETS = ActorCriticConfig(hidden=(32,), critic_hidden=(32,), learning_rate=5e-3, tau=0.05)
SMALL = SACConfig(NETS, batch_size=64, warmup_steps=100)
COLD = dataclasses.replace(NETS, temperature=1e-9)
"""Entropy counts for nothing."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def say(critics: QEnsemble, *values: float) -> None:
    """Make each critic say the same of everything."""
    with torch.no_grad():
        for weight in critics.network.weights:
            weight.zero_()
        critics.network.biases[-1][:, 0, 0] = torch.tensor(values)


def test_the_critics_loss_by_hand() -> None:
    """Targets are 1 + 0.9 x 10, 2 and -3 + 0.9 x 10: the second step terminated."""
    networks = ActorCritic(TASK, SPEC, COLD, generator())
    say(networks.critic, 3.0, 5.0)
    say(networks.target, 10.0, 20.0)
    reward, continues = torch.tensor([1.0, 2.0, -3.0]), torch.tensor([1.0, 0.0, 1.0])
    batch = Batch(torch.zeros(3, 1), torch.zeros(3, 1), reward, torch.zeros(3, 1), continues)
    expected = 0.5 * ((49 + 1 + 9) / 3 + (25 + 9 + 1) / 3)
    loss = critic_loss(networks, batch, 0.9, generator())
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_entropy_is_part_of_what_follows() -> None:
    networks = ActorCritic(TASK, SPEC, dataclasses.replace(NETS, temperature=0.5), generator())
    say(networks.critic, 0.0, 0.0)
    say(networks.target, 1.0, 1.0)
    states = torch.randn(50, 1, generator=generator(1))
    batch = Batch(states, states, torch.zeros(50), states, torch.ones(50))
    _, log_prob = networks.act(states, generator(2))
    expected = ((0.9 * (1.0 - 0.5 * log_prob)) ** 2).mean()
    loss = critic_loss(networks, batch, 0.9, generator(2))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "dropout", "worth"),
    [((3.0, 5.0), 0.0, 3.0), ((1.0, 3.0, 8.0), 0.0, 4.0), ((3.0, 5.0), 0.1, 4.0)],
    ids=["sac", "redq", "droq"],
)
def test_the_policys_loss_by_hand(values: tuple[float, ...], dropout: float, worth: float) -> None:
    """Two critics count by the least, more of them or such that drop out by their mean."""
    config = dataclasses.replace(COLD, critics=len(values), dropout=dropout)
    networks = ActorCritic(TASK, SPEC, config, generator())
    say(networks.critic, *values)
    loss, log_prob = policy_loss(networks, torch.zeros(5, 1), generator())
    assert loss.item() == pytest.approx(-worth, rel=1e-5)
    assert log_prob.shape == (5,)


def test_what_drops_out_does_so_in_targets_and_for_the_policy_too() -> None:
    """DroQ, arXiv:2110.02034, algorithm 2: all critics are drawn anew wherever they are asked."""
    states = torch.randn(40, 1, generator=generator(1))
    batch = Batch(states, states, torch.zeros(40), states, torch.ones(40))
    for dropout, alike in ((0.0, True), (0.5, False)):
        config = dataclasses.replace(COLD, dropout=dropout)
        networks = ActorCritic(TASK, SPEC, config, generator())
        with torch.no_grad():
            for weight in networks.policy.network.weights:
                weight.zero_()
            networks.policy.network.biases[-1].fill_(-50.0)  # the same action always
        soft = [networks.soft_value(states, generator(seed)) for seed in (2, 3)]
        losses = [policy_loss(networks, states, generator(seed))[0] for seed in (2, 3)]
        assert torch.allclose(*soft) == alike
        assert torch.allclose(*losses) == alike
        assert critic_loss(networks, batch, 0.9, generator()).isfinite()


def test_random_actions_are_uniform_within_bounds() -> None:
    spec = dataclasses.replace(SPEC, action_low=np.array([-1.0, 2.0]), action_high=np.array([3, 5]))
    drawn, rng = np.empty((2000, 2)), generator()
    for row in drawn:
        row[:] = uniform_action(spec, rng)
    assert (drawn >= [-1, 2]).all() and (drawn <= [3, 5]).all()
    np.testing.assert_allclose(drawn.mean(axis=0), [1.0, 3.5], atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), np.array([4, 3]) / np.sqrt(12), rtol=0.05)


@pytest.mark.parametrize(
    "settings",
    [{}, {"critics": 4, "subset": 2}, {"layer_norm": True, "dropout": 0.01}],
    ids=["sac", "redq", "droq"],
)
def test_it_learns_the_best_action_of_a_bandit(settings: dict[str, Any]) -> None:
    """One step from s by a earns ``-(a - 1.2 s)²``: the best action is 1.2 s, and earns 0."""
    nets = dataclasses.replace(NETS, target_entropy=-3.0, temperature=0.1, **settings)
    agent = SAC(TASK, SPEC, dataclasses.replace(SMALL, actor_critic=nets), seed=0)
    rng = np.random.default_rng(0)
    for _ in range(600):
        state = rng.uniform(-1, 1, 1)
        action = agent.act(state, explore=True)
        earned = -float((action[0] - 1.2 * state[0]) ** 2)
        agent.observe(Experience(state, action, earned, state, True, False))
        agent.update()
    policy = agent.controller()
    states = np.linspace(-0.9, 0.9, 7)
    errors = [policy.act(np.array([s]))[0] - 1.2 * s for s in states]
    assert np.abs(errors).max() < 0.25
    rows = torch.tensor(states, dtype=torch.float32)[:, None]
    for beside in (0.0, -1.0):
        misjudged = agent.networks.values(rows, 1.2 * rows + beside) + beside**2
        assert misjudged.abs().mean() < 0.2


@pytest.mark.parametrize(("ends", "worth"), [("terminated", 1.0), ("truncated", 5.0)])
def test_the_clock_is_not_the_end(ends: str, worth: float) -> None:
    """A reward of 1 at every step is worth 1 if there are no more, 1 / (1 - 0.8) if there are."""
    agent = SAC(TASK, SPEC, dataclasses.replace(SMALL, actor_critic=COLD, discount=0.8), seed=0)
    step = Experience(np.zeros(1), np.zeros(1), 1.0, np.zeros(1), False, False)
    rng = np.random.default_rng(0)
    for _ in range(500):
        action = rng.uniform(-2, 2, 1)
        agent.observe(dataclasses.replace(step, action=action, **{ends: True}))
        agent.update()
    values = agent.networks.values(torch.zeros(5, 1), torch.linspace(-2, 2, 5)[:, None])
    torch.testing.assert_close(values, torch.full_like(values, worth), rtol=0.1, atol=0.0)


def test_updates_per_step_are_the_critics_and_the_policys_is_the_last() -> None:
    config = dataclasses.replace(SMALL, warmup_steps=3, batch_size=4, updates_per_step=5)
    agent = SAC(TASK, SPEC, config, seed=0)
    for _ in range(4):
        agent.observe(Experience(np.zeros(1), np.zeros(1), 0.0, np.ones(1), False, False))
        agent.update()
    taken = {name: state["0"]["step"] for name, state in agent.networks.optimizers_state().items()}
    assert taken == {"critic": 10, "policy": 2, "temperature": 2}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", 0.0),
        ("discount", 1.0),
        ("batch_size", 0),
        ("updates_per_step", 0),
        ("warmup_steps", 0),
        ("capacity", 0),
    ],
)
def test_settings_that_make_no_sense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .*got"):
        dataclasses.replace(SMALL, **{field: value})
