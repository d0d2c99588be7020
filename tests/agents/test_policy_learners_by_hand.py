"""SAC, MBPO and double-horizon MBPO: an update against losses written out step by step."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mpc_robot.agents.actor_critic import ActorCritic, ActorCriticConfig
from mpc_robot.agents.dhmbpo import DHMBPO, DHMBPOConfig
from mpc_robot.agents.imagination import imagine
from mpc_robot.agents.mbpo import MBPO, MBPOConfig
from mpc_robot.agents.sac import SAC, SACConfig
from mpc_robot.data.replay import Batch, Experience
from mpc_robot.dynamics.base import Transition
from mpc_robot.dynamics.ensemble import EnsembleConfig
from mpc_robot.envs.base import EnvSpec, Task

SPEC, TASK = EnvSpec(2, -2 * np.ones(1), 2 * np.ones(1), 0.1, 40), Task("task", "task")
SLOW: dict[str, Any] = {"learning_rate": 1e-12, "temperature": 0.3, "tau": 0.01}
"""At such a rate gradients are left behind, and networks stay what they were."""
TWO = ActorCriticConfig((16,), (16,), **SLOW)
FIVE = ActorCriticConfig((16,), (16,), critics=5, subset=2, **SLOW)
MODEL = EnsembleConfig(members=3, elites=3, hidden=8, layers=1, propagation="ts1", particles=3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def speak(*modules: nn.Module) -> None:
    """Let networks say something, and not the same."""
    with torch.no_grad():
        for seed, module in enumerate(modules):
            for parameter in module.network.parameters():  # type: ignore[operator,union-attr]
                parameter.normal_(std=0.4, generator=generator(seed))


def experienced(agent: Any, steps: int = 30) -> Any:
    """The agent after random steps, some of which ended an episode, of either kind."""
    rng = np.random.default_rng(0)
    for i in range(steps):
        seen, reached, action = rng.normal(size=2), rng.normal(size=2), rng.uniform(-2, 2, 1)
        terminated, truncated = i % 5 == 0, i % 7 == 3
        agent.observe(Experience(seen, action, rng.normal(), reached, terminated, truncated))
    speak(agent.networks.policy, agent.networks.critic, agent.networks.target)
    return agent


def check_gradients(module: nn.Module, before: nn.Module, loss: Tensor) -> None:
    gradients = torch.autograd.grad(loss, list(before.parameters()), retain_graph=True)
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        assert parameter.grad is not None and gradient.abs().max() > 1e-6
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def check_temperature(networks: ActorCritic, log_probs: Iterable[float]) -> None:
    """Of ``-log(temperature) * (log_prob - 1)`` for the one action entry, in the mean."""
    assert networks.log_temperature.grad is not None
    expected = 1.0 - np.mean(list(log_probs))
    assert networks.log_temperature.grad.item() == pytest.approx(expected, rel=1e-4)


def real_batch(agent: Any, num: int) -> Batch:
    """Steps of the replay, as the agent would draw them."""
    return agent.replay.sample(num, agent.rng)  # type: ignore[no-any-return]


def soft_losses(networks: ActorCritic, batch: Batch, rng: torch.Generator) -> tuple[Any, ...]:
    """Of critics and policy, row by row, and the log-probabilities of the policy's actions."""
    few = networks.config.critics == 5
    action, log_prob = networks.act(batch.next_observation, rng)
    first, second = torch.randperm(networks.config.critics, generator=rng)[:2].tolist()
    then = networks.target(networks.features(batch.next_observation), action)
    said = networks.values(batch.observation, batch.action)
    own, own_log_prob = networks.act(batch.observation, rng)
    of_own = networks.values(batch.observation, own)
    of_critics = of_policy = torch.zeros(())
    rows = len(batch.reward)
    for i in range(rows):
        soft = min(then[first, i].item(), then[second, i].item()) - 0.3 * log_prob[i].item()
        target = batch.reward[i] + 0.9 * batch.continues[i] * soft
        for critic in range(networks.config.critics):
            of_critics = of_critics + 0.5 * (said[critic, i] - target) ** 2 / rows
        worth = of_own[:, i].sum() / 5 if few else torch.minimum(of_own[0, i], of_own[1, i])
        of_policy = of_policy + (0.3 * own_log_prob[i] - worth) / rows
    return of_critics, of_policy, own_log_prob


@pytest.mark.parametrize("networks", [TWO, FIVE], ids=["sac", "redq"])
def test_an_update_of_sac_follows_its_losses(networks: ActorCriticConfig) -> None:
    config = SACConfig(networks, discount=0.9, batch_size=8, warmup_steps=1)
    agent = experienced(SAC(TASK, SPEC, config, seed=0))
    then = copy.deepcopy(agent)
    agent.update()
    batch = real_batch(then, 8)
    assert {0.0, 1.0} == set(batch.continues.tolist())
    of_critics, of_policy, log_prob = soft_losses(then.networks, batch, then.rng)
    check_gradients(agent.networks.critic, then.networks.critic, of_critics)
    check_gradients(agent.networks.policy, then.networks.policy, of_policy)
    check_temperature(agent.networks, log_prob.tolist())


def test_an_update_of_mbpo_follows_the_losses_of_sac_on_imagined_and_real_steps() -> None:
    config = MBPOConfig(
        TWO, MODEL, discount=0.9, batch_size=8, real_share=0.25, updates_per_step=1, warmup_steps=2
    )
    agent = experienced(MBPO(TASK, SPEC, config, seed=0))
    agent.imagined = agent.replay.sample(20, generator(3))
    then = copy.deepcopy(agent)
    agent.update()
    rows = (torch.rand(6, generator=then.rng, dtype=torch.float64) * 20).long().tolist()
    parts = [*(vars(then.imagined).items())]
    real = vars(real_batch(then, 2))
    batch = Batch(**{name: torch.cat([column[rows], real[name]]) for name, column in parts})
    of_critics, of_policy, log_prob = soft_losses(then.networks, batch, then.rng)
    check_gradients(agent.networks.critic, then.networks.critic, of_critics)
    check_gradients(agent.networks.policy, then.networks.policy, of_policy)
    check_temperature(agent.networks, log_prob.tolist())


DOUBLE = DHMBPOConfig(
    FIVE,
    MODEL,
    discount=0.9,
    batch_size=6,
    critic_batch_size=10,
    training_horizon=3,
    pessimism=0.7,
    distribution_horizon=4,
    rollouts=40,
    rollout_every=5,
    warmup_steps=2,
    fit_every=1_000,
    fit_growth=1e9,
)


class Expanded:
    """Rollouts of three steps from six states that were visited, and their losses."""

    def __init__(self, then: DHMBPO) -> None:
        networks, rng, (visited,) = then.networks, then.rng, then._visited
        self.networks = networks
        start = visited[torch.randint(len(visited), (6,), generator=rng)]
        self.path = path = imagine(then.model, networks, start, 3, rng)
        first, second = torch.randperm(5, generator=rng)[:2].tolist()
        self.last = networks.features(path.observation[3]), path.action[3]
        held = networks.target(*self.last)
        end = torch.minimum(held[first], held[second])
        assert end.min() < -0.4 and end.max() > 0.5, "both bounds matter"
        ahead = end.clamp(-0.4, 0.5) - 0.3 * path.log_prob[3]
        self.worth = [Tensor()] * 3
        for t in (2, 1, 0):
            self.worth[t] = (path.reward[t] + 0.9 * path.continues[t] * ahead).detach()
            ahead = self.worth[t] - 0.3 * path.log_prob[t]
        self.rows = torch.randperm(18, generator=rng)[:10].tolist()
        networks.follow_scale(torch.stack(self.worth))

    def critics_loss(self) -> Tensor:
        """Of each step that is learned from, by how likely it is that it would be made."""
        loss, lived = torch.zeros(()), 0.0
        for row in self.rows:
            t, b = divmod(row, 6)
            alive = 1.0
            for k in range(t):
                alive *= self.path.continues[k, b].item()
            at = self.path.observation[t, b][None], self.path.action[t, b][None]
            said = self.networks.values(*at)[:, 0]
            loss = loss + 0.5 * alive * ((said - self.worth[t][b]) ** 2).sum()
            lived += alive
        return loss / lived

    def policys_loss(self) -> Tensor:
        """Less the return of three steps and of what follows, as the critics hold by and large."""
        path = self.path
        held = self.networks.critic(*self.last)
        mean = held.sum(dim=0) / 5
        spread = (((held - mean) ** 2).sum(dim=0) / 5).sqrt()
        total, weight = torch.zeros(6), torch.ones(6)
        for t in range(3):
            total = total + weight * (path.reward[t] - 0.3 * path.log_prob[t])
            weight = weight * 0.9 * path.continues[t]
        total = total + weight * (mean - 0.7 * spread - 0.3 * path.log_prob[3])
        return -total.sum() / 6


def test_an_update_of_dhmbpo_follows_its_losses_along_imagined_rollouts() -> None:
    agent = DHMBPO(TASK, SPEC, DOUBLE, seed=0)
    networks = agent.networks
    speak(networks.policy, networks.critic, networks.target, agent.model)
    agent._visited.append(torch.randn(50, 2, generator=generator(4)))
    agent.bounds = (-0.4, 0.5)
    then = copy.deepcopy(agent)
    agent.improve()
    expected = Expanded(then)
    check_gradients(networks.critic, then.networks.critic, expected.critics_loss())
    check_gradients(networks.policy, then.networks.policy, expected.policys_loss())
    check_temperature(networks, expected.path.log_prob[0].tolist())


class Road:
    """A model in which whoever goes from 0 is nowhere after 3, and whoever from 10 dies at 12."""

    def step(self, state: Tensor, action: Tensor, rng: torch.Generator) -> Transition[Tensor]:
        following = torch.where(state == 3.0, torch.inf, state + 1.0)
        over = (following == 12.0).any(dim=-1)
        return Transition(following, torch.zeros(len(state)), 1.0 - over.float())


def test_what_is_visited_is_alive_and_finite() -> None:
    agent = DHMBPO(TASK, SPEC, DOUBLE, seed=0)
    agent.model = Road()  # type: ignore[assignment]
    for place in (0.0, 10.0):
        here = np.full(2, place)
        agent.observe(Experience(here, np.zeros(1), 0.0, here + 50.0, False, False))
    agent.visit()
    places, counts = agent._visited[0][:, 0].unique(return_counts=True)
    assert places.tolist() == [0.0, 1.0, 2.0, 3.0, 10.0, 11.0]
    few, many = counts[0].item(), counts[4].item()
    assert counts.tolist() == [few] * 4 + [many] * 2 and few + many == 40


def test_a_fit_also_tells_how_to_see_and_what_values_there_can_be() -> None:
    agent = experienced(DHMBPO(TASK, SPEC, DOUBLE, seed=0))
    agent.fit_model()
    seen = agent.replay.all()
    scale = agent.networks.features.normalizer
    np.testing.assert_allclose(scale.mean, seen.observation.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(scale.std, seen.observation.std(axis=0), rtol=1e-4)
    assert agent.bounds == pytest.approx((10 * seen.reward.min(), 10 * seen.reward.max()))


def test_where_the_policy_goes_is_seen_again_after_so_many_updates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent, done = experienced(DHMBPO(TASK, SPEC, DOUBLE, seed=0)), list[str]()
    monkeypatch.setattr(agent, "visit", lambda: done.append("visit"))
    monkeypatch.setattr(agent, "improve", lambda: done.append("improve") or {})
    monkeypatch.setattr(agent, "_fit_is_due", lambda: False)
    for _ in range(11):
        agent.update()
    assert done == [*(["visit"] + ["improve"] * 5) * 2, "visit", "improve"]


def test_a_reward_that_is_known_need_not_be_learned() -> None:
    known = Task("task", "task", reward=lambda obs, action, next_obs: next_obs[..., 0])
    for learned in (True, False):
        config = DHMBPOConfig(FIVE, MODEL, learn_reward=learned)
        assert (DHMBPO(known, SPEC, config, seed=0).model.task.reward is None) is learned


def test_the_policy_acts_from_the_step_that_ends_the_warm_up() -> None:
    agent: Any = SAC(TASK, SPEC, SACConfig(TWO, warmup_steps=5), seed=0)
    with torch.no_grad():
        agent.networks.policy.network.biases[-1].copy_(torch.tensor([9.0, -9.0]))
    acted = list[bool]()
    for _ in range(8):
        acted.append(agent.act(np.zeros(2), explore=True)[0] > 1.999)
        agent.observe(Experience(np.zeros(2), np.zeros(1), 0.0, np.zeros(2), False, False))
    assert acted == [False] * 5 + [True] * 3
