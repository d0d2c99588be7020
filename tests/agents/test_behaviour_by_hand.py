"""The gradients of policies and critics against those of losses written out step by step."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from mpc_robot.agents.behaviour import Behaviour, BehaviourConfig
from mpc_robot.data.sequences import Sequences
from mpc_robot.dynamics.rssm import RSSMState
from mpc_robot.nn.actor import ActorConfig
from mpc_robot.nn.descent import DescentConfig

WHOLE = DescentConfig(1e-2, "norm", most=1e9)
V3 = BehaviourConfig(
    ActorConfig((16,)),
    critic_hidden=(16,),
    starts=3,
    horizon=3,
    discount=0.9,
    trace=0.7,
    entropy=0.5,
    actor_descent=WHOLE,
    critic_descent=WHOLE,
)
V2 = replace(
    V3, critic="gaussian", slow="target", replay_scale=0.0, reinforce=0.0, percentiles=None
)
CONFIGS = {
    "v1": replace(V2, actor=ActorConfig((16,), "tanh"), slow="none", entropy=0.0),
    "v2": V2,
    "mixture": replace(V2, reinforce=0.3),
    "v3": V3,
}
ROWS, LENGTH = 5, 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Hill:
    """A world whose state is a place, where rewards and ends depend on how far one got."""

    def imagine(self, state: RSSMState, action: Tensor, rng: torch.Generator) -> RSSMState:
        return RSSMState(state.deter + 0.5 * action, state.stoch)

    def reward(self, features: Tensor) -> Tensor:
        return torch.sin(3.0 * features[..., 0])

    def continues(self, features: Tensor) -> Tensor:
        return torch.sigmoid(1.0 + 2.0 * features[..., 0])


def learner(config: BehaviourConfig) -> Behaviour:
    """Whose policy, critic and slow critic hold something, and not the same."""
    ours = Behaviour(2, (-np.ones(1), np.ones(1)), config, generator())
    if ours.scale is not None:
        ours.scale.ends.copy_(torch.tensor([0.0, 10.0]))
    with torch.no_grad():
        for seed, part in enumerate((ours.actor, ours.critic, ours.slow)):
            if part is not None:
                part.network[-1].weight.normal_(generator=generator(seed))
    return ours


def life() -> tuple[RSSMState, Sequences]:
    """States, and what was seen: ends of both kinds, and an episode that is left in its middle."""
    rng, no = generator(7), torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    deter = 0.5 * torch.randn(ROWS, LENGTH, 1, generator=rng)
    reward = torch.randn(ROWS, LENGTH, generator=rng)
    terminated, truncated = no.clone(), no.clone()
    terminated[0, 2] = terminated[1, 3] = truncated[2, 2] = truncated[3, 3] = True
    first = no.clone()
    first[4, 2] = True
    seen = Sequences(None, deter, torch.zeros_like(deter), reward, first, terminated, truncated)
    return RSSMState(deter, torch.ones_like(deter)), seen


class ByHand:
    """A dream from the last three states of each sequence, and its losses, step by step."""

    def __init__(self, ours: Behaviour, rng: torch.Generator) -> None:
        self.ours, self.config, world = ours, ours.config, Hill()
        self.states, self.seen = life()
        place = self.states.deter[:, 1:].flatten()
        self.features = [torch.stack([place, torch.ones(15)], dim=1)]
        self.raw, reward, goes_on = list[Tensor](), list[Tensor](), list[Tensor]()
        for _ in range(3):
            self.raw.append(ours.actor.sample(self.features[-1].detach(), rng))
            place = place + 0.5 * ours.actor.bounded(self.raw[-1])[:, 0]
            self.features.append(torch.stack([place, torch.ones(15)], dim=1))
            reward.append(world.reward(self.features[-1]))
            goes_on.append(world.continues(self.features[-1]))
        self.value = [self.judged(each) for each in self.features]
        self.worth = [self.value[3]] * 4
        for t in (2, 1, 0):
            ahead = 0.3 * self.value[t + 1] + 0.7 * self.worth[t + 1]
            self.worth[t] = reward[t] + 0.9 * goes_on[t] * ahead
        self.weight = [(~self.seen.terminated[:, 1:]).float().flatten()]
        for t in (0, 1):
            self.weight.append(self.weight[t] * 0.9 * goes_on[t].detach())

    def judged(self, features: Tensor) -> Tensor:
        """What states are worth to the critic that counts."""
        judge = self.ours.slow if self.config.slow == "target" else self.ours.critic
        assert judge is not None
        return judge(features)

    def policy_loss(self) -> Tensor:
        scale, share = 1.0, self.config.reinforce
        if self.config.percentiles is not None:
            returns = torch.stack(self.worth[:3]).flatten()
            low, high = returns.quantile(torch.tensor([0.05, 0.95]))
            scale = (9.9 + 0.01 * (high - low)).item()
        loss = torch.zeros(())
        for t in range(3):
            policy = self.ours.actor(self.features[t].detach())
            normal = Normal(policy.mean[:, 0], policy.std[:, 0])
            advantage = (self.worth[t] - self.value[t]).detach() / scale
            likelier = normal.log_prob(self.raw[t][:, 0].detach()) * advantage
            gain = (1 - share) * self.worth[t] / scale + share * likelier
            gain = gain + self.config.entropy * normal.entropy()
            loss = loss - (self.weight[t] * gain).sum() / 45
        return loss

    def errors(self, features: Tensor, target: Tensor) -> Tensor:
        """Of the critic, which its slow copy holds to what it said in v3."""
        at, critic, slow = features.detach(), self.ours.critic, self.ours.slow
        loss = critic.loss(at, target.detach())
        if self.config.slow == "regulariser":
            assert slow is not None
            loss = loss + critic.loss(at, slow(at).detach())
        return loss

    def critic_loss(self) -> Tensor:
        dreamt = zip(self.weight, self.features, self.worth, strict=False)
        loss = sum((w * self.errors(at, worth)).sum() / 45 for w, at, worth in dreamt)
        seen, begun = self.seen, self.worth[0].view(ROWS, 3)
        left = seen.terminated | seen.truncated
        left[4, 1] = True  # what came next began anew
        for row in range(ROWS):
            earned = begun[row, 2]
            for t in (2, 1):  # of the observations, the first of which no dream began at
                following = 0.7 * (~left[row, t + 1])
                ahead = torch.lerp(begun[row, t], earned, following)
                goes_on = 0.9 * (~seen.terminated[row, t + 1])
                earned = seen.reward[row, t + 1] + goes_on * ahead
                errors = self.errors(self.states.features[row, t], earned)
                loss = loss + self.config.replay_scale * (~left[row, t]) * errors / (2 * ROWS)
        return torch.as_tensor(loss)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_policy_and_critic_follow_the_gradients_of_their_losses(config: BehaviourConfig) -> None:
    ours = learner(config)
    before = copy.deepcopy(ours)
    expected = ByHand(before, generator(3))
    states, seen = life()
    ours.learn(Hill(), states, seen, generator(3))  # type: ignore[arg-type]
    parts = (
        (ours.actor, before.actor, expected.policy_loss()),
        (ours.critic, before.critic, expected.critic_loss()),
    )
    for part, then, loss in parts:
        gradients = torch.autograd.grad(loss, list(then.parameters()), retain_graph=True)
        for parameter, gradient in zip(part.parameters(), gradients, strict=True):
            assert parameter.grad is not None and gradient.abs().max() > 1e-6
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
