"""The gradients of MuZero against those of a loss written out position by position."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.agents.muzero import MuZero, MuZeroConfig
from mpc_robot.data.replay import Experience
from mpc_robot.data.searched import Opinions
from mpc_robot.dynamics.muzero import MuZeroModelConfig
from mpc_robot.envs import DiscreteSpec, EnvSpec, Task
from mpc_robot.nn.descent import DescentConfig

SMALL = MuZeroConfig(
    MuZeroModelConfig(latent=6, hidden=16, support=5.0, bins=21, candidates=2),
    simulations=4,
    discount=0.8,
    unroll=3,
    n_step=2,
    value_weight=0.4,
    consistency_weight=1.5,
    entropy_weight=0.3,
    batch_size=60,
    warmup_steps=1,
    descent=DescentConfig(1e-12, "norm", 1e9),
    priority_exponent=0.7,
    importance_exponent=0.6,
    reanalyse_batch=50,
)
NUMBERED = DiscreteSpec(3, 2, 0.1, 10)
MOVED = EnvSpec(3, -np.ones(1), np.ones(1), 0.1, 10)
ENDS = ((4, "terminated"), (3, "truncated"), (1, "terminated"), (5, ""))
"""Steps of each episode, and how it ended; the last has not."""


@dataclass
class Episode:
    """What was put into the replay, from position ``begins`` on."""

    begins: int
    terminated: bool
    seen: list[Any]
    action: list[Any]
    reward: list[float]
    candidates: list[Any]
    policy: list[Any]
    value: list[float]


def lived(agent: MuZero) -> list[Episode]:
    """Episodes that the agent remembers; one reward is beyond what its support can say."""
    rng, episodes, begins = np.random.default_rng(0), list[Episode](), 0
    for steps, end in ENDS:
        seen = list(rng.normal(size=(steps + 1, 3)))
        numbered = isinstance(agent.spec, DiscreteSpec)
        action = rng.integers(2, size=(steps, 1)) if numbered else rng.uniform(-1, 1, (steps, 1))
        candidates = rng.normal(size=(steps, 2, 1))
        if numbered:
            candidates = np.tile([[0.0], [1.0]], (steps, 1, 1))
        reward, value = 3.0 * rng.normal(size=steps), 3.0 * rng.normal(size=steps + 1)
        reward[-1] += 500.0 * (steps == 3)
        policy = rng.dirichlet((1.0, 1.0), steps)
        value[-1] *= end != "terminated"
        for t in range(steps):
            opinions = Opinions(candidates[None, t], policy[None, t], value[None, t])
            flags = [t == steps - 1 and end == name for name in ("terminated", "truncated")]
            step = Experience(seen[t], action[t], float(reward[t]), seen[t + 1], *flags)
            agent.replay.add(step, action[t].astype(np.float32), opinions, float(value[t + 1]))
        columns: Any = (seen, action, reward, candidates, policy, value)
        episodes.append(Episode(begins, end == "terminated", *map(list, columns)))
        begins += steps + 1
    return episodes


def n_step_return(of: Episode, t: int, discount: float) -> float:
    """Two rewards and the value beyond them, or what there is of them."""
    total, weight, steps = 0.0, 1.0, len(of.reward)
    for k in (t, t + 1):
        if k >= steps:
            return total + weight * of.value[steps]
        total, weight = total + weight * of.reward[k], weight * discount
    return float(total + weight * of.value[t + 2])


class ByHand:
    """The loss of positions ``rows``, drawn with ``probability``, one after the other."""

    def __init__(self, agent: MuZero, episodes: list[Episode], players: int) -> None:
        self.model, self.discount = agent.model, 0.8 if players == 1 else -0.8
        self.rows, probability = agent.replay.draw(60, agent.rng)
        self.places = [
            next((of, row - of.begins) for of in reversed(episodes) if of.begins <= row)
            for row in self.rows
        ]
        self.said = list[float]()
        importance = [(probability.min() / each) ** 0.6 for each in probability]
        self.loss = torch.zeros(())
        for i, (of, t) in enumerate(self.places):
            beside, at = self.places[i - 1]
            self.loss = self.loss + importance[i] * self.of_row(of, t, beside.action[at]) / 60

    def of_row(self, of: Episode, t: int, otherwise: Any) -> Tensor:
        """From what was seen at ``t`` on; ``otherwise`` is done where all is over."""
        latent = self.represented(of.seen[t])
        loss = self.of_position(of, t, latent)
        self.said.append(self.model.numbers.mean(self.model.predict(latent)[1]).item())
        for k in range(t, t + 3):
            going = k < len(of.reward)
            taken = torch.tensor(of.action[k] if going else otherwise).float()[None]
            halved = 0.5 * latent + 0.5 * latent.detach()
            latent, effect = self.model.advance(halved, taken)
            loss = loss + self.of_position(of, k + 1, latent) / 3
            if going or of.terminated:
                earned = torch.tensor([of.reward[k] if going else 0.0]).float()
                loss = loss + self.model.numbers.loss(self.model.reward(effect), earned).sum() / 3
            if going:
                seen = self.model.projection(self.represented(of.seen[k + 1])).detach()[0]
                told = self.model.projected(self.model.projection(latent))[0]
                loss = loss - 1.5 * (told @ seen) / (told.norm() * seen.norm()) / 3
            if going and self.model.going is not None:
                goes_on = k + 1 < len(of.reward) or not of.terminated
                odds = self.model.going(effect)[0, 0]
                loss = loss - torch.nn.functional.logsigmoid(odds if goes_on else -odds) / 3
        return loss

    def of_position(self, of: Episode, t: int, latent: Tensor) -> Tensor:
        """What is said of a hidden state to do, and of what it is worth."""
        policy, value = self.model.predict(latent)
        loss = torch.zeros(())
        if t < len(of.reward) or of.terminated:
            worth = n_step_return(of, t, self.discount)
            loss = loss + 0.4 * self.model.numbers.loss(value, torch.tensor([worth])).sum()
        if t < len(of.reward):
            candidates = torch.tensor(of.candidates[t]).float()
            log_prob = self.model.choices.log_prob(policy[0], candidates)
            loss = loss - of.policy[t][0] * log_prob[0] - of.policy[t][1] * log_prob[1]
            loss = loss - 0.3 * self.model.choices.entropy(policy[0])
        return loss

    def represented(self, seen: Any) -> Tensor:
        """The hidden state of one observation."""
        return self.model.represent(torch.tensor(seen).float()[None])


def agent_of(spec: Any, players: int = 1) -> MuZero:
    """A learner whose model says something of everything."""
    agent = MuZero(Task("task", "task"), spec, SMALL, seed=0, players=players)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in agent.model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
    return agent


@pytest.mark.parametrize(
    ("spec", "players"),
    [(NUMBERED, 1), (MOVED, 1), (NUMBERED, 2)],
    ids=["numbers", "moves", "players"],
)
def test_the_model_follows_the_gradient_of_its_loss(spec: Any, players: int) -> None:
    agent = agent_of(spec, players)
    episodes = lived(agent)
    acted = np.array([of.begins + t for of in episodes for t in range(len(of.reward))])
    priority = np.linspace(0.5, 2.0, len(acted))
    agent.replay.prioritise(acted, priority)
    then = copy.deepcopy(agent)
    agent.learn()
    expected = ByHand(then, episodes, players)
    assert set(expected.rows) == set(acted), "each position is learned from"
    parameters = list(then.model.parameters())
    gradients = torch.autograd.grad(expected.loss, parameters)
    for parameter, gradient in zip(agent.model.parameters(), gradients, strict=True):
        assert parameter.grad is not None and gradient.abs().max() > 1e-6
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4)
    most, kept = then.model.numbers.greatest, agent.replay.state_dict()["priority"]
    for row, (of, t), said in zip(expected.rows, expected.places, expected.said, strict=True):
        worth = min(max(n_step_return(of, t, expected.discount), -most), most)
        assert kept[row] == pytest.approx((abs(said - worth) + 1e-3) ** 0.7, rel=1e-3)


def test_old_positions_are_searched_with_the_model_as_it_was() -> None:
    agent = agent_of(NUMBERED)
    lived(agent)
    agent.target.load_state_dict(agent.model.state_dict())
    with torch.no_grad():  # one is sure of the first, and the other of the second
        for model, best in ((agent.target, [9.0, -9.0]), (agent.model, [-9.0, 9.0])):
            head: Any = model.policy[-1]
            head.weight.zero_()
            head.bias.copy_(torch.tensor(best))
    for best in (0, 1):
        agent.reanalyse()
        policy = agent.replay.opinions(np.array([0, 5, 9])).policy
        assert (policy[:, best] > 0.9).all()
        agent.follow()


def test_what_is_seen_is_scaled_by_all_that_was() -> None:
    agent = agent_of(NUMBERED)
    seen = np.concatenate([of.seen for of in lived(agent)])
    agent.follow()
    for model in (agent.model, agent.target):
        scale = model.features.normalizer
        np.testing.assert_allclose(scale.mean, seen.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(scale.std, seen.std(axis=0), rtol=1e-4)


def test_where_the_clock_ends_an_episode_it_is_worth_what_the_model_says() -> None:
    agent, (here, there) = agent_of(NUMBERED), np.eye(3)[:2]
    agent.act(here, explore=False)
    agent.observe(Experience(here, np.zeros(1), 1.0, there, False, True))
    held = agent.replay.opinions(np.arange(2))
    assert held.value.tolist() == [agent.model.evaluate(x[None])[0] for x in (here, there)]
    assert held.value[0] != held.value[1]
    assert not held.policy.any(), "what is done when it matters is not what was explored"
